/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/socksent.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>

uint64_t socksent(int sock)
{
	struct tcp_info info;
	socklen_t n = sizeof(info);

	memset(&info, 0, sizeof(info));
	if (getsockopt(sock, IPPROTO_TCP, TCP_INFO, &info, &n) < 0 || n < offsetof(struct tcp_info, tcpi_bytes_sent) + sizeof(info.tcpi_bytes_sent))
		return 0;
	return info.tcpi_bytes_sent;
}
