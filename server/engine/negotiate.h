/* SPDX-License-Identifier: BSD-3-Clause */
/* The server's side of NBD's fixed newstyle negotiation (doc/proto.md of NetworkBlockDevice/nbd), without any I/O: it says how many bytes
 * it wants, takes them, and has bytes to be sent.  It never wants a byte that could lie behind the negotiation, allocates nothing and waits for
 * nothing; only the calls of lobby_ops may block.
 *
 * Used like this, until negotiate_state() is not NEGOTIATE_GOES_ON:
 *
 *	send negotiate_output() until there is none, telling negotiate_sent()
 *	receive at most negotiate_room(), and tell negotiate_received()
 *
 * While there is output, nothing is wanted: a client that does not read its answers gets no further ones, and when the negotiation
 * succeeds, nothing that was said before is left unsent.
 *
 * NBD over TLS: not here yet, and STARTTLS is declined.  Its place is in negotiate.c; behind its answer the same machine goes on, fed by the TLS
 * session instead of the socket.
 */
#ifndef NBDSWAP_NEGOTIATE_H
#define NBDSWAP_NEGOTIATE_H

#include "common/errbuf.h"
#include "common/exportname.h"
#include "common/nbdproto.h"
#include "server/engine/lobby.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Largest data of an option that is looked at: the longest string, and more information requests than there are kinds of information. */
#define NEGOTIATE_DATA_MAX (NBD_STRING_MAX + 512u)
/* Data of an option that is not looked at, or has more than that, is skipped up to here (META_CONTEXT may have many strings); beyond it the
 * connection ends.
 */
#define NEGOTIATE_SKIP_MAX (64u << 10)
/* Clients that list a server ask three things about each of its exports on one connection (qemu-nbd --list). */
#define NEGOTIATE_OPTIONS_MAX 4096u
#define NEGOTIATE_OUT_MAX 4096u

/* What the plugin says too: pages, and requests of at most 256 KiB. */
#define NEGOTIATE_BLOCK_MIN 4096u
#define NEGOTIATE_PAYLOAD_MAX (256u << 10)

enum negotiate_state {
	NEGOTIATE_GOES_ON,
	NEGOTIATE_BEGIN, /* the client may use the export: negotiate_answer(), and transmission */
	NEGOTIATE_END,	 /* close the connection; nothing is left to be sent */
};

enum negotiate_phase {
	NEGOTIATE_FLAGS,   /* the client's flags are wanted */
	NEGOTIATE_OPTION,  /* the header of an option */
	NEGOTIATE_DATA,	   /* its data */
	NEGOTIATE_SKIP,	   /* data that is thrown away */
	NEGOTIATE_LISTING, /* more of a list follows when the output is sent */
	NEGOTIATE_GRANTED,
	NEGOTIATE_OVER,
};

struct negotiation { /* only negotiate.c changes it */
	const struct lobby_ops *ops;
	const struct peer *who;
	int sock;
	enum negotiate_phase phase;
	uint32_t client_flags;
	uint32_t option, length; /* at hand, and the bytes of its data */
	uint32_t skip;		 /* of which so many are still to be skipped */
	unsigned options;	 /* begun */
	unsigned completed;	 /* data and all */
	size_t have, need;	 /* bytes in in[] */
	size_t sent, filled;	 /* bytes of out[] */
	struct lobby_export export; /* granted */
	char listed[EXPORT_NAME_MAX + 1]; /* the last one that the client was told of in this list */
	struct errbuf said;
	unsigned char in[NEGOTIATE_DATA_MAX + 1];
	unsigned char out[NEGOTIATE_OUT_MAX];
};

/* ops (of which open, close and list are called) and who are borrowed.  sock is handed to open and not touched. */
void negotiate_start(struct negotiation *n, const struct lobby_ops *ops, const struct peer *who, int sock);

/* Where to put what is received next, and at most how much: 0 while there is output, or when it is over. */
void *negotiate_room(struct negotiation *n, size_t *bytes);
/* So many bytes, 1 to *bytes, are there now. */
void negotiate_received(struct negotiation *n, size_t bytes);

/* What is to be sent now, *bytes of it: 0 when there is nothing. */
const void *negotiate_output(const struct negotiation *n, size_t *bytes);
void negotiate_sent(struct negotiation *n, size_t bytes);

enum negotiate_state negotiate_state(const struct negotiation *n);

/* NEGOTIATE_BEGIN: the bytes that end the negotiation, which nobody has sent yet, and n->export.session, which is the caller's. */
const void *negotiate_answer(const struct negotiation *n, size_t *bytes);

/* A sentence for the log, told once: why the client was refused or is cut off.  NULL: nothing to tell. */
const char *negotiate_told(struct negotiation *n);

#endif
