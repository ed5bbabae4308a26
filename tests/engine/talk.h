/* SPDX-License-Identifier: BSD-3-Clause */
/* The client's side of a negotiation, for tests: bytes that a client sends, well formed or not, what a server answers taken apart, and
 * an owner of exports (struct lobby_ops) that remembers what it was asked.
 */
#ifndef NBDSWAP_TESTS_ENGINE_TALK_H
#define NBDSWAP_TESTS_ENGINE_TALK_H

#include "common/nbdproto.h"
#include "server/engine/lobby.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- what is sent ---- */

struct talk {
	unsigned char bytes[256 << 10];
	size_t count;
};

void talk_u16(struct talk *t, uint16_t value);
void talk_u32(struct talk *t, uint32_t value);
void talk_u64(struct talk *t, uint64_t value);
void talk_bytes(struct talk *t, const void *data, size_t bytes);
void talk_flags(struct talk *t, uint32_t flags); /* the first of all */
void talk_header(struct talk *t, uint32_t option, uint32_t length);
void talk_option(struct talk *t, uint32_t option, const void *data, size_t bytes);
/* NBD_OPT_INFO or NBD_OPT_GO; infos: what it wants to know. */
void talk_go(struct talk *t, uint32_t option, const char *name, const uint16_t *infos, unsigned count);

/* ---- what is answered ---- */

struct answers { /* to be read from the front */
	const unsigned char *at;
	size_t left;
};

struct answer {
	uint32_t option, type;
	const unsigned char *data;
	uint32_t bytes;
};

/* The greeting, with fixed newstyle and NO_ZEROES offered, and nothing else. */
bool answers_greeting(struct answers *a);
/* The next reply; false when there is no whole one, or the magic is wrong. */
bool answers_next(struct answers *a, struct answer *out);
uint16_t answer_u16(const struct answer *x, size_t at);
uint32_t answer_u32(const struct answer *x, size_t at);
uint64_t answer_u64(const struct answer *x, size_t at);

/* ---- the owner ---- */

#define OWNER_SIZE (UINT64_C(1) << 30)

/* Serves every name that begins with "ws" ("wsro": read-only), and refuses all others. */
struct owner {
	struct lobby_ops ops; /* arg is the owner */
	unsigned opened, closed; /* for use and for information */
	unsigned live;		 /* opened for use */
	unsigned lists;
	char name[8192]; /* last asked for */
	int sock;	 /* that came with it */
	unsigned listed; /* exports in a list, named "ws0001" and so on */
	const char *description; /* of every second one of them */
	unsigned vanish; /* from this list on (1: the first) it is "other1" and so on; 0: never */
	bool list_fails;
	const char *refusal; /* of opens, in place of the usual one */
	unsigned warnings;
	char warning[1024]; /* the last one */
	/* begin() was called; where the lobby hands over the socket */
	unsigned begun;
	int begun_sock;
	unsigned char answer[2048];
	size_t answer_bytes;
};

void owner_init(struct owner *o);

#endif
