/* SPDX-License-Identifier: BSD-3-Clause */
/* What a server says in a negotiation, well formed or not, and the client's machine fed with it. */
#ifndef NBDSWAP_TESTS_CLIENT_SERVERWORDS_H
#define NBDSWAP_TESTS_CLIENT_SERVERWORDS_H

#include "client/negotiate.h"
#include "tests/engine/talk.h"

/* The first of all. */
void say_greeting(struct talk *t, uint16_t flags);
void say_reply(struct talk *t, uint32_t type, const void *data, size_t bytes); /* to NBD_OPT_GO */
void say_export(struct talk *t, uint64_t size, uint16_t flags);
void say_block_size(struct talk *t, uint32_t min, uint32_t preferred, uint32_t max);
void say_text(struct talk *t, uint16_t info, const char *text);
void say_ack(struct talk *t);

struct fed {
	size_t taken;		 /* bytes of what the server says */
	unsigned char out[4096]; /* what the client said */
	size_t out_bytes;
};

/* Starts *n for this name and lets it have what the server says in pieces of at most piece bytes, until it is
 * over or there is no more.
 */
enum nego_state feed(struct nego *n, const char *name, const struct talk *t, size_t piece, struct fed *fed);

#endif
