/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "worker/peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

/* PEER_TEXT has room for every address. */
void peer_address(const struct sockaddr_storage *a, char out[PEER_TEXT])
{
	const struct sockaddr_in *in = (const struct sockaddr_in *)a;
	const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)a;
	char host[INET6_ADDRSTRLEN];

	if (a->ss_family == AF_INET) {
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(out, PEER_TEXT, "%s:%u", host, ntohs(in->sin_port));
	} else if (a->ss_family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&in6->sin6_addr)) {
		inet_ntop(AF_INET, &in6->sin6_addr.s6_addr[12], host, sizeof(host));
		snprintf(out, PEER_TEXT, "%s:%u", host, ntohs(in6->sin6_port));
	} else if (a->ss_family == AF_INET6) {
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(out, PEER_TEXT, "[%s]:%u", host, ntohs(in6->sin6_port));
	} else {
		strcpy(out, "unix");
	}
}
