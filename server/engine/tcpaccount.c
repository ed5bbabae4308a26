/* SPDX-License-Identifier: BSD-3-Clause */
/* Both counts come in two parts, and each part from a call of its own: what passed on the wire (TCP_INFO), and what of it lies in the
 * socket's queues (SIOCINQ, SIOCOUTQ).  A segment that arrives between the calls is in one part and not in the other: seen 25
 * times in a million single looks under traffic.  So TCP_INFO is asked before and after: its counts only rise, so when they are the same,
 * nothing arrived and nothing was acknowledged between, and the parts belong together.
 *
 * It comes to an end: as long as nobody receives or sends here, no more can arrive than the window lets through, and no more be
 * acknowledged than is queued.
 */
#include "config.h"

#include "server/engine/tcpaccount.h"

#include <errno.h>
#include <linux/sockios.h>
#include <linux/tcp.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define MOST_LOOKS 1000 /* a few microseconds each */
#define STATE_ESTABLISHED 1 /* TCP_ESTABLISHED of netinet/tcp.h, which cannot be had beside linux/tcp.h */

/* Of Unix sockets there is no account, and that of kernel TLS counts records' bytes, not the stream's. */
static int check_kind(int sock, struct errbuf *e)
{
	int protocol = 0;
	socklen_t len = sizeof(protocol);
	char ulp[16] = "";

	if (getsockopt(sock, SOL_SOCKET, SO_PROTOCOL, &protocol, &len) < 0)
		return err_errno(e, "asking what kind of socket the connection is");
	if (protocol != IPPROTO_TCP)
		return err_set(e, EOPNOTSUPP, "the connection is not TCP: how much has passed it cannot be known");
	len = sizeof(ulp);
	if (getsockopt(sock, IPPROTO_TCP, TCP_ULP, ulp, &len) == 0 && len > 0 && ulp[0])
		return err_set(e, EOPNOTSUPP, "the connection is not plain TCP (%.*s): what has passed it is not what was sent", (int)len, ulp);
	return 0;
}

static int ask(int sock, struct tcp_info *info, struct errbuf *e)
{
	socklen_t len = sizeof(*info);

	memset(info, 0, sizeof(*info));
	if (getsockopt(sock, IPPROTO_TCP, TCP_INFO, info, &len) < 0)
		return err_errno(e, "asking how much has passed the connection");
	if (len < offsetof(struct tcp_info, tcpi_bytes_received) + sizeof(info->tcpi_bytes_received))
		return err_set(e, EOPNOTSUPP, "this kernel does not count the bytes of a connection: Linux 4.2 or later is needed");
	/* A FIN takes a number in the sequence: after one, either way, the counts are one too many. */
	if (info->tcpi_state != STATE_ESTABLISHED)
		return err_set(e, ENOTCONN, "the connection is being closed or is closed");
	return 0;
}

int tcp_account(int sock, struct tcp_account *out, struct errbuf *e)
{
	if (check_kind(sock, e) < 0)
		return -1;
	for (int look = 0; look < MOST_LOOKS; look++) {
		struct tcp_info before, after;
		int in = 0, queued = 0;

		if (ask(sock, &before, e) < 0)
			return -1;
		if (ioctl(sock, SIOCINQ, &in) < 0 || ioctl(sock, SIOCOUTQ, &queued) < 0)
			return err_errno(e, "asking what lies in the connection's queues");
		if (ask(sock, &after, e) < 0)
			return -1;
		if (after.tcpi_bytes_received != before.tcpi_bytes_received || after.tcpi_bytes_acked != before.tcpi_bytes_acked)
			continue;
		out->received = after.tcpi_bytes_received - (uint64_t)in;
		out->queued = after.tcpi_bytes_acked + (uint64_t)queued;
		return 0;
	}
	return err_set(e, EAGAIN, "no two looks at the connection agreed: somebody else sends to it or receives from it");
}
