/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/reach.h"

#include "common/cleanup.h"
#include "common/printable.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MS INT64_C(1000000)
#define KEEPALIVE_PROBES 3 /* without an answer */
#define ADDRESS_TEXT (sizeof("[]:65535%4294967295") + INET6_ADDRSTRLEN)

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 * MS + ts.tv_nsec;
}

/* strerror() may allocate. */
static const char *why(int code)
{
	const char *text = strerrordesc_np(code);

	return text ? text : "unknown error";
}

static void address_text(const union reach_address *a, char out[ADDRESS_TEXT])
{
	char ip[INET6_ADDRSTRLEN] = "?";

	if (a->any.sa_family == AF_INET) {
		inet_ntop(AF_INET, &a->v4.sin_addr, ip, sizeof(ip));
		snprintf(out, ADDRESS_TEXT, "%s:%u", ip, ntohs(a->v4.sin_port));
		return;
	}
	inet_ntop(AF_INET6, &a->v6.sin6_addr, ip, sizeof(ip));
	if (a->v6.sin6_scope_id)
		snprintf(out, ADDRESS_TEXT, "[%s%%%u]:%u", ip, a->v6.sin6_scope_id, ntohs(a->v6.sin6_port));
	else
		snprintf(out, ADDRESS_TEXT, "[%s]:%u", ip, ntohs(a->v6.sin6_port));
}

static socklen_t address_bytes(const union reach_address *a)
{
	return a->any.sa_family == AF_INET ? sizeof(a->v4) : sizeof(a->v6);
}

/* ---- waiting ---- */

/* Until the socket is ready for events, or has failed (which the call that follows tells).  False: the
 * deadline has come.
 */
static bool wait_ready(int fd, short events, int64_t deadline_ns)
{
	struct pollfd p = { .fd = fd, .events = events };
	int64_t left;

	while ((left = deadline_ns - now_ns()) > 0) {
		int64_t ms = (left + MS - 1) / MS;
		int rc = poll(&p, 1, ms > 60000 ? 60000 : (int)ms);

		if (rc > 0 || (rc < 0 && errno != EINTR))
			return true;
	}
	return false;
}

/* ---- connecting ---- */

static int set_option(int fd, int level, int name, const char *text, int value, struct errbuf *e)
{
	if (setsockopt(fd, level, name, &value, sizeof(value)) == 0)
		return 0;
	return err_set(e, errno, "the kernel does not set %s = %d on a connection: %s", text, value,
		       why(errno));
}

/* Before connecting: they hold from the first packet on. */
static int set_options(int fd, const struct reach_wishes *w, struct errbuf *e)
{
	if (set_option(fd, IPPROTO_TCP, TCP_NODELAY, "TCP_NODELAY", 1, e) < 0 ||
	    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, "SO_KEEPALIVE", 1, e) < 0 ||
	    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, "TCP_KEEPIDLE", (int)w->keepalive_s, e) < 0 ||
	    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, "TCP_KEEPINTVL", (int)w->keepalive_s, e) < 0 ||
	    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, "TCP_KEEPCNT", KEEPALIVE_PROBES, e) < 0)
		return -1;
	return set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, "TCP_USER_TIMEOUT", (int)w->user_timeout_ms, e);
}

static const char *connect_remedy(int code)
{
	switch (code) {
	case ECONNREFUSED:
		return "is the server running, and on this port?";
	case ENETUNREACH:
	case ENETDOWN:
	case EHOSTUNREACH:
	case EHOSTDOWN:
	case EADDRNOTAVAIL:
		return "is the network up, and the route there right?";
	case EACCES:
	case EPERM:
		return "does a packet filter of this machine forbid it?";
	default:
		return "are the server and the way to it alive?";
	}
}

static int connect_failed(int code, struct errbuf *e)
{
	return err_set(e, code, "no connection: %s; %s", why(code), connect_remedy(code));
}

