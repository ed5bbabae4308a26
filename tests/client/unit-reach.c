/* SPDX-License-Identifier: BSD-3-Clause */
/* Reaching one server: what is read and left, the socket's options, moments without memory, deadlines against a server
 * that falls silent anywhere, and what is said when it fails.
 */
#include "config.h"

#include "tests/client/reaching.h"
#include "tests/client/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- moments without memory ---- */

/* Of this thread: so many calls fail before one is let through. */
static __thread int failing, fail_with;

ssize_t __real_recv(int fd, void *to, size_t bytes, int flags);
ssize_t __wrap_recv(int fd, void *to, size_t bytes, int flags);
ssize_t __real_send(int fd, const void *data, size_t bytes, int flags);
ssize_t __wrap_send(int fd, const void *data, size_t bytes, int flags);

static bool fails(void)
{
	if (failing == 0)
		return false;
	failing--;
	errno = fail_with;
	return true;
}

ssize_t __wrap_recv(int fd, void *to, size_t bytes, int flags)
{
	return fails() ? -1 : __real_recv(fd, to, bytes, flags);
}

ssize_t __wrap_send(int fd, const void *data, size_t bytes, int flags)
{
	return fails() ? -1 : __real_send(fd, data, bytes, flags);
}

static void test_moments_without_memory(void **state)
{
	static const int codes[] = { ENOMEM, ENOBUFS, EINTR };

	say_good(&fakes[0].says);
	fake_start(&fakes[0], AF_INET, FAKE_SPEAKS);
	for (size_t i = 0; i < 3; i++) {
		int fd;

		fail_with = codes[i];
		failing = 20;
		fd = try(1, LONG_MS);
		if (fd < 0)
			fail_msg("%s", e.text);
		assert_int_equal(failing, 0);
		close(fd);
	}
	/* One that lasts ends with the deadline, and without a busy wait. */
	fail_with = ENOMEM;
	failing = 1000000;
	must_fail(try(1, 300), ETIMEDOUT, "it has not said anything within ");
	assert_true(failing > 1000000 - 40);
	fail_with = EPERM;
	failing = 1;
	must_fail(try(1, LONG_MS), EPERM, "the connection broke: Operation not permitted");
	failing = 0;
	fake_stop(&fakes[0]);
}

static int option(int fd, int level, int name)
{
	int v = -1;
	socklen_t n = sizeof(v);

	assert_int_equal(getsockopt(fd, level, name, &v, &n), 0);
	return v;
}

/* ---- success ---- */

static void test_nothing_is_read_behind(void **state)
{
	static const struct timeval patience = { .tv_sec = 20 };
	static const char behind[] = "what a hasty server sends behind it";
	char got[sizeof(behind)];
	int fd;

	say_good(&fakes[0].says);
	talk_bytes(&fakes[0].says, behind, sizeof(behind));
	fake_start(&fakes[0], AF_INET, FAKE_SPEAKS);
	fd = try(1, LONG_MS);
	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	assert_int_equal(recv(fd, got, sizeof(got), MSG_WAITALL), sizeof(got));
	assert_memory_equal(got, behind, sizeof(got));
	assert_int_equal(r.reached, 0);
	assert_int_equal(r.export.size, SIZE);
	assert_int_equal(r.export.flags, FLAGS);
	assert_int_equal(r.export.block_max, 256 << 10);
	assert_true(r.export.generation_told && r.export.generation.activation == 5 &&
		    r.export.generation.lease == 2);

	assert_int_equal(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(option(fd, SOL_SOCKET, SO_KEEPALIVE), 1);
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPIDLE), 3);
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_KEEPINTVL), 3);
	assert_int_equal(option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT), 7000);
	close(fd);
	fake_stop(&fakes[0]);
}

static void test_ipv6(void **state)
{
	int fd;

	say_good(&fakes[0].says);
	if (!fake_start(&fakes[0], AF_INET6, FAKE_SPEAKS))
		skip();
	fd = try(1, LONG_MS);
	assert_true(fd >= 0);
	close(fd);
	fake_stop(&fakes[0]);
	say_greeting(&fakes[0].says, 0);
	fake_start(&fakes[0], AF_INET6, FAKE_SPEAKS);
	must_fail(try(1, LONG_MS), EPROTONOSUPPORT, "[::1]:");
	fake_stop(&fakes[0]);
}

/* ---- deadlines ---- */

static void test_silent_server(void **state)
{
	fake_start(&fakes[0], AF_INET, FAKE_SILENT);
	must_fail(try(1, 300), ETIMEDOUT, "it has not said anything within ");
	must_name(0);
	must_take(300);
	fake_stop(&fakes[0]);
	say_greeting(&fakes[0].says, FIXED);
	fake_start(&fakes[0], AF_INET, FAKE_SPEAKS);
	must_fail(try(1, 1000), ETIMEDOUT, "it did not answer the request for the export within ");
	must_take(1000);
	fake_stop(&fakes[0]);
}

