/* SPDX-License-Identifier: BSD-3-Clause */
/* A thread for what the threads of requests must not do, because it allocates or blocks: writing messages, and having files
 * opened anew.  Requests leave it a message in fixed memory, or a poke.
 */
#ifndef NBDSWAP_WORKER_ATTENDANT_H
#define NBDSWAP_WORKER_ATTENDANT_H

#include "common/errbuf.h"
#include "store/notices.h"

struct attendant;

struct attendant_ops { /* both required, on the attendant's thread */
	/* Writes a message; may block. */
	void (*say)(enum notice_priority priority, const char *text);
	/* Called after a poke, and once when it begins; may block.  Returns in how many ms to be called again, or -1. */
	int (*work)(void *arg);
	void *arg;
};

/* Starts the thread.  NULL with *e. */
struct attendant *attendant_create(const struct attendant_ops *ops, struct errbuf *e);

/* Writes what is left and ends the thread; blocks as long as what it is at.  NULL is fine. */
void attendant_free(struct attendant *a);

/* Any thread; neither allocates nor waits for the attendant.  When too many messages wait, the newest are counted in place of being kept. */
void attendant_say(struct attendant *a, enum notice_priority priority, const char *text);
void attendant_poke(struct attendant *a);

#endif
