/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the server listens: addresses as people write them, and the sockets of them.
 *   ADDR:PORT    IPv4 (0.0.0.0 for all)
 *   [ADDR]:PORT  IPv6 ([::] for all; IPv6 only)
 *   unix:PATH    a Unix socket
 * Port 0 lets the kernel choose one.  Names are not looked up: a resolver that hangs must not hang the daemon.
 */
#ifndef NBDSWAP_LISTEN_H
#define NBDSWAP_LISTEN_H

#include "common/errbuf.h"

#include <stdbool.h>
#include <sys/socket.h>

#define LISTEN_TEXT 128

/* A TCP connection whose other end is gone, with nothing on the way to it or with answers, ends after so long. */
#define LISTEN_DEAD_AFTER_S 25

struct listen_addr {
	char text[LISTEN_TEXT]; /* as written: identifies it */
	bool optional;		/* a default: left out when this machine has no such family */
	struct sockaddr_storage addr;
	socklen_t len;
};

/* Returns 0; -1 with *e saying what is wrong with text. */
int listen_parse(const char *text, struct listen_addr *out, struct errbuf *e);

/* Makes the socket, bound and listening, close-on-exec, with keepalive and a user timeout (which accepted sockets inherit).  A Unix socket that a
 * dead process left behind is replaced; one that somebody answers on is not.
 * Returns the descriptor; -1 with *e (EAFNOSUPPORT: this machine has no such family).
 */
int listen_open(const struct listen_addr *a, struct errbuf *e);

/* What the socket is really bound to (the port that the kernel chose), into out. */
void listen_bound(int fd, const struct listen_addr *a, char out[LISTEN_TEXT]);

/* Removes the file of a Unix socket; nothing for others. */
void listen_unlink(const struct listen_addr *a);

#endif
