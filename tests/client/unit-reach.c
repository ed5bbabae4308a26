/* SPDX-License-Identifier: BSD-3-Clause */
/* Reaching a server: what is read and left, the socket's options, deadlines against servers that fall silent
 * anywhere, several addresses, and what is said when it fails.
 */
#include "config.h"

#include "tests/client/fakeserver.h"
#include "tests/client/serverwords.h"
#include "tests/client/unit.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define FIXED (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)
#define FLAGS (NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH)
#define SIZE (1u << 20)
#define LONG_MS 60000 /* never waited for */

static struct fake fakes[3];
static struct reach r;
static struct errbuf e;
static int64_t took_ms;

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void say_good(struct talk *t)
{
	say_greeting(t, FIXED);
	say_export(t, SIZE, FLAGS);
	say_block_size(t, 4096, 4096, 256 << 10);
	say_text(t, NBD_INFO_DESCRIPTION, "the first gen=5&lease=2");
	say_ack(t);
}

static void say_refusal(struct talk *t, uint32_t reply, const char *text)
{
	say_greeting(t, FIXED);
	say_reply(t, reply, text, strlen(text));
}

static struct reach_wishes wishes;

static int try(size_t count, int64_t ms)
{
	static union reach_address addresses[3];
	int64_t began = now_ms();
	int fd;

	for (size_t i = 0; i < count; i++)
		addresses[i] = fakes[i].address;
	wishes.addresses = addresses;
	wishes.count = count;
	wishes.deadline_ns = (began + ms) * 1000000;
	e.code = 0;
	fd = reach(&r, &wishes, &e);
	took_ms = now_ms() - began;
	return fd;
}

static void must_fail(int fd, int code, const char *words)
{
	if (fd >= 0)
		fail_msg("it was reached");
	if (e.code != code || !strstr(e.text, words))
		fail_msg("%s: %s; and not %s: %s", strerrorname_np(e.code), e.text, strerrorname_np(code),
			 words);
}

static void must_name(size_t i)
{
	char text[64];

	snprintf(text, sizeof(text), "127.0.0.1:%u: ", ntohs(fakes[i].address.v4.sin_port));
	if (!strstr(e.text, text))
		fail_msg("%s is not named: %s", text, e.text);
}

static int option(int fd, int level, int name)
{
	int v = -1;
	socklen_t n = sizeof(v);

	assert_int_equal(getsockopt(fd, level, name, &v, &n), 0);
	return v;
}

static int setup(void **state)
{
	wishes = (struct reach_wishes){ .request = "ws1?client=a",
					.user_timeout_ms = 7000,
					.keepalive_s = 3 };
	return 0;
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

/* Within the deadline and not before it, as far as a loaded machine lets that be told. */
static void must_take(int64_t ms)
{
	if (took_ms < ms - 1 || took_ms > ms + 10000)
		fail_msg("it took %lld ms, and not %lld", (long long)took_ms, (long long)ms);
}

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
		  ": the server: does not give out the export; its log may say more (it says: export \"ws1\" "
		  "is in use by client machine-A)");
	must_name(0);
	fake_stop(&fakes[0]);
}

/* ---- several addresses ---- */

static void start_three(enum fake_manner first, enum fake_manner second, enum fake_manner third)
{
	fake_start(&fakes[0], AF_INET, first);
	fake_start(&fakes[1], AF_INET, second);
	fake_start(&fakes[2], AF_INET, third);
}

static void stop_three(void)
{
	for (int i = 0; i < 3; i++)
		fake_stop(&fakes[i]);
}

static void test_first_ones_dead(void **state)
{
	int fd;

	say_good(&fakes[2].says);
	start_three(FAKE_REFUSES, FAKE_SILENT, FAKE_SPEAKS);
	fd = try(3, 8000); /* what the first leaves goes to the others */
	if (fd < 0)
		fail_msg("%s", e.text);
	close(fd);
	assert_int_equal(r.reached, 2);
	assert_int_equal(r.codes[0], ECONNREFUSED);
	assert_int_equal(r.codes[1], ETIMEDOUT);
	must_take(4000);
	stop_three();

	start_three(FAKE_FULL, FAKE_FULL, FAKE_SPEAKS);
	wishes.connect_ms = 100;
	fd = try(3, LONG_MS);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(r.reached, 2);
	must_take(200);
	stop_three();
}

