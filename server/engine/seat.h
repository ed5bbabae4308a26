/* SPDX-License-Identifier: BSD-3-Clause */
/* A session as the engine's other threads see it: from the daemon's grant until the mover has forgotten it. */
#ifndef NBDSWAP_SEAT_H
#define NBDSWAP_SEAT_H

#include "common/errbuf.h"
#include "server/engine/mover.h"
#include "worker/broker.h"
#include "worker/exports.h"

#include <stdbool.h>
#include <stdint.h>

struct seats;
struct seat;

struct seats_options {
	unsigned connections; /* in use at once */
	bool allow_unlocked;
	/* A session has ended: seats_clear() is to be called.  On the mover's thread, so it must neither block nor allocate. */
	void (*wake)(void *arg);
	void (*say)(void *arg, const char *text); /* why a session ended; on the thread of seats_clear() */
	void *arg;
};

struct seats *seats_create(const struct seats_options *o, struct errbuf *e);
void seats_free(struct seats *t); /* none is taken; NULL is fine */

/* mover_options.ended, with the seats as arg. */
void seats_ended(void *arg, void *owner, bool left, const char *why);

/* Before the first seat is taken; both are borrowed. */
void seats_serve(struct seats *t, struct exports *exports, struct mover *mover);

/* Asks the daemon for a session: who->sock is -1 when the client only wants to hear of the export.  NULL with *e. */
struct seat *seat_open(struct seats *t, const char *name, const struct peer *who, struct errbuf *e);
uint64_t seat_size(const struct seat *s); /* bytes */
struct generation seat_generation(const struct seat *s); /* as its grant says */
void seat_close(struct seats *t, struct seat *s); /* of one that was not begun */

/* The negotiation is over: sock is taken over, and answer (at most SESSMEM_PREAMBLE bytes) is what is sent first. */
void seat_begin(struct seats *t, struct seat *s, int sock, const void *answer, size_t bytes);

/* A predecessor's session (remote_commands.resume): g and sock are taken over, also when it fails.  blame: as in mover_session_options.  0;
 * -1 with *e.
 */
int seat_resume(struct seats *t, struct grant *g, int sock, const char *peer, bool blame, struct errbuf *e);

/* remote_commands.end.  True: no request of it begins any more. */
bool seat_end(struct seats *t, uint64_t session);

/* Clears the seats of sessions that have ended. */
void seats_clear(struct seats *t);

unsigned seats_taken(struct seats *t);

#endif
