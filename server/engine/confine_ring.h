/* SPDX-License-Identifier: BSD-3-Clause */
/* A ring that can do what the engine needs and nothing else.  seccomp does not see what is asked of a ring, and a ring can open files and
 * connect sockets: so the ring itself refuses (IORING_REGISTER_RESTRICTIONS).
 *
 * What cannot be undone is done before the ring is enabled, by any thread:
 *
 *   io_uring_queue_init_params(..., IORING_SETUP_R_DISABLED | ...), register files and buffers (sparse tables are filled in later),
 *   confine_ring()
 *
 * and then, on the thread that will submit (with IORING_SETUP_SINGLE_ISSUER the kernel takes the caller for it):
 *
 *   io_uring_register_ring_fd() if wanted: refused later; confine_ring_enable()
 *
 * From then on (but for any_file) each entry must have IOSQE_FIXED_FILE, also those that use no file (NOP, TIMEOUT, ASYNC_CANCEL: the index is not
 * looked at), and io_uring_register takes only IORING_REGISTER_FILES_UPDATE and _BUFFERS_UPDATE.  The opcode IORING_OP_FILES_UPDATE cannot
 * be used: the kernel refuses it with that flag.  What is not allowed completes with -EACCES.
 */
#ifndef NBDSWAP_ENGINE_CONFINE_RING_H
#define NBDSWAP_ENGINE_CONFINE_RING_H

#include "common/errbuf.h"

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct ring_rules {
	const uint8_t *ops; /* IORING_OP_* */
	size_t nops;	    /* at most RING_RULES_OPS */
	unsigned char flags; /* IOSQE_* that may be set beside IOSQE_FIXED_FILE */
	bool any_file;	     /* files need not be fixed ones, and none can be fixed later */
};

#define RING_RULES_OPS 32

/* For good.  The ring must not be enabled yet.  0; -1 with *e. */
int confine_ring(struct io_uring *ring, const struct ring_rules *rules, struct errbuf *e);

/* Enables a ring and proves that it refuses, by a NOP without a fixed file (with any_file NOP must not be among ops).  The ring must be
 * empty.  0; -1 with *e.
 */
int confine_ring_enable(struct io_uring *ring, struct errbuf *e);

#endif
