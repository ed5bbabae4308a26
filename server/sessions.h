/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's end of the broker (common/broker.h): who gets which export, and for how long. */
#ifndef NBDSWAP_SESSIONS_H
#define NBDSWAP_SESSIONS_H

#include "server/exports.h"
#include "server/livesessions.h"
#include "server/opens.h"
#include "server/worker.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* A worker is given so long to close an export; then it is asked again. */
#define SESSIONS_FORGET_MS 5000

/* Settling that lasts so long is worth a word: its sessions wait. */
#define SESSIONS_SETTLE_TELL_MS 10000

struct sessions {
	struct exports *exports;
	struct worker *worker;
	struct session *first;
	struct waiting_open *opens; /* in the order of their coming */
	struct resumption resumption;
	struct hold *holds; /* of sessions that are over (holds.h) */
	uint64_t last_id;
	bool closing; /* no new session is granted: the daemon is stopping */
};

void lease_clock_now(struct lease_clock *now);

/* Answers a request of the worker; takes its events.  fds are taken over. */
void sessions_message(struct sessions *s, const json_t *msg, const int fds[], size_t nfds);

/* Tells the worker what came of the file that it asked to have opened anew. */
void sessions_reopened(struct sessions *s, struct export *x);

/* The worker has been reaped: its sessions have ended, or are kept (livesessions.h); exports it used are settled (released ones go on being
 * released).
 */
void sessions_worker_died(struct sessions *s, const struct worker_end *end);

/* A ready export, on which a worker died (exports.h). */
void sessions_settle(struct sessions *s, struct export *x);

/* A worker is ready: sessions that were kept go on. */
void sessions_go_on(struct sessions *s);

/* An export is settled: its sessions that were kept go on, and who lost his has the whole time to come back. */
void sessions_settled(struct sessions *s, struct export *x);

/* Has the worker close an export that has no session, and releases it (exports.h) when it has, or is dead. */
void sessions_release(struct sessions *s, struct export *x);

/* Once a second: opens that wait are answered at last, and a worker that has not closed an export is asked again. */
void sessions_tick(struct sessions *s);

bool sessions_held(const struct export *x); /* by a client, connected or expected back */
size_t sessions_count(const struct sessions *s);
bool session_outlives(const struct session *i);		     /* its worker: the engine serves it, over TCP (a Unix socket does not count bytes) */
size_t sessions_cut_by_end(const struct sessions *s); /* those that an end of the worker would cut */
struct session *sessions_find(const struct sessions *s, uint64_t id); /* NULL when there is none */

#endif
