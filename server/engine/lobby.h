/* SPDX-License-Identifier: BSD-3-Clause */
/* Where connections are until their negotiation is over: accepted, in one of a fixed number of places, for a limited time.
 *
 * On the engine's control thread (libev).  The protocol itself is negotiate.h, which does no I/O.  Bytes are received exactly as far as
 * the negotiation goes: what a hasty client sent behind it stays in the socket.
 */
#ifndef NBDSWAP_LOBBY_H
#define NBDSWAP_LOBBY_H

#include "common/errbuf.h"
#include "common/generation.h"
#include "worker/broker.h"

#include <ev.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct lobby;

/* What negotiation tells the client of an export. */
struct lobby_export {
	void *session; /* the owner's; opened, and closed by close() or handed over by begin() */
	uint64_t size; /* bytes */
	struct generation generation; /* activation 0: none */
	bool read_only;
};

struct lobby_ops { /* all required, on the lobby's thread; may block shortly */
	/* The client wants this export (name as asked for, a string).  live: to use it (GO, EXPORT_NAME), sock is its socket; else only to hear of it
	 * (INFO).  0; -1 with *e, a sentence that the client gets too.  So does the log, unless e->code is EACCES or EAGAIN: then the daemon has
	 * refused, who writes that down itself.
	 */
	int (*open)(void *arg, const char *name, const struct peer *who, bool live, int sock, struct lobby_export *out, struct errbuf *e);
	void (*close)(void *arg, void *session);
	/* The transmission phase begins: the session and the socket are the owner's from here on, also when it fails.  answer: the bytes that
	 * end the negotiation (at most SESSMEM_PREAMBLE), which the owner has to send first.
	 */
	void (*begin)(void *arg, void *session, int sock, const void *answer, size_t bytes);
	int (*list)(void *arg, list_fn *fn, void *fn_arg, struct errbuf *e);
	void (*warn)(void *arg, const char *text); /* one line for the log; the lobby limits the rate */
	void *arg;
};

struct lobby_options {
	struct ev_loop *loop;
	const int *listen_fds; /* borrowed, listening; set non-blocking here */
	size_t nlisten;
	unsigned places;	  /* negotiations at once */
	double seconds;		  /* for a negotiation as a whole */
	const struct lobby_ops *ops;
};

struct lobby *lobby_create(const struct lobby_options *o, struct errbuf *e); /* all memory it will ever need; NULL with *e */
void lobby_stop(struct lobby *l); /* accepts no more, and drops those who negotiate */
void lobby_free(struct lobby *l);

#endif
