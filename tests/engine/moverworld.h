/* SPDX-License-Identifier: BSD-3-Clause */
/* A mover with exports and sessions of its own, without daemon and negotiation, in the test's process. */
#ifndef NBDSWAP_TESTS_ENGINE_MOVERWORLD_H
#define NBDSWAP_TESTS_ENGINE_MOVERWORLD_H

#include "server/engine/mover.h"
#include "tests/engine/tcppair.h"
#include "tests/store/support.h"

#include <semaphore.h>

enum { WORLD_EXPORTS = 2 };

struct world {
	int pool;
	struct buffers *buffers;
	struct mover *mover;
	struct one {
		int fd;
		struct table *table;
		struct store *store;
		struct buffers_share *share;
		struct mover_export *x;
	} one[WORLD_EXPORTS];
};

void world_make(struct world *w);
void world_end(struct world *w); /* nothing is left in it */

/* fd is closed with it.  blocks: as in struct mover_export_options. */
void world_add(struct world *w, uint32_t i, int fd, uint64_t pages, bool blocks);
void world_take_away(struct world *w, uint32_t i);

struct visitor {
	struct tcp_pair pair;
	int memory;
	struct sess_mem *m;
	struct live *live;
	sem_t ended;
};

/* A connection and a session's memory, not begun; the session is the caller's to make, with &v->ended as its owner. */
void visitor_connect(struct visitor *v);
/* A session on export i, over TCP; its preamble has been read. */
void visitor_come(struct world *w, struct visitor *v, uint32_t i);
void visitor_leave(struct world *w, struct visitor *v);

/* The same request, on page 0 and following, at most 32 times at once. */
void visitor_ask(struct visitor *v, uint16_t command, uint32_t length, unsigned times);
void visitor_write(struct visitor *v, uint32_t page, uint16_t flags); /* a page that is not all one value */

/* Waits for so many good replies, each with data bytes (at most a page).  False: there were none within the socket's time. */
bool visitor_replies(struct visitor *v, uint32_t data, unsigned times);

#endif
