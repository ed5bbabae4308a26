/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/direct.h"

#include "client/link.h"
#include "client/nbdnl.h"
#include "client/reconfigure.h"
#include "common/cleanup.h"
#include "common/procself.h"

#include <errno.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define CONNECT_SECONDS 60

int direct_addresses(const char *host, const char *port, union reach_address out[REACH_ADDRESSES_MAX], struct errbuf *e)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
	int rc = getaddrinfo(host, port, &hints, &found), n = 0;

	if (rc)
		return err_set(e, EHOSTUNREACH, "the host %s cannot be resolved: %s", host, gai_strerror(rc));
	for (const struct addrinfo *a = found; a && n < REACH_ADDRESSES_MAX; a = a->ai_next)
		if ((a->ai_family == AF_INET || a->ai_family == AF_INET6) && a->ai_addrlen <= sizeof(out[n]))
			memcpy(&out[n++], a->ai_addr, a->ai_addrlen);
	freeaddrinfo(found);
	return n ? n : err_set(e, EHOSTUNREACH, "the host %s has no IPv4 or IPv6 address", host);
}

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static int64_t deadline(void)
{
	return now_ns() + CONNECT_SECONDS * INT64_C(1000000000);
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

/* A connection in the transmission phase, described in *out; -1 with *e. */
static int make(const struct nbd_uri *uri, const struct export_ask *ask, int64_t deadline_ns, struct direct_link *out, struct errbuf *e)
{
	int count = direct_addresses(uri->host, uri->port, out->address, e);
	CLEANUP_FREE struct reach *r = malloc(sizeof(*r));
	char request[EXPORT_ASK_MAX];
	struct reach_wishes wishes = { .addresses = out->address, .count = (size_t)count, .request = request, .deadline_ns = deadline_ns,
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
	return steal_fd(&sock);
}

int direct_connect(const struct nbd_uri *uri, const struct export_ask *ask, const struct nbddev *dev, uint64_t dead_link_timeout,
		   struct direct_link *out, struct errbuf *e)
{
	CLEANUP_CLOSE int sock = make(uri, ask, deadline(), out, e);

	if (sock < 0)
		return -1;
	if (nbdnl_connect(dev->index, sock, &(struct nbdnl_device){ .size = out->export.size, .flags = out->export.flags,
								   .dead_link_timeout = dead_link_timeout }, e) < 0)
		return -1;
	out->sock = steal_fd(&sock);
	return 0;
}

/* The kernel holds the old socket, dead or not, until it has another. */
static bool let_go(const struct nbd_uri *uri, uint64_t inode)
{
	static struct conn_list now;

	link_list((uint16_t)strtoul(uri->port, NULL, 10), &now);
	for (size_t i = 0; i < now.count; i++)
		if (now.conns[i].inode == inode)
			return false;
	return true;
}

static int hand_over(const struct nbd_uri *uri, const struct nbddev *dev, int sock, uint64_t dead_link_timeout, uint64_t old_inode, int64_t until,
		     struct errbuf *e)
{
	const struct timespec pause = { .tv_nsec = 50000000 };
	struct reconfigure k;
	const bool begun = procself_io_flusher_begin(); /* as in client/nbdnl.c */
	int rc = reconfigure_open(&k, e);

	if (rc < 0) {
		procself_io_flusher_end(begun);
		return -1;
	}
	while ((rc = reconfigure(&k, dev->index, sock, dead_link_timeout, until, e)) == 0 && !let_go(uri, old_inode)) {
		if (now_ns() > until) {
			rc = err_set(e, ETIMEDOUT, "%s: the kernel goes on with the connection that nbd-client made, although %s was asked to end it",
				     dev->name, uri->host);
			break;
		}
		nanosleep(&pause, NULL);
	}
	reconfigure_close(&k);
	procself_io_flusher_end(begun);
	return rc;
}

int direct_take_over(const struct nbd_uri *uri, const struct export_ask *ask, const struct nbddev *dev, uint64_t dead_link_timeout, uint64_t old_inode,
		     struct direct_link *out, struct errbuf *e)
{
	int64_t until = deadline();
	CLEANUP_CLOSE int sock = make(uri, ask, until, out, e);

	if (sock < 0 || hand_over(uri, dev, sock, dead_link_timeout, old_inode, until, e) < 0)
		return -1;
	out->sock = steal_fd(&sock);
	return 0;
}