static int connect_by(int fd, const union reach_address *a, int64_t deadline_ns, struct errbuf *e)
{
	int64_t began = now_ns();
	int code = 0;
	socklen_t n = sizeof(code);

	if (connect(fd, &a->any, address_bytes(a)) == 0)
		return 0;
	if (errno != EINPROGRESS && errno != EINTR)
		return connect_failed(errno, e);
	if (!wait_ready(fd, POLLOUT, deadline_ns))
		return err_set(e, ETIMEDOUT, "no connection within %lld ms; %s",
			       (long long)((now_ns() - began) / MS), connect_remedy(ETIMEDOUT));
	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &code, &n) < 0)
		code = errno;
	return code ? connect_failed(code, e) : 0;
}

/* ---- negotiating ---- */

static bool is_momentary(int code)
{
	return code == EAGAIN || code == EINTR || code == ENOMEM || code == ENOBUFS;
}

static int cut(const struct nego *n, int code, struct errbuf *e)
{
	if (code)
		return err_set(e, code, "the connection broke: %s, and %s; does the server's log say why?",
			       why(code), nego_at(n));
	return err_set(e, ECONNRESET, "the server ended the connection, and %s; its log may say why",
		       nego_at(n));
}

/* One piece of output or input.  1: there is nothing to do until the socket is ready for *events; 0; -1 with
 * *e.
 */
