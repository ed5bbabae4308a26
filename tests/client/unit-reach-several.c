/* SPDX-License-Identifier: BSD-3-Clause */
/* Reaching one of several addresses: each has its share of the time, and of what is said when all fail. */
#include "config.h"

#include "tests/client/reaching.h"
#include "tests/client/unit.h"

#include "common/utf8.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

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

/* The first of many is given time enough; and it is another one each time that the caller says. */
static void test_where_to_begin(void **state)
{
	int fd;

	say_good(&fakes[1].says);
	say_good(&fakes[2].says);
	start_three(FAKE_SILENT, FAKE_SPEAKS, FAKE_SPEAKS);
	wishes.least_ms = 600;
	fd = try(3, 900);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(r.reached, 1);
	must_take(600);
	wishes.first = 2;
	fd = try(3, LONG_MS);
	assert_true(fd >= 0);
	close(fd);
	assert_int_equal(r.reached, 2);
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
	must_fail(try(2, LONG_MS), EMEDIUMTYPE,
		  "the server gives another export than the device was attached to: it has 1048592 bytes");
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
	assert_non_null(memchr(e.text, 0, sizeof(e.text)));
	assert_int_equal(utf8_span(e.text), strlen(e.text));
	/* What the server says is cut as well, behind a whole character wherever that lies. */
	for (size_t shift = 0; shift < 2; shift++) {
		char text[201] = "x";

		for (size_t i = shift; i + 2 < sizeof(text); i += 2)
			memcpy(text + i, "\xc3\xa4", 3);
		say_refusal(&fakes[1].says, NBD_REP_ERR_POLICY, text);
		fake_start(&fakes[1], AF_INET, FAKE_SPEAKS);
		many[0] = fakes[1].address;
		wishes.count = 5;
		wishes.deadline_ns = (now_ms() + LONG_MS) * 1000000;
		must_fail(reach(&r, &wishes, &e), EACCES, "\xc3\xa4...; 127.0.0.2:");
		assert_int_equal(utf8_span(e.text), strlen(e.text));
		fake_stop(&fakes[1]);
	}
	fake_stop(&fakes[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_first_ones_dead, setup),
		cmocka_unit_test_setup(test_where_to_begin, setup),
		cmocka_unit_test_setup(test_most_telling_code, setup),
		cmocka_unit_test_setup(test_another_export, setup),
		cmocka_unit_test_setup(test_many_addresses, setup),
	};

	alarm(300); /* a deadline that does not hold is a failure, too */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
