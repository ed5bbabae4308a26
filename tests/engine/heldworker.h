/* SPDX-License-Identifier: BSD-3-Clause */
/* A worker with one session and what outlives it, without daemon and negotiation: for tests that kill it. */
#ifndef NBDSWAP_TESTS_ENGINE_HELDWORKER_H
#define NBDSWAP_TESTS_ENGINE_HELDWORKER_H

#include "server/engine/sessmem.h"

#include "tests/store/support.h"

#include <stdbool.h>
#include <stdint.h>

#define HELD_PREAMBLE "GO" /* that it sends first */

struct held { /* what outlives it */
	int file, table_fd, pool, memory, sock;
	struct table *table;
	bool direct;	 /* data goes to the file from where it lies */
	uint32_t common; /* pages of the buffers, beside the reserve */
};

/* Makes all of it; *client is the other end of the session's connection, non-blocking. */
void held_make(struct held *h, uint64_t pages, uint32_t common, bool direct, int *client);
void held_free(struct held *h);

/* The worker, in a process of its own: serves the session from its beginning, or goes on with it.  Ends with the process; returns, after a
 * message, only when it cannot be.  watch (may be NULL) is called before the session begins, on another thread than the mover's.
 */
void held_serve(const struct held *h, bool again, void (*watch)(struct sess_mem *m));

#endif
