/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/client/fakeserver.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void must(bool ok)
{
	if (!ok)
		abort();
}

static bool stopped(struct fake *f)
{
	return __atomic_load_n(&f->stop, __ATOMIC_ACQUIRE);
}

/* Until the client has ended the connection, or the test. */
static void wait_end(struct fake *f, int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char data[4096];

	while (!stopped(f))
		if (poll(&p, 1, 20) > 0 && recv(fd, data, sizeof(data), 0) <= 0)
			break;
}

static void say_all(int fd, const void *data, size_t bytes)
{
	if (bytes)
		send(fd, data, bytes, MSG_NOSIGNAL); /* far less than the socket takes */
}

static void trickle(struct fake *f, int fd)
{
	static const struct timespec pause = { .tv_nsec = 5000000 };

	for (size_t at = 0; !stopped(f); at += at + 1 < f->says.count) {
		if (send(fd, f->says.bytes + at, 1, MSG_NOSIGNAL) != 1)
			return;
		nanosleep(&pause, NULL);
	}
}

static void serve(struct fake *f, int fd)
{
	static const struct linger none = { .l_onoff = 1, .l_linger = 0 };
	struct pollfd p = { .fd = fd, .events = POLLIN };
	char data[4096];

	if (f->manner == FAKE_TRICKLES) {
		trickle(f, fd);
		return;
	}
	say_all(fd, f->says.bytes, f->says.count);
	if (f->manner == FAKE_SPEAKS) {
		wait_end(f, fd);
		return;
	}
	/* With bytes unread, close() would be a reset. */
	if (f->says.count >= sizeof(struct nbd_greeting) && poll(&p, 1, 10000) > 0)
		must(recv(fd, data, sizeof(data), 0) >= 0);
	if (f->manner == FAKE_RESETS)
		setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof(none));
}

static void *serve_all(void *arg)
{
	struct fake *f = arg;
	struct pollfd p = { .fd = f->listening, .events = POLLIN };

	while (!stopped(f)) {
		int fd;

		if (poll(&p, 1, 20) <= 0)
			continue;
		fd = accept4(f->listening, NULL, NULL, SOCK_CLOEXEC);
		must(fd >= 0);
		serve(f, fd);
		close(fd);
		__atomic_add_fetch(&f->ended, 1, __ATOMIC_ACQ_REL);
	}
	return NULL;
}

static void bind_loopback(struct fake *f, int family)
{
	socklen_t bytes = family == AF_INET ? sizeof(f->address.v4) : sizeof(f->address.v6);

	memset(&f->address, 0, sizeof(f->address));
	f->address.any.sa_family = (sa_family_t)family;
	if (family == AF_INET)
		f->address.v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		f->address.v6.sin6_addr = in6addr_loopback;
	if (bind(f->listening, &f->address.any, bytes) < 0) {
		close(f->listening);
		f->listening = -1;
		return;
	}
	must(getsockname(f->listening, &f->address.any, &bytes) == 0);
}

/* Connections that are never accepted, until one is not even made. */
static void fill_backlog(struct fake *f)
{
	must(listen(f->listening, 0) == 0);
	for (size_t i = 0; i < sizeof(f->filling) / sizeof(f->filling[0]); i++) {
		struct pollfd p = { .events = POLLOUT };

		p.fd = f->filling[i] = socket(f->address.any.sa_family,
					      SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
		must(p.fd >= 0);
		must(connect(p.fd, &f->address.any, sizeof(f->address.v4)) == 0 || errno == EINPROGRESS);
		if (poll(&p, 1, 300) == 0)
			return;
	}
	abort();
}

bool fake_start(struct fake *f, int family, enum fake_manner manner)
{
	f->manner = manner;
	f->stop = f->has_thread = false;
	f->ended = 0;
	memset(f->filling, -1, sizeof(f->filling));
	f->listening = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (f->listening >= 0)
		bind_loopback(f, family);
	if (f->listening < 0)
		return false;
	if (manner == FAKE_REFUSES)
		return true;
	if (manner == FAKE_FULL) {
		fill_backlog(f);
		return true;
	}
	must(listen(f->listening, 16) == 0);
	f->has_thread = manner != FAKE_SILENT;
	if (f->has_thread)
		must(pthread_create(&f->thread, NULL, serve_all, f) == 0);
	return true;
}

void fake_stop(struct fake *f)
{
	__atomic_store_n(&f->stop, true, __ATOMIC_RELEASE);
	if (f->has_thread)
		pthread_join(f->thread, NULL);
	for (size_t i = 0; i < sizeof(f->filling) / sizeof(f->filling[0]); i++)
		if (f->filling[i] >= 0)
			close(f->filling[i]);
	close(f->listening);
}
