/* SPDX-License-Identifier: BSD-3-Clause */
/* Connects a device without nbd-client: negotiates by itself (client/reach.h) and gives the socket to the kernel over netlink.  So everything that
 * decides about the device's life is set before it has a request: no timeout that would cut a link on which a request is held, a dead-link
 * timeout from the first moment on, TCP_USER_TIMEOUT and keepalive; and what the server told is known.
 */
#ifndef NBDSWAP_CLIENT_DIRECT_H
#define NBDSWAP_CLIENT_DIRECT_H

#include "client/exportask.h"
#include "client/nbddev.h"
#include "client/reach.h"
#include "client/uri.h"
#include "common/errbuf.h"

#include <stdint.h>

/* After so long without a sign of the other end that something has arrived there, a connection is dead. */
#define DIRECT_USER_TIMEOUT_MS 20000
#define DIRECT_KEEPALIVE_S 5

struct direct_link {
	int sock;		   /* the caller's to close: the kernel has its own reference */
	union reach_address address[REACH_ADDRESSES_MAX]; /* of the server, as looked up */
	size_t addresses;
	struct nego_export export; /* what was agreed */
	uint64_t inode;		   /* of the socket, which is the kernel's now */
	uint16_t port;		   /* its local one */
};

/* All addresses of a host, in the order to try them; returns how many, above 0, or -1 with *e. */
int direct_addresses(const char *host, const char *port, union reach_address out[REACH_ADDRESSES_MAX], struct errbuf *e);

/* Puts a connection of this process's making into the place of the one that a device has, which it has over netlink, whose socket has this inode, and
 * which the same client identity has made at a server that knows identities: the server ends it when the new one comes, and the kernel, which has seen that,
 * takes the new one.  Nothing is lost: what was on its way is sent again.  Waits until the kernel has let go of the old one.
 *
 * 0; -1 with *e: the device may be without a connection then.
 */
int direct_take_over(const struct nbd_uri *uri, const struct export_ask *ask, const struct nbddev *dev, uint64_t dead_link_timeout, uint64_t old_inode,
		     struct direct_link *out, struct errbuf *e);

/* 0; -1 with *e: then the device is as it was, unless e->code is EBUSY: then somebody else has connected it. */
int direct_connect(const struct nbd_uri *uri, const struct export_ask *ask, const struct nbddev *dev, uint64_t dead_link_timeout,
		   struct direct_link *out, struct errbuf *e);

#endif
