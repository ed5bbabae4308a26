/* SPDX-License-Identifier: BSD-3-Clause */
/* The broker of a worker under nbdswapd: see common/broker.h for the protocol. */
#ifndef NBDSWAP_WORKER_BROKER_REMOTE_H
#define NBDSWAP_WORKER_BROKER_REMOTE_H

#include "worker/broker.h"

#include <stddef.h>

/* What the daemon asks of the worker; called on the broker's own thread, on which no request can be made of the broker meanwhile. */
struct remote_commands {
	void *arg;
	bool (*drain)(void *arg, int timeout_ms);
	bool (*forget)(void *arg, const char *name);
	/* The daemon is gone: no new sessions can begin.  draining: it was about to end this worker, which lets no request begin any more: its
	 * clients would wait for good.  Then it has to end at once, so that they are cut and come back to the next one.
	 */
	void (*orphaned)(void *arg, bool draining);
	/* A predecessor's session goes on here: g has all of it (table mapped and unlocked), sock is its socket.  Both are the callee's from
	 * here on, also when it fails.  0; -1 with *e: the daemon ends the session, without close().  NULL: this worker cannot do it.
	 */
	int (*resume)(void *arg, struct grant *g, int sock, const char *peer, struct errbuf *e);
	/* No more sessions of a predecessor's come for this export.  Comes with resume, or is NULL. */
	void (*complete)(void *arg, const char *name);
	/* The session is over (common/broker.h: end).  true: what has not begun cannot reach the backend any more; false: broker_remote_ended()
	 * will say so.  NULL: this worker cannot do it, and does not answer.
	 */
	bool (*end)(void *arg, uint64_t session);
	/* The sessions that there are: their number, and up to max of them into out.  NULL: not told. */
	size_t (*sessions)(void *arg, uint64_t *out, size_t max);
};

/* sock (the inherited descriptor) is taken over.  Nothing is sent or received before ready(): threads must not be started before nbdkit
 * has forked.  warnings are sent with the ready event (copied).  0 or -1 with *e.
 */
int broker_remote_create(int sock, bool allow_unlocked, const struct remote_commands *commands, struct broker *out,
			 struct errbuf *e);

/* The end of a session, asked for earlier, has come.  Any thread. */
void broker_remote_ended(struct broker *b, uint64_t session);

/* Has the daemon log it; priority "err", "warning" or "info".  0, or -1 when it cannot be told. */
int broker_remote_log(struct broker *b, const char *priority, const char *text);

/* Adds a sentence to the warnings of the ready event. */
void broker_remote_warn(struct broker *b, const char *text);

#endif