static void test_most_telling_code(void **state)
{
	say_refusal(&fakes[1].says, NBD_REP_ERR_POLICY, "not you");
	fakes[2].says.count = 0;
	start_three(FAKE_REFUSES, FAKE_SPEAKS, FAKE_ENDS);
	must_fail(try(3, LONG_MS), EACCES, "(it says: not you)");
	for (size_t i = 0; i < 3; i++)
		must_name(i);
	assert_int_equal(r.codes[0], ECONNREFUSED);
	assert_int_equal(r.codes[1], EACCES);
	assert_int_equal(r.codes[2], ECONNRESET);
	stop_three();
}

static void wait_ended(struct fake *f)
{
	int64_t end = now_ms() + 30000;

	while (__atomic_load_n(&f->ended, __ATOMIC_ACQUIRE) == 0) {
		if (now_ms() > end)
			fail_msg("a connection that is of no use is kept");
		usleep(1000);
	}
}

/* Another export is not the device's, and the right one behind it is. */
static void test_another_export(void **state)
{
	static struct export_expected expected = {
		.size = SIZE, .flags = FLAGS, .has_generation = true, .generation = { 5, 2 }
	};
	int fd;

	wishes.expected = &expected;
	say_good(&fakes[0].says);
	say_good(&fakes[2].says);
	say_greeting(&fakes[1].says, FIXED);
	say_export(&fakes[1].says, SIZE, FLAGS);
	say_text(&fakes[1].says, NBD_INFO_DESCRIPTION, "gen=5&lease=3");
	say_ack(&fakes[1].says);
	fakes[0].says.bytes[18 + 20 + 2 + 7] ^= 0x10; /* the size */
	start_three(FAKE_SPEAKS, FAKE_SPEAKS, FAKE_SPEAKS);
	must_fail(try(2, LONG_MS), ESTALE,
		  "the server: gives another export than the device was attached to: it has 1048592 bytes");
	assert_non_null(strstr(e.text, "another client has had the export since (gen=5&lease=3"));
	must_name(0);
	must_name(1);
	wait_ended(&fakes[0]);
	wait_ended(&fakes[1]);
	fd = try(3, LONG_MS);
	assert_true(fd >= 0);
	assert_int_equal(r.reached, 2);
	close(fd);
	stop_three();
}

/* Each of many is named, in the room that there is. */
static void test_many_addresses(void **state)
{
	static union reach_address many[REACH_ADDRESSES_MAX];

	fake_start(&fakes[0], AF_INET, FAKE_REFUSES);
	for (int i = 0; i < REACH_ADDRESSES_MAX; i++) {
		many[i] = fakes[0].address;
		many[i].v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK + (uint32_t)i);
	}
	wishes.addresses = many;
	wishes.count = REACH_ADDRESSES_MAX;
	wishes.deadline_ns = (now_ms() + LONG_MS) * 1000000;
	must_fail(reach(&r, &wishes, &e), ECONNREFUSED, "127.0.0.1:");
	assert_non_null(strstr(e.text, "; 127.0.0.16:"));
	assert_non_null(strstr(e.text, "...; "));
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
		cmocka_unit_test_setup(test_silent_server, setup),
		cmocka_unit_test_setup(test_trickling_server, setup),
		cmocka_unit_test_setup(test_no_connection, setup),
		cmocka_unit_test_setup(test_deadline_is_over, setup),
		cmocka_unit_test_setup(test_broken_connections, setup),
		cmocka_unit_test_setup(test_refusal, setup),
		cmocka_unit_test_setup(test_first_ones_dead, setup),
		cmocka_unit_test_setup(test_most_telling_code, setup),
		cmocka_unit_test_setup(test_another_export, setup),
		cmocka_unit_test_setup(test_many_addresses, setup),
		cmocka_unit_test_setup(test_wishes, setup),
	};

	alarm(300); /* a deadline that does not hold is a failure, too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
