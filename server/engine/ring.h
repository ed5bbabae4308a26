/* SPDX-License-Identifier: BSD-3-Clause */
/* The io_uring of the mover.  Every file is a fixed one; the ring takes no other, and no operation but those below. */
#ifndef NBDSWAP_RING_H
#define NBDSWAP_RING_H

#include "common/errbuf.h"

#include <liburing.h>
#include <stdint.h>
#include <sys/uio.h>

struct ring {
	struct io_uring u;
};

struct ring_size {
	unsigned entries;   /* submitted at once */
	unsigned under_way; /* operations at once, at least entries */
	unsigned files, buffers; /* fixed ones */
};

/* Makes a ring, the places of files and buffers empty, disabled.  0; -1 with *e. */
int ring_create(struct ring *r, const struct ring_size *size, struct errbuf *e);
void ring_free(struct ring *r);

/* By the thread that uses it, before anything below. */
int ring_enable(struct ring *r, struct errbuf *e);

int ring_set_file(struct ring *r, unsigned place, int fd, struct errbuf *e);	/* fd -1: empties it */
int ring_set_buffer(struct ring *r, unsigned place, struct iovec memory, struct errbuf *e); /* iov_base NULL: empties it */

/* An entry to fill in; submits what is there when the ring is full, and again as long as the kernel has no memory for it. */
struct io_uring_sqe *ring_entry(struct ring *r);

/* What is queued goes to the kernel now; what it has no memory for now stays queued.  Aborts on errors that only a fault of ours could make. */
void ring_submit(struct ring *r);
unsigned ring_queued(const struct ring *r);

#endif
