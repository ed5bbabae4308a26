/* SPDX-License-Identifier: BSD-3-Clause */
/* What is a silent server, and what is one that only does not read. */
#include "config.h"

#include "tests/client/unit.h"

#include "client/socksilent.h"

#include <errno.h>
#include <linux/filter.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#define SILENT_MS 300
#define STEP_MS 50

static int here, there;

static int begin(void **state)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr = { htonl(INADDR_LOOPBACK) } };
	socklen_t n = sizeof(a);
	int listener = socket(AF_INET, SOCK_STREAM, 0), bytes = 4096;

	(void)state;
	assert_int_equal(setsockopt(listener, SOL_SOCKET, SO_RCVBUF, &bytes, sizeof(bytes)), 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&a, n), 0);
	assert_int_equal(listen(listener, 1), 0);
	assert_int_equal(getsockname(listener, (struct sockaddr *)&a, &n), 0);
	here = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(connect(here, (struct sockaddr *)&a, n), 0);
	there = accept(listener, NULL, NULL);
	assert_true(there >= 0);
	close(listener);
	return 0;
}

static int end(void **state)
{
	(void)state;
	close(here);
	close(there);
	return 0;
}

/* Nothing arrives there any more, and nothing is acknowledged. */
static void dies(void)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog all = { .len = 1, .filter = &drop };

	assert_int_equal(setsockopt(there, SOL_SOCKET, SO_ATTACH_FILTER, &all, sizeof(all)), 0);
}

/* As the watch looks: two looks in a row. */
static bool found_within(int ms)
{
	unsigned row = 0;

	for (; ms > 0 && row < 2; ms -= STEP_MS) {
		poll(NULL, 0, STEP_MS);
		row = socksilent(here, SILENT_MS) ? row + 1 : 0;
	}
	return row == 2;
}

static void test_silent(void **state)
{
	(void)state;
	assert_int_equal(send(here, "x", 1, 0), 1);
	assert_false(found_within(2 * SILENT_MS)); /* idle: all is acknowledged */
	dies();
	assert_false(socksilent(here, SILENT_MS)); /* there is nothing to acknowledge */
	assert_int_equal(send(here, "x", 1, 0), 1);
	assert_true(found_within(30000));
}

static void test_window_shut(void **state)
{
	static const char data[65536];

	(void)state;
	for (int quiet = 0; quiet < 4;) { /* until nothing more goes, that is, both ends are full */
		if (send(here, data, sizeof(data), MSG_DONTWAIT) < 0) {
			assert_int_equal(errno, EAGAIN);
			quiet++;
			poll(NULL, 0, STEP_MS);
		}
	}
	assert_false(found_within(3 * SILENT_MS));
	dies();
	assert_true(found_within(30000));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_silent, begin, end),
		cmocka_unit_test_setup_teardown(test_window_shut, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