static void test_trickling_server(void **state)
{
	static const char info[4000] = "\x7f\x7f"; /* long enough for far more than the deadline */

	say_greeting(&fakes[0].says, FIXED);
	say_reply(&fakes[0].says, NBD_REP_INFO, info, sizeof(info));
	fakes[0].says.count = 18 + 20 + 2;
	fake_start(&fakes[0], AF_INET, FAKE_TRICKLES);
	must_fail(try(1, 500), ETIMEDOUT, "it broke off in its ");
	must_take(500);
	fake_stop(&fakes[0]);
}

static void test_no_connection(void **state)
{
	fake_start(&fakes[0], AF_INET, FAKE_FULL);
	must_fail(try(1, 300), ETIMEDOUT, "no connection within ");
	must_name(0);
	must_take(300);
	wishes.connect_ms = 200;
	must_fail(try(1, LONG_MS), ETIMEDOUT, "no connection within ");
	must_take(200);
	fake_stop(&fakes[0]);
}

static void test_deadline_is_over(void **state)
{
	say_good(&fakes[0].says);
	fake_start(&fakes[0], AF_INET, FAKE_SPEAKS);
	must_fail(try(1, -1000), ETIMEDOUT, "");
	must_name(0);
	assert_true(took_ms < 10000);
	fake_stop(&fakes[0]);
}

/* ---- connections that break ---- */

static void test_broken_connections(void **state)
{
	fake_start(&fakes[0], AF_INET, FAKE_REFUSES);
	must_fail(try(1, LONG_MS), ECONNREFUSED,
		  "no connection: Connection refused; is the server running, and on this port?");
	must_name(0);
	fake_stop(&fakes[0]);
	fakes[0].says.count = 0;
	fake_start(&fakes[0], AF_INET, FAKE_ENDS);
	must_fail(try(1, LONG_MS), ECONNRESET,
		  "the server ended the connection, and it has not said anything");
	must_name(0);
	fake_stop(&fakes[0]);
	say_greeting(&fakes[0].says, FIXED);
	fake_start(&fakes[0], AF_INET, FAKE_ENDS);
	must_fail(try(1, LONG_MS), ECONNRESET,
		  "the server ended the connection, and it did not answer the request for the export");
	fake_stop(&fakes[0]);
	fake_start(&fakes[0], AF_INET, FAKE_RESETS);
	must_fail(try(1, LONG_MS), ECONNRESET,
		  "the connection broke: Connection reset by peer, and it did not answer");
	fake_stop(&fakes[0]);
}

static void test_refusal(void **state)
{
	say_refusal(&fakes[0].says, NBD_REP_ERR_UNKNOWN, "export \"ws1\" is in use by client machine-A");
	fake_start(&fakes[0], AF_INET, FAKE_SPEAKS);
	must_fail(try(1, LONG_MS), ENOENT,
		  ": the server does not give out the export; its log may say more (it says: export \"ws1\" "
		  "is in use by client machine-A)");
	must_name(0);
	fake_stop(&fakes[0]);
}

static void test_wishes(void **state)
{
	fake_start(&fakes[0], AF_INET, FAKE_REFUSES);
	must_fail(try(0, LONG_MS), EINVAL, "0 addresses");
	wishes.user_timeout_ms = 0;
	must_fail(try(1, LONG_MS), EINVAL, "a dead link must be found");
	wishes.user_timeout_ms = 7000;
	wishes.keepalive_s = 0;
	must_fail(try(1, LONG_MS), EINVAL, "a dead link must be found");
	wishes.keepalive_s = 3;
	fakes[0].address.any.sa_family = AF_UNIX;
	must_fail(try(1, LONG_MS), EINVAL, "neither IPv4 nor IPv6");
	fakes[0].address.any.sa_family = AF_INET;
	wishes.request = "";
	must_fail(try(1, LONG_MS), EINVAL, "no export is named");
	fake_stop(&fakes[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_nothing_is_read_behind, setup),
		cmocka_unit_test_setup(test_ipv6, setup),
		cmocka_unit_test_setup(test_moments_without_memory, setup),
		cmocka_unit_test_setup(test_silent_server, setup),
		cmocka_unit_test_setup(test_trickling_server, setup),
		cmocka_unit_test_setup(test_no_connection, setup),
		cmocka_unit_test_setup(test_deadline_is_over, setup),
		cmocka_unit_test_setup(test_broken_connections, setup),
		cmocka_unit_test_setup(test_refusal, setup),
		cmocka_unit_test_setup(test_wishes, setup),
	};

	alarm(300); /* a deadline that does not hold is a failure, too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
