/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/listen.h"

#include "common/cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>

/* A client whose machine died is noticed after 10 + 3 * 5 seconds; but with data on the way to it there are no keepalive probes, and repeats of that
 * go on for a quarter of an hour: TCP_USER_TIMEOUT ends it after the same time.
 */
enum { KEEP_IDLE = 10, KEEP_INTERVAL = 5, KEEP_COUNT = 3, BACKLOG = 128 };
_Static_assert(KEEP_IDLE + KEEP_INTERVAL * KEEP_COUNT == LISTEN_DEAD_AFTER_S, "one time for both, which the man page names");

static int parse_port(const char *text, in_port_t *port)
{
	unsigned v = 0;

	if (!*text || strlen(text) > 5)
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		v = v * 10 + (unsigned)(*text - '0');
	}
	if (v > 65535)
		return -1;
	*port = htons((in_port_t)v);
	return 0;
}

static int parse_unix(const char *path, struct listen_addr *out, struct errbuf *e)
{
	struct sockaddr_un *un = (struct sockaddr_un *)&out->addr;

	if (path[0] != '/')
		return err_set(e, EINVAL, "\"%s\": the path of a Unix socket must begin with '/'", out->text);
	if (strlen(path) >= sizeof(un->sun_path))
		return err_set(e, EINVAL, "\"%s\": the path of a Unix socket has at most %zu bytes", out->text,
			       sizeof(un->sun_path) - 1);
	un->sun_family = AF_UNIX;
	strcpy(un->sun_path, path);
	out->len = sizeof(*un);
	return 0;
}

int listen_parse(const char *text, struct listen_addr *out, struct errbuf *e)
{
	struct sockaddr_in *in = (struct sockaddr_in *)&out->addr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&out->addr;
	char host[LISTEN_TEXT], *colon;

	memset(out, 0, sizeof(*out));
	if (strlen(text) >= sizeof(out->text))
		return err_set(e, EINVAL, "the address is longer than %zu bytes", sizeof(out->text) - 1);
	strcpy(out->text, text);
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(text + 5, out, e);

	strcpy(host, text);
	colon = strrchr(host, ':');
	if (!colon || (host[0] == '[' && colon[-1] != ']'))
		return err_set(e, EINVAL, "\"%s\" has no port; write ADDR:PORT, [ADDR]:PORT or unix:PATH", text);
	*colon = '\0';
	if (host[0] == '[') {
		colon[-1] = '\0';
		in6->sin6_family = AF_INET6;
		out->len = sizeof(*in6);
		if (inet_pton(AF_INET6, host + 1, &in6->sin6_addr) != 1)
			return err_set(e, EINVAL, "\"%s\": \"%s\" is not an IPv6 address", text, host + 1);
	} else {
		in->sin_family = AF_INET;
		out->len = sizeof(*in);
		if (strchr(host, ':'))
			return err_set(e, EINVAL, "\"%s\": write an IPv6 address in brackets, as [::1]:10809", text);
		if (inet_pton(AF_INET, host, &in->sin_addr) != 1)
			return err_set(e, EINVAL, "\"%s\": \"%s\" is not an IP address (names are not looked up)", text, host);
	}
	if (parse_port(colon + 1, host[0] == '[' ? &in6->sin6_port : &in->sin_port) < 0)
		return err_set(e, EINVAL, "\"%s\": the port must be a number from 0 to 65535", text);
	return 0;
}

/* A socket file nobody listens on any more is in the way of bind. */
static int clear_stale(const struct listen_addr *a, struct errbuf *e)
{
	const struct sockaddr_un *un = (const struct sockaddr_un *)&a->addr;
	CLEANUP_CLOSE int fd = -1;
	struct stat st;

	if (lstat(un->sun_path, &st) < 0)
		return 0;
	if (!S_ISSOCK(st.st_mode))
		return err_set(e, EEXIST, "%s exists and is not a socket; move it away", un->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return err_errno(e, "socket");
	if (connect(fd, (const struct sockaddr *)un, sizeof(*un)) == 0 || errno != ECONNREFUSED)
		return err_set(e, EADDRINUSE, "%s is in use by a running process; stop it first", un->sun_path);
	if (unlink(un->sun_path) < 0)
		return err_errno(e, "%s was left behind and cannot be removed", un->sun_path);
	return 0;
}

static int set_option(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

int listen_open(const struct listen_addr *a, struct errbuf *e)
{
	int family = a->addr.ss_family;
	CLEANUP_CLOSE int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return err_errno(e, "listening on %s", a->text);
	if (family == AF_UNIX) {
		if (clear_stale(a, e) < 0)
			return -1;
	} else if (set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1) < 0 || set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1) < 0 ||
		   set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, KEEP_IDLE) < 0 ||
		   set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEP_INTERVAL) < 0 ||
		   set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEP_COUNT) < 0 ||
		   set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, LISTEN_DEAD_AFTER_S * 1000) < 0 ||
		   (family == AF_INET6 && set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1) < 0)) {
		return err_errno(e, "listening on %s: socket options", a->text);
	}
	if (bind(fd, (const struct sockaddr *)&a->addr, a->len) < 0 || listen(fd, BACKLOG) < 0)
		return err_errno(e, "listening on %s%s", a->text, errno == EADDRINUSE ?
				 " (is another server, or a worker of an earlier nbdswapd, still running?)" : "");
	return steal_fd(&fd);
}

void listen_bound(int fd, const struct listen_addr *a, char out[LISTEN_TEXT])
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	char host[INET6_ADDRSTRLEN];

	if (a->addr.ss_family == AF_UNIX || getsockname(fd, (struct sockaddr *)&ss, &len) < 0) {
		snprintf(out, LISTEN_TEXT, "%s", a->text);
	} else if (ss.ss_family == AF_INET6) {
		const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&ss;

		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
		snprintf(out, LISTEN_TEXT, "[%s]:%u", host, ntohs(in6->sin6_port));
	} else {
		const struct sockaddr_in *in = (const struct sockaddr_in *)&ss;

		inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
		snprintf(out, LISTEN_TEXT, "%s:%u", host, ntohs(in->sin_port));
	}
}

void listen_unlink(const struct listen_addr *a)
{
	if (a->addr.ss_family == AF_UNIX)
		unlink(((const struct sockaddr_un *)&a->addr)->sun_path);
}
