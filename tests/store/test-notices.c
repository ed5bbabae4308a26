/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages about errors: one per kind and minute, and what was held back is counted. */
#include "config.h"

#include "store/notices.h"
#include "tests/store/support.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static struct {
	unsigned count;
	enum notice_priority priority;
	char text[NOTICE_TEXT];
} said;

static void emit(void *arg, enum notice_priority priority, const char *text)
{
	(void)arg;
	said.count++;
	said.priority = priority;
	snprintf(said.text, sizeof(said.text), "%s", text);
}

static struct notices n;

static int setup(void **state)
{
	(void)state;
	memset(&said, 0, sizeof(said));
	notices_init(&n, "ws1", emit, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	notices_end(&n);
	return 0;
}

static void error(unsigned kind, int code, uint64_t first, uint64_t last, int64_t now)
{
	notices_error(&n, kind, code, (struct notice_place){ "write", first, last }, now);
}

static void expect(unsigned count, const char *part)
{
	assert_int_equal(said.count, count);
	if (!strstr(said.text, part))
		fail_msg("\"%s\" is not in \"%s\"", part, said.text);
}

static void one_per_minute(void **state)
{
	(void)state;
	error(ERR_LASTING, EIO, 12, 43, 1000);
	expect(1, "ws1: write of pages 12 to 43: Input/output error: answered with an error");
	assert_int_equal(said.priority, NOTICE_ERROR);
	for (int i = 0; i < 500; i++)
		error(ERR_LASTING, EIO, 100 + (uint64_t)i, 100 + (uint64_t)i, 1000 + i * 100);
	expect(1, "");
	error(ERR_LASTING, EIO, 7, 7, 61000);
	expect(2, "write of page 7: Input/output error");
	expect(2, "(500 more like it in 60 s, pages 100 to 599)");
	error(ERR_LASTING, EIO, 7, 7, 121000);
	expect(3, "write of page 7");
	assert_null(strstr(said.text, "more like it"));
}

static void kinds_do_not_hide_each_other(void **state)
{
	(void)state;
	for (unsigned kind = 0; kind < NOTICE_REOPENED; kind++)
		error(kind, kind >= NOTICE_LOST_PAGE ? 0 : EIO, 1, 1, 0);
	assert_int_equal(said.count, NOTICE_REOPENED);
}

static void a_handle_stale_for_ever(void **state)
{
	(void)state;
	for (int64_t now = 0; now <= 60000; now += 100)
		notices_reopened(&n, now);
	expect(2, "opened anew and is the same (599 times more in 60 s)");
}

static void the_end_says_how_long(void **state)
{
	(void)state;
	for (uint64_t i = 0; i < 37; i++) {
		notices_held(&n, (int64_t)i);
		error(ERR_PASSING, ETIMEDOUT, i, i, (int64_t)i);
	}
	expect(1, "held and tried again");
	for (int i = 0; i < 36; i++)
		notices_freed(&n, true, 12000);
	expect(1, "");
	notices_freed(&n, true, 12400);
	expect(2, "ws1: goes on after 12.4 s, 37 requests were held; 36 messages were held back");
	/* They were counted there: not again. */
	error(ERR_PASSING, ETIMEDOUT, 1, 1, 70000);
	assert_null(strstr(said.text, "more like it"));
}

static void given_up_is_said(void **state)
{
	(void)state;
	notices_held(&n, 0);
	error(ERR_PASSING, ETIMEDOUT, 1, 1, 10);
	error(NOTICE_GIVEN_UP, ETIMEDOUT, 1, 1, 300000);
	expect(2, "held for too long");
	notices_freed(&n, false, 300000);
	expect(3, "nothing is held any more after 300.0 s, 1 request was held, 1 of them given up");
}

/* A backend that comes and goes each second says no more than one that stays away. */
static void a_flapping_backend_is_quiet(void **state)
{
	(void)state;
	for (int64_t now = 0; now < 60000; now += 1000) {
		notices_held(&n, now);
		error(ERR_PASSING, ETIMEDOUT, 1, 1, now);
		notices_freed(&n, true, now + 500);
	}
	assert_int_equal(said.count, 2);
}

/* What one more try mends is counted elsewhere, not said. */
static void a_blip_is_not_said(void **state)
{
	(void)state;
	notices_held(&n, 0);
	notices_freed(&n, true, 10);
	assert_int_equal(said.count, 0);
}

static void the_rest_at_the_end(void **state)
{
	(void)state;
	for (uint64_t page = 0; page < 40; page++)
		error(NOTICE_BAD_PAGE, 0, page, page, 0);
	expect(1, "ws1: write of page 0: what was read, twice, is not what was written");
	notices_end(&n);
	expect(2, "ws1: 39 more since the last message of this kind, pages 1 to 39: what was read");
	notices_init(&n, "ws1", emit, NULL);
}

static void the_longest_message_fits(void **state)
{
	char name[4096];
	struct notices m;

	(void)state;
	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	notices_init(&m, name, emit, NULL);
	for (unsigned kind = 0; kind < NOTICE_REOPENED; kind++) {
		struct notice_place at = { "discard", UINT64_MAX - 1, UINT64_MAX };

		notices_error(&m, kind, EPROTONOSUPPORT, at, 0);
		for (int i = 0; i < 1000; i++)
			notices_error(&m, kind, EPROTONOSUPPORT, at, 1);
		notices_error(&m, kind, EPROTONOSUPPORT, at, INT64_C(86400000));
		assert_true(strlen(said.text) < NOTICE_TEXT - 1); /* nothing was cut but the name */
	}
	notices_end(&m);
	error(ERR_LASTING, 12345, 1, 1, 0);
	expect(2 * NOTICE_REOPENED + 1, "error 12345");
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(one_per_minute),	  T(kinds_do_not_hide_each_other), T(the_end_says_how_long),
		T(given_up_is_said),	  T(a_flapping_backend_is_quiet),  T(a_blip_is_not_said),
		T(the_rest_at_the_end),	  T(the_longest_message_fits), T(a_handle_stale_for_ever),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
