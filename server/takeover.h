/* SPDX-License-Identifier: BSD-3-Clause */
/* The beginning of a daemon whose predecessor died, or left: what that kept (keep.h) becomes this one's.
 *
 * In two steps, for what is in the first may be another's tomorrow: takeover_begin() before there is anything, takeover_run() when all parts of
 * the daemon are there.  What is not understood is not used: the worker is ended, its exports' pages are lost at their next activation, and
 * the log says so.
 */
#ifndef NBDSWAP_TAKEOVER_H
#define NBDSWAP_TAKEOVER_H

#include "server/daemon.h"
#include "server/fdstore.h"

#include <jansson.h>

struct takeover {
	struct inherited in;
	json_t *state; /* NULL: there is no predecessor's */
	int fd;	       /* of its text */
	struct errbuf failed; /* code not 0: what is there cannot be had just now, and nothing of it was touched: the next one may */
	struct listeners listeners;
};

/* Looks at what there is, listeners first. */
void takeover_begin(struct takeover *t);

/* The pool that was left; NULL: there is none, and no worker and no session that would need one. */
struct poolmem *takeover_pool(struct takeover *t, bool allow_unlocked);

/* The rest: exports, sessions, worker.  False: there was nothing, and all is to be begun (or t->failed).  t is done with. */
bool takeover_run(struct takeover *t, struct daemon *d);

#endif
