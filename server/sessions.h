/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's end of the broker (common/broker.h): who gets which export, and for how long. */
#ifndef NBDSWAP_SESSIONS_H
#define NBDSWAP_SESSIONS_H

#include "server/exports.h"
#include "server/worker.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* A client whose worker died finds its export free for so long. */
#define SESSIONS_KEEP_MS 15000

/* A worker is given so long to close an export. */
#define SESSIONS_FORGET_MS 5000

struct session {
	struct session *next;
	uint64_t id;
	struct export *x;
};

struct sessions {
	struct exports *exports;
	struct worker *worker;
	struct session *first;
	uint64_t last_id;
	bool closing; /* no new session is granted: the daemon is stopping */
};

void lease_clock_now(struct lease_clock *now);

/* Answers a request of the worker; takes its events. */
void sessions_message(struct sessions *s, const json_t *msg);

/* Tells the worker what came of the file that it asked to have opened anew. */
void sessions_reopened(struct sessions *s, struct export *x);

/* The worker has been reaped: its sessions have ended; exports it used are settled (released ones go on being released).
 * drained: nothing was in flight.
 */
void sessions_worker_died(struct sessions *s, bool drained);

/* Has the worker close an export that has no session, and then releases it (exports.h). */
void sessions_release(struct sessions *s, struct export *x);

/* Once a second: a worker that does not answer is not waited for. */
void sessions_tick(struct sessions *s);

bool sessions_held(const struct export *x); /* by a client, connected or expected back */
size_t sessions_count(const struct sessions *s);

#endif
