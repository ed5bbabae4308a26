/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/direct.h"

#include "client/nbdnl.h"
#include "common/cleanup.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define CONNECT_SECONDS 60

/* How many there are; -1 with *e. */
static int look_up(const struct nbd_uri *uri, union reach_address out[REACH_ADDRESSES_MAX], struct errbuf *e)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
	int rc = getaddrinfo(uri->host, uri->port, &hints, &found), n = 0;

	if (rc)
		return err_set(e, EHOSTUNREACH, "the host %s cannot be resolved: %s", uri->host, gai_strerror(rc));
	for (const struct addrinfo *a = found; a && n < REACH_ADDRESSES_MAX; a = a->ai_next)
		if ((a->ai_family == AF_INET || a->ai_family == AF_INET6) && a->ai_addrlen <= sizeof(out[n]))
			memcpy(&out[n++], a->ai_addr, a->ai_addrlen);
	freeaddrinfo(found);
	return n ? n : err_set(e, EHOSTUNREACH, "the host %s has no IPv4 or IPv6 address", uri->host);
}

static int64_t deadline(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (t.tv_sec + CONNECT_SECONDS) * INT64_C(1000000000) + t.tv_nsec;
}

/* How /proc/net/tcp knows it, once it has no descriptor any more. */
static int note_socket(int sock, struct direct_link *out, struct errbuf *e)
{
	union reach_address own;
	socklen_t n = sizeof(own);
	struct stat st;

	if (fstat(sock, &st) < 0 || getsockname(sock, &own.any, &n) < 0)
		return err_errno(e, "the connection cannot be looked at");
	out->inode = (uint64_t)st.st_ino;
	out->port = ntohs(own.any.sa_family == AF_INET ? own.v4.sin_port : own.v6.sin6_port);
	return 0;
}

int direct_connect(const struct nbd_uri *uri, const struct export_ask *ask, const struct nbddev *dev, uint64_t dead_link_timeout,
		   struct direct_link *out, struct errbuf *e)
{
	int count = look_up(uri, out->address, e);
	CLEANUP_FREE struct reach *r = malloc(sizeof(*r));
	char request[EXPORT_ASK_MAX];
	struct reach_wishes wishes = { .addresses = out->address, .count = (size_t)count, .request = request, .deadline_ns = deadline(),
				       .user_timeout_ms = DIRECT_USER_TIMEOUT_MS, .keepalive_s = DIRECT_KEEPALIVE_S };
	CLEANUP_CLOSE int sock = -1;

	if (count < 0 || export_ask_format(ask, request, e) < 0)
		return -1;
	if (!r)
		return err_set(e, ENOMEM, "no memory");
	sock = reach(r, &wishes, e);
	if (sock < 0 || note_socket(sock, out, e) < 0)
		return -1;
	out->export = r->export;
	out->addresses = (size_t)count;
	if (nbdnl_connect(dev->index, sock, &(struct nbdnl_device){ .size = r->export.size, .flags = r->export.flags,
								   .dead_link_timeout = dead_link_timeout }, e) < 0)
		return -1;
	out->sock = steal_fd(&sock);
	return 0;
}
