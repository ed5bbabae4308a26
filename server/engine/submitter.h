/* SPDX-License-Identifier: BSD-3-Clause */
/* A thread with a ring of its own, for a backend whose submission of I/O may block: direct I/O on NFS was seen to take 25 ms to submit, SMB 5 ms, and
 * such a call tells the kernel nothing by RWF_NOWAIT.  In the mover's own ring each of them would hold up all exports.  A thread for each file system:
 * exports on one mount share its fate anyway.  (The kernel's own workers, IOSQE_ASYNC, were no way: a thread has one set of them, of
 * limited number, for all its rings, so one stuck mount could take them all.)
 */
#ifndef NBDSWAP_SUBMITTER_H
#define NBDSWAP_SUBMITTER_H

#include "common/errbuf.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct submitter;

enum submitter_op { SUBMIT_READ, SUBMIT_WRITE, SUBMIT_SYNC };

/* A job, the caller's, untouched by it between submitter_put and its return by submitter_take. */
struct submitter_job {
	struct submitter_job *next;
	enum submitter_op op;
	int fd;
	off_t position;
	const struct iovec *iov;
	int iovcnt;
	ssize_t result; /* bytes, or a negated errno value */
};

/* Makes the ring: before the process is confined, for rings cannot be made later (confine.h).  done: called on the submitter's thread when there is
 * something to take; must only set a flag or write an eventfd.
 */
struct submitter *submitter_create(void (*done)(void *arg), void *arg, struct errbuf *e);
void submitter_free(struct submitter *s); /* no job may be with it; NULL is fine */

/* Starts the thread, if it does not run yet; before the first job.  0; -1 with *e. */
int submitter_start(struct submitter *s, struct errbuf *e);

/* Never blocks on the backend. */
void submitter_put(struct submitter *s, struct submitter_job *job);

/* The jobs that have ended, linked; NULL when there are none. */
struct submitter_job *submitter_take(struct submitter *s);

#endif
