/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/socksilent.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <sys/socket.h>

bool socksilent(int sock, unsigned ms)
{
	struct tcp_info info;
	socklen_t n = sizeof(info);

	if (getsockopt(sock, IPPROTO_TCP, TCP_INFO, &info, &n) < 0 || n < offsetof(struct tcp_info, tcpi_pmtu))
		return false;
	return (info.tcpi_unacked || info.tcpi_probes > 1) && info.tcpi_last_ack_recv >= ms && info.tcpi_last_data_recv >= ms;
}
