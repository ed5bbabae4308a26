/* SPDX-License-Identifier: BSD-3-Clause */
/* How much has passed a TCP socket, as the socket itself knows: so another process can go on exactly where one was killed. */
#ifndef NBDSWAP_TCPACCOUNT_H
#define NBDSWAP_TCPACCOUNT_H

#include "common/errbuf.h"

#include <stdint.h>

struct tcp_account { /* bytes since the connection began, on the accepting side */
	uint64_t received; /* taken out of the socket by recv */
	uint64_t queued;   /* put into it by send */
};

/* sock: an accepted, established TCP socket, which nobody sends to or receives from meanwhile in this machine.  Looks until two looks agree.  0; -1
 * with *e: ENOTCONN when the connection is no longer established both ways, EOPNOTSUPP when it is not TCP, EAGAIN when no two looks of many agreed.
 */
int tcp_account(int sock, struct tcp_account *out, struct errbuf *e);

#endif
