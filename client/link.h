/* SPDX-License-Identifier: BSD-3-Clause */
/* The TCP connection under a device, which belongs to the kernel once nbd-client has ended: found and
 * looked at in
 * /proc/net/tcp and tcp6.
 */
#ifndef NBDSWAP_CLIENT_LINK_H
#define NBDSWAP_CLIENT_LINK_H

#include "common/errbuf.h"

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct tcp_conn {
	uint64_t inode;
	uint16_t local_port, remote_port;
	struct in6_addr remote; /* an IPv4 address as ::ffff:a.b.c.d */
	unsigned state; /* 1: established */
	unsigned long retransmits;
};

#define CONNS_MAX 256
struct conn_list {
	size_t count;
	struct tcp_conn conns[CONNS_MAX];
};

/* Adds the lines of a table in the format of /proc/net/tcp (v6 false) or tcp6 whose remote port is
 * this one.  Lines that are not understood and connections beyond CONNS_MAX are left out.
 */
void link_parse(FILE *in, bool v6, uint16_t remote_port, struct conn_list *out);

/* The line of this inode in such a table. */
bool link_find(FILE *in, bool v6, uint64_t inode, struct tcp_conn *out);

/* All connections of this machine to a remote port. */
void link_list(uint16_t remote_port, struct conn_list *out);

/* The one established connection to remote_port in after that was not in before; NULL when there is
 * none or more than one.
 */
const struct tcp_conn *link_new(const struct conn_list *before, const struct conn_list *after);

enum link_state {
	LINK_UNKNOWN, /* attach could not tell which connection is the device's */
	LINK_UP,
	LINK_STALLED, /* established, but the server does not acknowledge what is sent */
	LINK_DEAD, /* closed or gone: requests wait for a new connection */
};

/* inode and local_port as kept at attach; inode 0: not known. */
enum link_state link_state(uint64_t inode, uint16_t local_port);
/* Is there any established connection to this port? */
bool link_any(uint16_t remote_port);

const char *link_state_name(enum link_state s);

#endif
