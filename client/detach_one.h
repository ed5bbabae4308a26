/* SPDX-License-Identifier: BSD-3-Clause */
/* Detaches one device: pages back into memory, swap off, disconnected, settings put back, state
 * removed.  It can be interrupted between and within its steps and repeated: each step looks at what
 * is still to do.
 */
#ifndef NBDSWAP_CLIENT_DETACH_ONE_H
#define NBDSWAP_CLIENT_DETACH_ONE_H

#include "client/holders.h"
#include "client/nbddev.h"
#include "client/state.h"
#include "common/errbuf.h"
#include "common/exitcodes.h"

#include <stdbool.h>
#include <stdint.h>

struct detach_request {
	struct nbddev dev;
	const struct attach_state *state; /* NULL when nbdswap has not attached it */
	const char *state_dir;
	bool force; /* although memory may not suffice, or although nbdswap has not attached it */
	bool lost; /* although pages are lost with it */
	bool bar;
};

/* What there is to tell, whatever became of it. */
struct detach_result {
	uint64_t lost;	       /* bytes in swap that are lost, or would be: EX_LOST */
	struct holders holders; /* who holds these; the caller's to holders_free() */
};

/* *stop: set by a signal handler.  EX_OK_, or a code with *e (EX_LOST: the server is gone, and nothing was done). */
enum exit_code detach_one(const struct detach_request *r, struct detach_result *out, const volatile int *stop, struct errbuf *e);

/* Can memory and other swap take used bytes back?  0, or -1 with *e. */
int detach_memory_check(uint64_t used, uint64_t available, uint64_t other_swap, struct errbuf *e);

#endif
