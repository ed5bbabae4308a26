/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/engine/tcppair.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static void die(const char *what)
{
	fprintf(stderr, "%s: %s\n", what, strerror(errno));
	exit(1);
}

static void set(int fd, int level, int name, int value)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)) < 0)
		die("setsockopt");
}

static int make(const struct tcp_kind *kind)
{
	int fd = socket(kind->ip6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (kind->buffers) {
		set(fd, SOL_SOCKET, SO_RCVBUF, kind->buffers);
		set(fd, SOL_SOCKET, SO_SNDBUF, kind->buffers);
	}
	return fd;
}

int tcp_pair(const struct tcp_kind *kind, struct tcp_pair *out)
{
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} a;
	socklen_t len = kind->ip6 ? sizeof(a.in6) : sizeof(a.in);
	int listening = make(kind);

	memset(&a, 0, sizeof(a));
	if (kind->ip6) {
		a.in6.sin6_family = AF_INET6;
		a.in6.sin6_addr = in6addr_loopback;
	} else {
		a.in.sin_family = AF_INET;
		a.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	}
	if (listening < 0 || bind(listening, &a.any, len) < 0) {
		if (listening >= 0)
			close(listening);
		if (kind->ip6)
			return -1;
		die("a socket on the loopback");
	}
	if (listen(listening, 1) < 0 || getsockname(listening, &a.any, &len) < 0)
		die("listen");
	out->peers = make(kind);
	if (out->peers < 0 || connect(out->peers, &a.any, len) < 0)
		die("connect");
	out->ours = accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (out->ours < 0 || fcntl(out->peers, F_SETFL, O_NONBLOCK) < 0)
		die("accept");
	set(out->ours, IPPROTO_TCP, TCP_NODELAY, 1);
	set(out->peers, IPPROTO_TCP, TCP_NODELAY, 1);
	close(listening);
	return 0;
}