static int exchange(struct nego *n, int fd, short *events, struct errbuf *e)
{
	size_t bytes;
	const void *out = nego_output(n, &bytes);
	ssize_t rc;

	if (bytes) {
		*events = POLLOUT;
		rc = send(fd, out, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (rc > 0)
			nego_sent(n, (size_t)rc);
	} else {
		void *to = nego_room(n, &bytes);

		*events = POLLIN;
		rc = recv(fd, to, bytes, MSG_DONTWAIT);
		if (rc == 0)
			return cut(n, 0, e);
		if (rc > 0)
			nego_received(n, (size_t)rc);
	}
	if (rc < 0 && !is_momentary(errno))
		return cut(n, errno, e);
	return rc < 0;
}

static int negotiate_by(struct nego *n, int fd, int64_t deadline_ns, struct errbuf *e)
{
	int64_t began = now_ns();

	while (nego_state(n) == NEGO_GOES_ON) {
		short events;
		int rc;

		if (now_ns() >= deadline_ns)
			return err_set(e, ETIMEDOUT,
				       "%s within %lld ms; is it an NBD server, and does it live?",
				       nego_at(n), (long long)((now_ns() - began) / MS));
		rc = exchange(n, fd, &events, e);
		if (rc < 0)
			return -1;
		if (rc > 0 && (errno == ENOMEM || errno == ENOBUFS))
			poll(NULL, 0, 10); /* for the socket it would not wait: that is ready */
		else if (rc > 0)
			wait_ready(fd, events, deadline_ns);
	}
	if (nego_state(n) == NEGO_BEGIN)
		return 0;
	return err_set(e, nego_error(n)->code, "the server %s", nego_error(n)->text);
}

/* ---- one address, all addresses ---- */

/* How far it came: what is told of several. */
enum how_far { NOT_CONNECTED, NOT_ANSWERED, REFUSED, ANOTHER };

static int try_address(struct reach *r, const struct reach_wishes *w, const union reach_address *a,
		       int64_t deadline_ns, enum how_far *far, struct errbuf *e)
{
	int64_t connect_ns = now_ns() + (int64_t)w->connect_ms * MS;
	CLEANUP_CLOSE int fd = -1;
	struct errbuf differs;
	int flags;

	*far = NOT_CONNECTED;
	if (nego_start(&r->nego, w->request, e) < 0)
		return -1;
	fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_set(e, errno, "no socket: %s; are there too many open files, or no memory?",
			       why(errno));
	if (set_options(fd, w, e) < 0 ||
	    connect_by(fd, a, w->connect_ms && connect_ns < deadline_ns ? connect_ns : deadline_ns, e) < 0)
		return -1;
	*far = NOT_ANSWERED;
	if (negotiate_by(&r->nego, fd, deadline_ns, e) < 0) {
		if (nego_state(&r->nego) == NEGO_FAILED)
			*far = REFUSED;
		return -1;
	}
	*far = ANOTHER;
	if (w->expected && export_same(nego_export(&r->nego), w->expected, &differs) < 0)
		return err_set(e, differs.code, "the server %s", differs.text);
	flags = fcntl(fd, F_GETFL);
	if (flags < 0 || fcntl(fd, F_SETFL, flags & ~O_NONBLOCK) < 0)
		return err_set(e, errno,
			       "the socket does not become blocking: %s; this is a fault of nbdswap",
			       why(errno));
	return steal_fd(&fd);
}

static int check(const struct reach_wishes *w, struct errbuf *e)
{
	if (w->count < 1 || w->count > REACH_ADDRESSES_MAX)
		return err_set(e, EINVAL, "%zu addresses of a server; 1 to %d are possible", w->count,
			       REACH_ADDRESSES_MAX);
	if (w->user_timeout_ms < 1 || w->user_timeout_ms > INT32_MAX || w->keepalive_s < 1 ||
	    w->keepalive_s > 32767)
		return err_set(
			e, EINVAL,
			"a dead link must be found: after %u ms (1 or more), probed each %u s (1 to 32767)",
			w->user_timeout_ms, w->keepalive_s);
	for (size_t i = 0; i < w->count; i++)
		if (w->addresses[i].any.sa_family != AF_INET && w->addresses[i].any.sa_family != AF_INET6)
			return err_set(
				e, EINVAL,
				"address %zu of the server is of a family (%d) that is neither IPv4 nor IPv6",
				i + 1, w->addresses[i].any.sa_family);
	return 0;
}

/* Adds an address's failure to *e, in which each of count has the same room. */
static void add_failure(struct errbuf *e, const struct errbuf *one, const union reach_address *a,
			size_t count)
{
	size_t used = strlen(e->text), share = (sizeof(e->text) - 1) / count, bytes = strlen(one->text);
	size_t end = used + share; /* of this one */
	char text[ADDRESS_TEXT];

	address_text(a, text);
	snprintf(e->text + used, share, "%s%s: ", used ? "; " : "", text);
	used += strlen(e->text + used);
	if (bytes <= end - used) {
		memcpy(e->text + used, one->text, bytes + 1);
	} else if (end - used > 3) {
		printable_copy(e->text + used, end - used - 3 + 1, one->text, bytes); /* whole characters */
		strcat(e->text + used, "...");
	}
}

int reach(struct reach *r, const struct reach_wishes *w, struct errbuf *e)
{
	struct errbuf all = { .code = 0 }, one;
	enum how_far farthest = NOT_CONNECTED;

	memset(r->codes, 0, sizeof(r->codes));
	if (check(w, e) < 0)
		return -1;
	for (size_t n = 0; n < w->count; n++) {
		size_t i = (w->first + n) % w->count;
		int64_t now = now_ns(), left = w->deadline_ns - now, share = left / (int64_t)(w->count - n);
		enum how_far far;
		int fd;

		if (share < w->least_ms * MS)
			share = left < w->least_ms * MS ? left : w->least_ms * MS;
		fd = try_address(r, w, &w->addresses[i], now + (share > 0 ? share : 0), &far, &one);

		if (fd >= 0) {
			r->reached = i;
			r->export = *nego_export(&r->nego);
			return fd;
		}
		r->codes[i] = one.code;
		if (all.code == 0 || far > farthest) {
			all.code = one.code;
			farthest = far;
		}
		add_failure(&all, &one, &w->addresses[i], w->count);
	}
	if (e)
		*e = all;
	errno = all.code;
	return -1;
}
