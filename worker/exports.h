/* SPDX-License-Identifier: BSD-3-Clause */
/* The exports that this worker has open, each with its store, and the sessions on them. */
#ifndef NBDSWAP_WORKER_EXPORTS_H
#define NBDSWAP_WORKER_EXPORTS_H

#include "common/errbuf.h"
#include "worker/attendant.h"
#include "worker/broker.h"
#include "store/pool.h"
#include "store/store.h"

struct export;

struct session {
	struct export *export;
	struct store *store;
	const char *name;
	struct grant grant;
	struct rw_session life; /* of its requests */
};

struct exports;

struct exports_options {
	/* Not taken over; both must outlive it. */
	const struct broker *broker;
	struct pool *pool;
	bool allow_unlocked;
	void (*say)(enum notice_priority priority, const char *text); /* a message about a backend; on a thread of its own */
	int (*sleep)(int ms);					      /* as in struct store_options */
};

/* Starts a thread.  NULL with *e on failure. */
struct exports *exports_create(const struct exports_options *o, struct errbuf *e);

/* Begins a session for the client who; the caller's until exports_close_session().  NULL with *e.  Any thread. */
struct session *exports_open_session(struct exports *x, const char *request, const struct peer *who,
				     struct errbuf *e);

/* No request of the session may be in flight. */
void exports_close_session(struct exports *x, struct session *s);

/* Lets no request begin any more and waits for those at the backend; true when none is left after timeout_ms. */
bool exports_drain(struct exports *x, int timeout_ms);

/* Frees the store of an export without sessions.  False when it has one. */
bool exports_forget(struct exports *x, const char *name);

unsigned exports_sessions(struct exports *x);

void exports_free(struct exports *x); /* no session may be left; NULL is fine */

#endif
