/* SPDX-License-Identifier: BSD-3-Clause */
/* Connects to an export and negotiates, for a device that is to go on: the way back that must not need the
 * memory it is there to free.  No allocation, no name look-up, no locale; it waits in poll(2) alone, and never
 * beyond its deadline.
 */
#ifndef NBDSWAP_CLIENT_REACH_H
#define NBDSWAP_CLIENT_REACH_H

#include "client/exportsame.h"
#include "client/negotiate.h"
#include "common/errbuf.h"

#include <netinet/in.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define REACH_ADDRESSES_MAX 16

/* An address that was looked up before. */
union reach_address {
	struct sockaddr any; /* AF_INET or AF_INET6, with its port */
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;
};

struct reach_wishes {
	const union reach_address *addresses; /* of servers with the same export; tried in this order, from first on */
	size_t count;	     /* 1 to REACH_ADDRESSES_MAX */
	size_t first;	     /* which to begin with; those before it come last */
	unsigned least_ms;   /* a share of the time is no less than this, as long as there is that much: the last may get none */
	const char *request; /* the name to ask for (client/exportask.h) */
	int64_t deadline_ns; /* CLOCK_MONOTONIC; of all of it */
	/* At most so long for a connection to one address; 0: its share of the time.  The kernel sends a lost
	 * SYN again after 1, 2, 4... seconds: who comes again with a new socket gets through sooner.
	 */
	unsigned connect_ms;
	/* The connection is dead when the other end has not acknowledged anything for so long
	 * (TCP_USER_TIMEOUT), above 0; a silent one is probed each keepalive_s seconds, above 0.  Both are
	 * set before connecting, and hold in the kernel's hands too.
	 */
	unsigned user_timeout_ms, keepalive_s;
	const struct export_expected *expected; /* NULL: anything will do */
};

/* The caller's, so that it lies in memory that is locked; nothing in it is needed afterwards but what is read
 * here.
 */
struct reach {
	struct nego nego;
	size_t reached;			/* success: which address */
	struct nego_export export;	/* and what was agreed */
	int codes[REACH_ADDRESSES_MAX]; /* what each address failed with that was tried */
};

/* Each address has its share of the time that is left, those behind it counted; one that fails leaves the
 * rest of its share to them.
 *
 * Returns the connected socket in the transmission phase: nothing behind the negotiation has been read,
 * blocking, close-on-exec, with TCP_NODELAY; the caller's.
 * -1 with *e: for each address, what failed there, why and what helps.  e->code is the most telling one:
 * ESTALE (another export, see export_same()) before refusals (nego_error()) before connections that broke or
 * stayed silent (ECONNRESET, ETIMEDOUT) before those that were not made (the errno value of connect()); EINVAL
 * when a wish makes no sense.
 */
int reach(struct reach *r, const struct reach_wishes *w, struct errbuf *e);

#endif
