/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef NBDSWAP_WORKER_PEER_H
#define NBDSWAP_WORKER_PEER_H

#include "worker/broker.h"

#include <sys/socket.h>

/* The text of a client's address.  A listener on [::] sees IPv4 clients as ::ffff:a.b.c.d: one client, one name.  Whatever is neither IPv4
 * nor IPv6 is "unix".
 */
void peer_address(const struct sockaddr_storage *a, char out[PEER_TEXT]);

#endif
