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
	struct session *next; /* private */
	struct export *export;
	struct store *store;
	const char *name;
	void *data; /* what added() gave for its export */
	struct grant grant; /* fd and table are its export's; memory is closed with the session, unless its user takes it and puts -1 there */
	struct rw_session life; /* of its requests */
	_Atomic int sock;	/* a duplicate of the client's socket where its worker has one, else -1; the worker's to close */
};

struct exports;

/* What a worker hangs on each export.  All optional, called with the list of exports locked: no function of this file may be called from
 * within.
 */
struct exports_hooks {
	/* A new export, before its first session.  Returns what is to be its data; NULL with *e: it is not to be had. */
	void *(*added)(void *arg, const char *name, int fd, struct table *table, struct store *store, const struct grant *g,
		       struct errbuf *e);
	/* It goes; its store is freed next. */
	void (*removing)(void *arg, void *data);
	/* Its file was opened anew under the same descriptor number; what is held goes on when this returns.  May block. */
	void (*refd)(void *arg, void *data);
	/* Is data moved without a copy (struct store_options: pool is NULL)?  Without this: never. */
	bool (*direct)(void *arg, const struct grant *g);
	void *arg;
};

struct exports_options {
	/* Not taken over; both must outlive it. */
	const struct broker *broker;
	struct pool *pool;
	bool allow_unlocked;
	void (*say)(enum notice_priority priority, const char *text); /* a message about a backend; on a thread of its own */
	int (*sleep)(int ms);					      /* as in struct store_options */
	struct exports_hooks hooks;
};

/* Starts two threads.  NULL with *e on failure. */
struct exports *exports_create(const struct exports_options *o, struct errbuf *e);

/* Begins a session for the client who; the caller's until exports_close_session().  NULL with *e.  Any thread. */
struct session *exports_open_session(struct exports *x, const char *request, const struct peer *who,
				     struct errbuf *e);

/* As exports_open_session, with a session that the broker handed down by itself (remote_commands: resume).  g is taken over, also on failure;
 * then the broker is not told, for it learns so otherwise.
 */
struct session *exports_resume_session(struct exports *x, struct grant *g, struct errbuf *e);

/* The broker ends the session of this number (remote_commands: end): returns what end() says of it, which is called with the list of exports
 * locked, so that the session stays.  One that is not there has been closed, true; one that is being opened is refused when it comes, true.
 */
bool exports_end_session(struct exports *x, uint64_t session, bool (*end)(void *arg, struct session *s), void *arg);

/* Calls fn with the data (added()) of the export of this name (NULL: of each), with the list of exports locked; not when there is none. */
void exports_with_data(struct exports *x, const char *name, void (*fn)(void *arg, void *data), void *arg);

/* No request of the session may be in flight. */
void exports_close_session(struct exports *x, struct session *s);

/* The same without a word to the broker: a resumed session that could not go on, which the answer to that says. */
void exports_drop_session(struct exports *x, struct session *s);

/* Lets no request begin any more, nor on exports that are opened later, and waits for those at the backend; true when none is left after
 * timeout_ms.
 */
bool exports_drain(struct exports *x, int timeout_ms);

/* Frees the store of an export without sessions.  False when it has one. */
bool exports_forget(struct exports *x, const char *name);

unsigned exports_sessions(struct exports *x);

/* The broker's numbers of up to max of them into out; returns how many there are. */
size_t exports_list_sessions(struct exports *x, uint64_t *out, size_t max);

void exports_free(struct exports *x); /* no session may be left; NULL is fine */

#endif
