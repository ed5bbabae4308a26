/* SPDX-License-Identifier: BSD-3-Clause */
/* An export as the engine serves it: what it hangs on each of the worker's exports (struct exports_hooks). */
#ifndef NBDSWAP_SERVED_H
#define NBDSWAP_SERVED_H

#include "common/errbuf.h"
#include "server/engine/buffers.h"
#include "server/engine/mover.h"
#include "worker/exports.h"

struct served_options {
	struct mover *mover;	 /* borrowed */
	struct buffers *buffers; /* borrowed */
};

/* Hooks for exports_create(); o must outlive the exports. */
struct exports_hooks served_hooks(struct served_options *o);

/* More sessions of a predecessor may come, whose writes are to be done again (store_await); that was all of them.  On the broker's thread. */
void served_await(void *data);
void served_complete(void *arg, void *data);

/* The mover's export of what a session's data is, made at the first session that moves pages: with that comes the place of its reserve.
 * NULL with *e.  Any thread.
 */
struct mover_export *served_export(void *data, uint32_t reserve, struct errbuf *e);

#endif
