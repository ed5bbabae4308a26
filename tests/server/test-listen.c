/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/listen.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static void test_good(void **state)
{
	static const struct {
		const char *text;
		int family;
	} good[] = {
		{ "127.0.0.1:0", AF_INET }, { "0.0.0.0:65535", AF_INET }, { "[::]:10809", AF_INET6 }, { "[fe80::1]:1", AF_INET6 },
		{ "unix:/run/x", AF_UNIX },
	};
	struct listen_addr a;
	struct errbuf e;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_int_equal(listen_parse(good[i].text, &a, &e), 0);
		assert_int_equal(a.addr.ss_family, good[i].family);
		assert_string_equal(a.text, good[i].text);
	}
	assert_int_equal(listen_parse("1.2.3.4:258", &a, &e), 0);
	assert_int_equal(((struct sockaddr_in *)&a.addr)->sin_port, htons(258));
}

static void test_bad(void **state)
{
	static const char *const bad[][2] = {
		{ "", "\"\" has no port; write ADDR:PORT, [ADDR]:PORT or unix:PATH" },
		{ "10809", "\"10809\" has no port; write ADDR:PORT, [ADDR]:PORT or unix:PATH" },
		{ "[::1]", "\"[::1]\" has no port; write ADDR:PORT, [ADDR]:PORT or unix:PATH" },
		{ "::1:5", "\"::1:5\": write an IPv6 address in brackets, as [::1]:10809" },
		{ "[1.2.3.4]:5", "\"[1.2.3.4]:5\": \"1.2.3.4\" is not an IPv6 address" },
		{ "1.2.3:5", "\"1.2.3:5\": \"1.2.3\" is not an IP address (names are not looked up)" },
		{ "*:5", "\"*:5\": \"*\" is not an IP address (names are not looked up)" },
		{ ":5", "\":5\": \"\" is not an IP address (names are not looked up)" },
		{ "1.2.3.4:", "\"1.2.3.4:\": the port must be a number from 0 to 65535" },
		{ "1.2.3.4:65536", "\"1.2.3.4:65536\": the port must be a number from 0 to 65535" },
		{ "1.2.3.4:-1", "\"1.2.3.4:-1\": the port must be a number from 0 to 65535" },
		{ "1.2.3.4:000001", "\"1.2.3.4:000001\": the port must be a number from 0 to 65535" },
		{ "unix:x", "\"unix:x\": the path of a Unix socket must begin with '/'" },
		{ "unix:/23456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678",
		  "\"unix:/23456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789012345678\": "
		  "the path of a Unix socket has at most 107 bytes" },
	};
	struct listen_addr a;
	struct errbuf e;

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_int_equal(listen_parse(bad[i][0], &a, &e), -1);
		assert_string_equal(e.text, bad[i][1]);
	}
}

static int option(int fd, int level, int name)
{
	int v = -1;
	socklen_t len = sizeof(v);

	getsockopt(fd, level, name, &v, &len);
	return v;
}

/* A half-open connection ends in a known time, in the hands of whoever accepted it. */
static void dead_peer_is_noticed(int fd)
{
	assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPIDLE) +
			 option(fd, IPPROTO_TCP, TCP_KEEPINTVL) * option(fd, IPPROTO_TCP, TCP_KEEPCNT), LISTEN_DEAD_AFTER_S);
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), LISTEN_DEAD_AFTER_S * 1000);
}

static void test_tcp_half_open(void **state)
{
	static const char *const both[] = { "127.0.0.1:0", "[::1]:0" };

	for (size_t i = 0; i < sizeof(both) / sizeof(both[0]); i++) {
		struct listen_addr a;
		char bound[LISTEN_TEXT];
		struct errbuf e;
		int fd, client, accepted;

		assert_int_equal(listen_parse(both[i], &a, &e), 0);
		fd = listen_open(&a, &e);
		if (fd < 0 && (e.code == EAFNOSUPPORT || e.code == EADDRNOTAVAIL)) {
			print_message("%s: not on this machine\n", both[i]);
			continue;
		}
		assert_true(fd >= 0);
		listen_bound(fd, &a, bound);
		assert_int_equal(listen_parse(bound, &a, &e), 0);
		client = socket(a.addr.ss_family, SOCK_STREAM, 0);
		assert_int_equal(connect(client, (struct sockaddr *)&a.addr, a.len), 0);
		accepted = accept(fd, NULL, NULL);
		assert_true(accepted >= 0);
		dead_peer_is_noticed(accepted);
		close(accepted);
		close(client);
		close(fd);
	}
}

static void test_tcp_in_use(void **state)
{
	struct listen_addr a;
	char bound[LISTEN_TEXT];
	struct errbuf e;
	int fd;

	assert_int_equal(listen_parse("127.0.0.1:0", &a, &e), 0);
	fd = listen_open(&a, &e);
	assert_true(fd >= 0);
	listen_bound(fd, &a, bound);
	assert_string_not_equal(bound, "127.0.0.1:0"); /* the port that was chosen */
	assert_memory_equal(bound, "127.0.0.1:", 10);
	/* The same port again is refused. */
	assert_int_equal(listen_parse(bound, &a, &e), 0);
	assert_int_equal(listen_open(&a, &e), -1);
	assert_int_equal(e.code, EADDRINUSE);
	close(fd);
}

static void test_unix_stale(void **state)
{
	char dir[] = "/tmp/nbdswap-test-listen.XXXXXX", text[80], path[64];
	struct listen_addr a;
	struct errbuf e;
	struct stat st;
	int fd, second;
	FILE *f;

	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/s", dir);
	snprintf(text, sizeof(text), "unix:%s", path);
	assert_int_equal(listen_parse(text, &a, &e), 0);
	fd = listen_open(&a, &e);
	assert_true(fd >= 0);
	/* In use: not taken away. */
	assert_int_equal(listen_open(&a, &e), -1);
	assert_int_equal(e.code, EADDRINUSE);
	assert_int_equal(lstat(path, &st), 0);
	/* Left behind: replaced. */
	close(fd);
	second = listen_open(&a, &e);
	assert_true(second >= 0);
	close(second);
	listen_unlink(&a);
	assert_int_equal(lstat(path, &st), -1);
	/* Not a socket: left alone. */
	f = fopen(path, "w");
	assert_non_null(f);
	fclose(f);
	assert_int_equal(listen_open(&a, &e), -1);
	assert_non_null(strstr(e.text, "is not a socket"));
	assert_int_equal(lstat(path, &st), 0);
	unlink(path);
	rmdir(dir);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good), cmocka_unit_test(test_bad), cmocka_unit_test(test_tcp_half_open), cmocka_unit_test(test_tcp_in_use),
		cmocka_unit_test(test_unix_stale),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
