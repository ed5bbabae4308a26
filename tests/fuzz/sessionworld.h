/* SPDX-License-Identifier: BSD-3-Clause */
/* A session of the engine in transmission phase without a kernel: its parser, replies and resuming are the real ones (live.c, resume.c, buffers.c,
 * sessmem.c), while the ring, the socket and the store are in here and do what the input says, when it says so.
 */
#ifndef NBDSWAP_TESTS_FUZZ_SESSIONWORLD_H
#define NBDSWAP_TESTS_FUZZ_SESSIONWORLD_H

#include "server/engine/mover_priv.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WORLD_SIZE (UINT64_C(1) << 20) /* of the export */
#define WORLD_PREAMBLE "the answer to GO"

struct world_calls {
	/* The request in this slot begins at the store; what comes of it is said by world_complete(). */
	void (*begins)(uint32_t slot, const struct sess_request *r, const unsigned char *data);
	/* The socket takes these bytes. */
	void (*sent)(const unsigned char *data, size_t bytes);
};

extern struct live world_session;
extern struct sess_mem *world_mem;
extern size_t world_room;	 /* bytes that the socket takes until it is full */
extern bool world_dies_sending;
extern bool world_lost;		 /* the connection: sending fails */
extern bool world_ended;	 /* the owner was told */

/* So many requests may be at the store at once (at first: all of a session's); what is beyond waits. */
void world_allow(unsigned tasks);

/* A new session. */
void world_begin(const struct world_calls *calls);
/* The worker dies and a successor resumes the session, which the input cannot make fail.  had: bytes of what comes next that the kernel had put
 * where the receive in flight said, and nobody came to know.
 */
void world_die(const unsigned char *next, size_t had);
/* All is over: nothing may be left behind. */
void world_end(void);

/* Lets the session do all that it can without anything happening.  False: the worker has died of it (world_dies_sending), when the socket had
 * taken something and nothing more was done.
 */
bool world_work(void);

/* How much the receive in flight takes; 0: there is none. */
size_t world_wanted(void);
/* It ends with these bytes (at most world_wanted()), or with the end of the stream (0), or with an error (below 0). */
void world_receive(const unsigned char *data, ssize_t bytes);
bool world_waits_for_room(void);
void world_has_room(void); /* the wait is over */

/* Requests at the store, the n-th of them in the order in which they began. */
unsigned world_running(void);
uint32_t world_slot(unsigned n);
unsigned char *world_data(uint32_t slot); /* NULL: the request has none */
void world_complete(unsigned n, uint32_t error);

#endif
