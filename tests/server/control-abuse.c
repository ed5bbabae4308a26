/* SPDX-License-Identifier: BSD-3-Clause */
/* Sends the daemon's control socket what it should not get, and looks at what comes back.
 * Usage: control-abuse SOCKET
 */
#include "config.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static const char *path;
static char reply[1 << 20];

static int open_socket(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	if (fd < 0 || connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
		perror(path);
		exit(1);
	}
	return fd;
}

static void put(int fd, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send(fd, data, len, MSG_NOSIGNAL);

		if (n < 0)
			return; /* closed on us, which may be right */
		data += n;
		len -= (size_t)n;
	}
}

/* Reads until lines lines or the end are there. Returns how many there are. */
static int get_lines(int fd, int lines)
{
	size_t have = 0;
	int n = 0;

	while (n < lines && have < sizeof(reply) - 1) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t r;

		if (poll(&p, 1, 20000) != 1)
			break;
		r = read(fd, reply + have, sizeof(reply) - 1 - have);
		if (r <= 0)
			break;
		for (ssize_t i = 0; i < r; i++)
			n += reply[have + (size_t)i] == '\n';
		have += (size_t)r;
	}
	reply[have] = '\0';
	return n;
}

static void expect(const char *what, bool ok)
{
	if (ok)
		return;
	fprintf(stderr, "FAIL: %s: got %.300s\n", what, reply);
	exit(1);
}

static void one(const char *request, const char *answer)
{
	int fd = open_socket();

	put(fd, request, strlen(request));
	put(fd, "\n", 1);
	get_lines(fd, 1);
	expect(request, strstr(reply, answer) && strstr(reply, "\"ok\":false"));
	/* The connection goes on to be of use. */
	put(fd, "{\"op\":\"status\"}\n", 16);
	get_lines(fd, 1);
	expect("status afterwards", strstr(reply, "\"ok\":true"));
	close(fd);
}

static void bad_requests(void)
{
	static const char *const cases[][2] = {
		{ "hello", "not JSON" },
		{ "{", "not JSON" },
		{ "{\"op\":\"status\"} x", "not JSON" },
		{ "[]", "a request is a JSON object" },
		{ "{}", "has no \\\"op\\\"" },
		{ "{\"op\":1}", "has no \\\"op\\\"" },
		{ "{\"op\":\"fly\"}", "unknown op \\\"fly\\\"" },
		{ "{\"op\":\"status\",\"op\":\"stop\"}", "not JSON" },
		{ "{\"op\":\"status\",\"x\":1}", "unknown member \\\"x\\\"" },
		{ "{\"op\":\"stop\",\"force\":\"yes\"}", "\\\"force\\\" must be true or false" },
		{ "{\"op\":\"stop\",\"forc\":true}", "unknown member \\\"forc\\\"" },
		{ "{\"op\":\"activate\"}", "activate needs" },
		{ "{\"op\":\"activate\",\"export\":5}", "must be a string" },
		{ "{\"op\":\"activate\",\"export\":\"nope\"}", "there is no export \\\"nope\\\"" },
		{ "{\"op\":\"activate\",\"export\":\"a\",\"rewrite\":true,\"no_rewrite\":true}", "contradict" },
		{ "\xff\xfe", "not JSON" },
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		one(cases[i][0], cases[i][1]);
}

static void nul_byte(void)
{
	int fd = open_socket();

	put(fd, "{\"op\"\0:1}\n", 11);
	get_lines(fd, 1);
	expect("NUL byte", strstr(reply, "NUL"));
	close(fd);
}

static void oversized_line(void)
{
	static char big[1 << 20];
	int fd = open_socket();

	memset(big, 'x', sizeof(big));
	put(fd, big, sizeof(big));
	shutdown(fd, SHUT_WR);
	get_lines(fd, 100);
	expect("oversized line", strstr(reply, "longer than 65536 bytes"));
	expect("closed after an oversized line", read(fd, reply, 1) <= 0);
	close(fd);
}

static void deep_nesting(void)
{
	static char deep[60000];
	int fd = open_socket();

	memset(deep, '[', sizeof(deep));
	put(fd, deep, sizeof(deep));
	put(fd, "\n", 1);
	get_lines(fd, 1);
	expect("deep nesting", strstr(reply, "not JSON"));
	close(fd);
}

/* Many requests at once, in pieces that do not end where lines do. */
static void pipelined(void)
{
	static const char line[] = "{\"op\":\"status\"}\n";
	int fd = open_socket();
	char all[200 * sizeof(line)];
	size_t len = 0;

	for (int i = 0; i < 200; i++)
		len += (size_t)sprintf(all + len, "%s", line);
	for (size_t i = 0; i < len; i += 7)
		put(fd, all + i, len - i < 7 ? len - i : 7);
	shutdown(fd, SHUT_WR); /* what was asked before is still answered */
	expect("200 answers", get_lines(fd, 201) == 200);
	close(fd);
}

/* A client that asks and never reads must not hold up others, nor the daemon's memory. */
static void never_reads(void)
{
	static const char line[] = "{\"op\":\"status\"}\n";
	int fd = open_socket();

	for (int i = 0; i < 100000; i++)
		if (send(fd, line, sizeof(line) - 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
	one("[]", "JSON object");
	close(fd);
}

static void gone_before_the_answer(void)
{
	for (int i = 0; i < 200; i++) {
		int fd = open_socket();

		put(fd, "{\"op\":\"status\"}\n{\"op\":", 22);
		close(fd);
	}
}

/* Returns how many of 40 connections were turned away. */
static int open_many(void)
{
	int fds[40], turned_away = 0;

	for (int i = 0; i < 40; i++)
		fds[i] = open_socket();
	for (int i = 0; i < 40; i++) {
		put(fds[i], "{\"op\":\"status\"}\n", 16);
		expect("an answer on each of many connections", get_lines(fds[i], 1) == 1);
		turned_away += strstr(reply, "too many connections") != NULL;
	}
	for (int i = 0; i < 40; i++)
		close(fds[i]);
	return turned_away;
}

/* Connections of the cases before may not have been closed at the other end yet, so more may be turned away at first. */
static void many_connections(void)
{
	int turned_away = 40;

	for (int i = 0; i < 100 && turned_away > 24; i++) {
		if (i > 0)
			usleep(100000);
		turned_away = open_many();
	}
	snprintf(reply, sizeof(reply), "%d turned away", turned_away);
	expect("16 served, the others turned away", turned_away == 24);
}

int main(int argc, char **argv)
{
	if (argc != 2)
		return 2;
	path = argv[1];
	bad_requests();
	nul_byte();
	oversized_line();
	deep_nesting();
	pipelined();
	never_reads();
	gone_before_the_answer();
	many_connections();
	return 0;
}
