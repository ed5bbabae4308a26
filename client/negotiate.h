/* SPDX-License-Identifier: BSD-3-Clause */
/* The client's side of NBD's fixed newstyle negotiation (doc/proto.md of NetworkBlockDevice/nbd), without any
 * I/O and without any memory but the caller's structure, so that the watch can negotiate while the machine has
 * none to give: it has bytes to be sent, says how many it wants, and takes them.  It never wants a byte that
 * could lie behind the negotiation: the kernel takes the socket over there.
 *
 * Used like this, until nego_state() is not NEGO_GOES_ON:
 *
 *	send nego_output() until there is none, telling nego_sent()
 *	receive at most nego_room(), and tell nego_received()
 *
 * One option is sent, NBD_OPT_GO; no structured replies, for the kernel's driver does not know them.
 *
 * TLS: not here yet.  Its place is between the greeting and GO (take_greeting() in negotiate.c): STARTTLS, the
 * handshake by the caller, and the same machine goes on, fed by the TLS session.
 */
#ifndef NBDSWAP_CLIENT_NEGOTIATE_H
#define NBDSWAP_CLIENT_NEGOTIATE_H

#include "common/errbuf.h"
#include "common/generation.h"
#include "common/nbdproto.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NEGO_NAME_MAX 1023u /* bytes of the name that is asked for */
#define NEGO_TEXT_MAX 400u  /* bytes that are kept of a text of the server's */
/* Data of one reply: the longest string, and what an information may have beside it.  More ends the
 * negotiation.
 */
#define NEGO_DATA_MAX (NBD_STRING_MAX + 512u)
/* Replies before the last one.  There are four kinds of information. */
#define NEGO_REPLIES_MAX 32u

enum nego_state {
	NEGO_GOES_ON,
	NEGO_BEGIN,  /* the export is this client's: nego_export(), and transmission */
	NEGO_FAILED, /* nego_error(); the connection is of no use any more */
};

/* What a server gives, as it said it. */
struct nego_export {
	uint64_t size;	/* bytes */
	uint16_t flags; /* transmission flags; NBD_FLAG_HAS_FLAGS is set */
	/* 0: not said, or what was said cannot be right (not powers of two, or against each other). */
	uint32_t block_min, block_preferred, block_max;
	bool generation_told;
	struct generation generation; /* if told: at the end of the description (common/generation.h) */
	/* Printable, cut; "" when not said. */
	char name[NEGO_TEXT_MAX + 1], description[NEGO_TEXT_MAX + 1];
};

enum nego_phase {
	NEGO_MAGIC, /* wanted by itself, as the next: another service, or an old server, is known at once */
	NEGO_VERSION,
	NEGO_FLAGS,
	NEGO_REPLY, /* the header of a reply */
	NEGO_DATA,
	NEGO_SKIP, /* the rest of its data, which is thrown away */
	NEGO_GRANTED,
	NEGO_OVER,
};

struct nego { /* only negotiate.c changes it */
	enum nego_phase phase;
	uint32_t reply, length; /* at hand, and the bytes of its data */
	uint32_t skip;		/* of which so many are still to be thrown away */
	unsigned replies;
	bool exported;	     /* the size and the flags are there */
	size_t have, need;   /* bytes in in[] */
	size_t sent, filled; /* bytes of out[] */
	uint64_t received;   /* all in all */
	struct nego_export export;
	struct errbuf error;
	size_t name_bytes;
	char name[NEGO_NAME_MAX + 1];
	unsigned char in[2 + NEGO_TEXT_MAX + 4]; /* as much of a text, and the rest of its last character */
	unsigned char out[sizeof(uint32_t) + sizeof(struct nbd_option) + sizeof(uint32_t) + NEGO_NAME_MAX +
			  5 * sizeof(uint16_t)];
};

/* request: the name to ask for (client/exportask.h), copied.  0; -1 with *e when it is empty, longer than
 * NEGO_NAME_MAX or not UTF-8: then *n must not be used.
 */
int nego_start(struct nego *n, const char *request, struct errbuf *e);

/* Where to put what is received next, and at most how much: 0 while there is output, or when it is over. */
void *nego_room(struct nego *n, size_t *bytes);
/* So many bytes, 1 to *bytes, are there now. */
void nego_received(struct nego *n, size_t bytes);

/* What is to be sent now, *bytes of it: 0 when there is nothing. */
const void *nego_output(const struct nego *n, size_t *bytes);
void nego_sent(struct nego *n, size_t bytes);

enum nego_state nego_state(const struct nego *n);

/* NEGO_BEGIN: what was agreed. */
const struct nego_export *nego_export(const struct nego *n);

/* NEGO_FAILED: a sentence about the server (without its address), with the remedy and the server's own words.
 * The code:
 *
 *	EPROTO		it does not speak NBD, or breaks its rules
 *	EPROTONOSUPPORT	it speaks a form of NBD that is too old
 *	ENOENT		NBD_REP_ERR_UNKNOWN: no such export, or not for this client, not now, or not in this
 *			generation; its words say which
 *	EACCES		NBD_REP_ERR_POLICY
 *	ESHUTDOWN	NBD_REP_ERR_SHUTDOWN
 *	ENOTSUP		every other refusal
 */
const struct errbuf *nego_error(const struct nego *n);

/* At what the negotiation is, for a message when the server falls silent or ends the connection: "it has not
 * said anything yet" and the like; static storage.
 */
const char *nego_at(const struct nego *n);

#endif
