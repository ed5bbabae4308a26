/* SPDX-License-Identifier: BSD-3-Clause */
/* A device that is watched, and what is done for it when its link is dead: a new connection, the same export on it, the new socket in the kernel's
 * hands.  Allocates nothing: all of it lies in memory that is locked, and shared by the two processes of the watch.
 *
 *	up --the socket ends--> down --reached, the same, handed over--> up
 *	                         |  ^
 *	                         |  +-- not yet: again a second later, with a fresh connection
 *	                         +--another content, at each address--> over: nothing more is tried, and the device is disconnected,
 *	                                                                so that its requests fail
 */
#ifndef NBDSWAP_CLIENT_WATCHING_H
#define NBDSWAP_CLIENT_WATCHING_H

#include "client/exportask.h"
#include "client/exportsame.h"
#include "client/reach.h"
#include "client/reconfigure.h"
#include "common/errbuf.h"

#include <stdbool.h>
#include <stdint.h>

#define WATCH_DEVICES 16

enum watch_state { WATCH_FREE, WATCH_UP, WATCH_DOWN, WATCH_OVER };

/* What attach says of a device. */
struct watch_order {
	int32_t index;
	uint32_t addresses;
	uint64_t dead_link_timeout; /* seconds */
	struct export_expected expected;
	uint32_t user_timeout_ms, keepalive_s;
	union reach_address address[REACH_ADDRESSES_MAX];
	char request[EXPORT_ASK_MAX]; /* to come back with: the generation is in it */
	char look[EXPORT_ASK_MAX];    /* gen=0, for a server that refuses and does not say why: it is told which generation there is */
};

struct watch_device {
	enum watch_state state;
	struct watch_order order;
	int sock; /* a duplicate of the one that the kernel has */
	int alive; /* a file of the device's that cannot be read any more once it is disconnected, or -1 */
	bool looks; /* the next try */
	int64_t stale_ns; /* since when each answer is another generation; 0: not */
	bool fails;	 /* of WATCH_OVER: it has been disconnected, or this kernel had better not */
	int64_t down_ns, next_ns; /* CLOCK_MONOTONIC: since when it is down; the next try, of a connection, its confirmation or its end */
	bool gone;		  /* the kernel refuses a connection for it: it has none to be replaced */
	bool in_use;		  /* of WATCH_UP: the kernel has sent something over sock.  Until then it may not have taken it: */
	uint64_t sent;		  /* what had been sent when it was handed over */
	int64_t pause_ns;	  /* to the confirmation after the next */
	int64_t up_ns;		  /* when it was last handed over */
	int64_t took_ms; /* of the last time that it was down */
	uint32_t tries, reconnects; /* since it is down; in all */
	uint32_t unread; /* tries in which the kernel did not read what was in the old socket */
	char words[sizeof(((struct errbuf *)0)->text)]; /* why the last try failed, or it is over */
};

/* A fresh connection is tried so often. */
#define WATCH_STEP_NS INT64_C(1000000000)
/* The kernel takes a socket only into the place of one that it knows to be dead, and says in any case that all is well.  It may not have known yet: so the
 * same socket is handed over again, which does nothing where it is in use, until something is sent over it: after a step, two, four, up to so long.
 */
#define WATCH_CONFIRM_MAX_NS (64 * WATCH_STEP_NS)

/* So long each answer must be another generation before a device is given up. */
#define WATCH_OVER_NS (20 * WATCH_STEP_NS)

/* At most so long for one try: the server may hold its answer while it settles what it had in flight. */
#define WATCH_TRY_NS (8 * WATCH_STEP_NS)

/* Of which one address has at least so long, the one that a try begins with: each begins with another. */
#define WATCH_ADDRESS_MS 3000

/* What the old socket holds is given so long to be read; also where nobody has a duplicate of that one. */
#define WATCH_READ_NS (WATCH_STEP_NS / 5)
#define WATCH_UNREAD_TRIES 5u /* then its reader has ended, and nobody will */

/* Takes a device on, with the socket that the kernel uses; -1: nobody has a duplicate of that, so a connection is made at once which takes its place at
 * the server, and then in the kernel.  The order must have been checked (watch_order_check).
 */
void watching_begin(struct watch_device *d, const struct watch_order *order, int sock, int alive);

/* Is it disconnected?  Then its number may be somebody else's, who must not get its socket. */
bool watching_is_gone(const struct watch_device *d);

/* 0; -1 with *e: it cannot be one of ours. */
int watch_order_check(const struct watch_order *order, struct errbuf *e);

/* Its socket ended: shut down for the kernel too, which may not have noticed. */
void watching_link_dead(struct watch_device *d, int64_t now_ns);

/* The kernel says that a link of the device is dead.  A socket of ours that has not ended may not be the one that it had: it is handed over again. */
void watching_event(struct watch_device *d, int64_t now_ns);

/* When is there something to do for it?  INT64_MAX: nothing. */
int64_t watching_due(const struct watch_device *d);

/* In how many ms is there something to do for one of n devices?  -1: for none. */
int watching_pause_ms(const struct watch_device d[], int n);

/* Does it: a try, of a device that is down, or a confirmation.  True: something is to be said (watching_says). */
bool watching_try(struct watch_device *d, struct reach *r, struct reconfigure *k);

/* A line about its state, without an end of line. */
void watching_says(const struct watch_device *d, char *out, size_t size);

int64_t watching_now_ns(void);

#endif
