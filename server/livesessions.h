/* SPDX-License-Identifier: BSD-3-Clause */
/* Sessions, and how they outlive the worker that serves them.
 *
 * Of a live session the daemon keeps a duplicate of the client's socket and the session's memory (server/engine/sessmem.h).  When the
 * worker ends, such a session stays, with its lease, and its client notices nothing but a pause; the next worker gets it back as soon as it
 * is ready and the export is settled:
 *
 *   served --worker ended--> kept --resume sent--> resuming --resumed--> served
 *                             ^                        |
 *                             +-----worker ended-------+--not ok: the socket is shut down, the session is over
 *
 * Nothing but the socket's own end ends a session that is kept.  Sessions that are not live, or over another socket than TCP, end with
 * their worker.  All on the loop's thread.
 */
#ifndef NBDSWAP_LIVESESSIONS_H
#define NBDSWAP_LIVESESSIONS_H

#include "common/exportname.h"
#include "server/exports.h"
#include "server/worker.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

struct sessions;

/* A client whose session was cut, and that did not end it itself, finds its export free for so long. */
#define SESSIONS_KEEP_MS 15000

/* A worker is given so long to go on with a session; then that is cut. */
#define SESSIONS_RESUME_MS 30000

/* So many are handed down at once: what the worker has not taken lies in its socket, with all its descriptors. */
#define SESSIONS_RESUME_WINDOW 16

/* A session in hand at so many deaths of workers in a row (not by SIGKILL), none of which but the first had served for so long, may be what they
 * die of: it ends, so that one poisonous request does not stop all exports for ever.
 */
#define SESSIONS_DEATHS_MAX 3
#define SESSIONS_DEATHS_MS 10000

enum session_place {
	SESSION_SERVED,	  /* by the present worker */
	SESSION_KEPT,	  /* its worker has ended */
	SESSION_RESUMING, /* the present worker has it and has not answered */
};

struct session {
	struct session *next;
	uint64_t id;
	uint64_t request; /* the open by which the present worker asked for it; 0: it came to it otherwise */
	struct export *x;
	char client[LEASE_HOLDER_MAX]; /* the lease's holder */
	char peer[LEASE_HOLDER_MAX];   /* "ADDR:PORT" */
	unsigned slot, slots;	       /* as in struct export_request */
	bool looks;		       /* the same */
	time_t since;
	uint64_t activation; /* of its export: it goes on with no other */
	enum session_place place;
	int64_t resume_until_ms; /* of RESUMING */
	unsigned deaths;	 /* see SESSIONS_DEATHS_MAX */
	bool blame;		 /* of KEPT and RESUMING: the worker that had it last did not end by SIGKILL */
	bool ending;	     /* the worker was told to end it, and */
	bool over;	     /* it has: the session only waits to be closed */
	int sock;	     /* of one that can outlive its worker; else -1 */
	int memory;	     /* of a live one; else -1 */
	void *locked;	     /* of one that can outlive its worker: its memory, so that it stays where it is while no worker has it */
	bool held;	     /* its pages of the pool are (holds.h) */
	uint64_t kept_sock, kept_memory; /* of keep.h */
};

/* How the last resuming went, or goes. */
struct resumption {
	bool under_way;
	int64_t since_ms;
	unsigned resumed, lost;
	int64_t ms; /* it took, once it is over; -1: there has been none */
};

/* Adds a session on an export to which its client has the lease.  sock (-1: it ends with its worker), memory and locked (SESSMEM_BYTES of it
 * mapped, or NULL) are taken over.
 */
struct session *session_add(struct sessions *s, struct export *x, const char *client, const char *peer, int sock, int memory, void *locked);

/* One that a predecessor had, behind the others; all else is to be filled in, and counted in its lease. */
struct session *session_adopt(struct sessions *s, struct export *x, uint64_t id);

/* The client's connection ends here: shutdown(2), for others have the socket too. */
void session_shut(const struct session *i);

/* Ends one: its client left (it was closed), or was cut; then the lease is kept for a while. */
void session_end(struct sessions *s, struct session *i, bool cut);

/* The worker has been reaped. */
void livesessions_worker_died(struct sessions *s, const struct worker_end *end);

/* Hands down what can be: after ready, when an export was settled, when a session was resumed. */
void livesessions_resume(struct sessions *s);

/* What the worker has, as it tells a daemon that has taken it over. */
void livesessions_here(struct sessions *s, const json_t *msg);

/* The worker's event. */
void livesessions_resumed(struct sessions *s, const json_t *msg);

/* Once a second: sockets that ended while nobody serves them, workers that do not answer. */
void livesessions_tick(struct sessions *s);

/* All of them, when the daemon ends. */
void livesessions_end_all(struct sessions *s);

const char *session_state_name(const struct session *i); /* "served" */

#endif
