/* SPDX-License-Identifier: BSD-3-Clause */
/* Open requests of the worker: who gets which export.
 *
 * A client that names a slot takes the place of its earlier session in that slot: the worker is told to end that one, and the open is
 * answered when it has, or refused when that takes too long.  On an export whose sessions are being handed down to another worker nobody
 * begins before that worker has them all, and so knows what it has to do again first.  On the loop's thread.
 */
#ifndef NBDSWAP_OPENS_H
#define NBDSWAP_OPENS_H

#include <jansson.h>
#include <stdint.h>

struct sessions;

/* A superseded session may take so long to end, and sessions to be handed down. */
#define OPENS_WAIT_MS 5000

struct waiting_open {
	struct waiting_open *next;
	json_t *msg;
	int sock;	 /* came with it; -1: none */
	uint64_t awaits; /* session; 0: the handing down of all of its export's */
	int64_t until_ms;
};

/* Answers, now or later.  sock (-1: none) is taken over. */
void opens_request(struct sessions *s, const json_t *msg, int sock);

/* The session has ended, as far as the backend is concerned: who waited for that gets its answer. */
void opens_session_ended(struct sessions *s, uint64_t session);

/* An export's sessions have all been handed down: who waited for that is looked at again. */
void opens_complete(struct sessions *s);

void opens_worker_died(struct sessions *s); /* nobody is left to be answered */
void opens_tick(struct sessions *s);	    /* once a second */

#endif
