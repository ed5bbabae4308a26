/* SPDX-License-Identifier: BSD-3-Clause */
/* Export names with parameters, taken apart. */
#include "config.h"

#include "common/exportname.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ID64 "aaaaaaaaaaaaaaaabbbbbbbbbbbbbbbbccccccccccccccccdddddddddddddddd"

static void test_parameters(void **state)
{
	static const struct {
		const char *text, *client;
		unsigned slot, slots;
	} good[] = {
		{ "ws1", "", 0, 0 },
		{ "ws1?client=A", "A", 0, 0 },
		{ "ws1?client=" ID64, ID64, 0, 0 },
		{ "ws1?client=A&slot=0/1", "A", 0, 1 },
		{ "ws1?slot=3/4&client=A", "A", 3, 4 },
		{ "ws1?slot=63/64&client=" ID64, ID64, 63, 64 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct export_request r;
		struct errbuf e;

		assert_int_equal(export_request_parse(good[i].text, &r, &e), 0);
		assert_string_equal(r.name, "ws1");
		assert_string_equal(r.client, good[i].client);
		assert_int_equal(r.slot, good[i].slot);
		assert_int_equal(r.slots, good[i].slots);
	}
}

static void test_generation(void **state)
{
	struct export_request r;
	struct errbuf e;

	(void)state;
	assert_int_equal(export_request_parse("ws1?client=A", &r, &e), 0);
	assert_false(r.resumes);
	assert_int_equal(export_request_parse("ws1?lease=2&client=A&slot=0/1&gen=18446744073709551615", &r, &e), 0);
	assert_true(r.resumes);
	assert_true(r.generation.activation == UINT64_MAX);
	assert_true(r.generation.lease == 2);
	assert_int_equal(r.slots, 1);
}

static void test_refused(void **state)
{
	static const char *const bad[][2] = {
		{ "ws1?", "unknown parameter" },
		{ "ws1?Client=A", "unknown parameter" },
		{ "ws1?client=A&", "unknown parameter" },
		{ "ws1?client=A&&slot=0/1", "unknown parameter" },
		{ "ws1?client=A&gen=5", "go together" },
		{ "ws1?client=A&lease=5", "go together" },
		{ "ws1?gen=5&lease=2", "need client=ID" },
		{ "ws1?client=A&gen=5&lease=", "no number" },
		{ "ws1?client=A&gen=05&lease=2", "no number" },
		{ "ws1?client=A&gen=5x&lease=2", "no number" },
		{ "ws1?client=A&gen=-5&lease=2", "no number" },
		{ "ws1?client=A&gen=18446744073709551616&lease=2", "no number" },
		{ "ws1?client=A&gen=5&lease=2&gen=5", "twice" },
		{ "ws1?client=", "bad client id" },
		{ "ws1?client=" ID64 "e", "bad client id" },
		{ "ws1?client=" ID64 "ef", "bad client id" },
		{ "ws1?client=a b", "bad client id" },
		{ "ws1?client=A&client=A", "twice" },
		{ "ws1?client=A&slot=0/1&slot=0/1", "twice" },
		{ "ws1?slot=0/1", "need client=ID" },
		{ "ws1?client=A&slot=1/1", "bad slot" },
		{ "ws1?client=A&slot=0/0", "bad slot" },
		{ "ws1?client=A&slot=0/65", "bad slot" },
		{ "ws1?client=A&slot=00/1", "bad slot" },
		{ "ws1?client=A&slot=0/01", "bad slot" },
		{ "ws1?client=A&slot=-1/2", "bad slot" },
		{ "ws1?client=A&slot=0", "bad slot" },
		{ "ws1?client=A&slot=0/", "bad slot" },
		{ "ws1?client=A&slot=/1", "bad slot" },
		{ "ws1?client=A&slot=0/1x", "bad slot" },
		{ "ws1?client=A&slot=0/111111111111", "bad slot" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct export_request r;
		struct errbuf e = { .text = "" };

		assert_int_equal(export_request_parse(bad[i][0], &r, &e), -1);
		if (!strstr(e.text, bad[i][1]))
			fail_msg("%s: %s", bad[i][0], e.text);
	}
}

static void test_probe(void **state)
{
	(void)state;
	assert_true(export_request_is_probe("ws1?client="));
	assert_false(export_request_is_probe("ws1?client=A"));
	assert_false(export_request_is_probe("ws1"));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_parameters),
		cmocka_unit_test(test_generation), cmocka_unit_test(test_refused), cmocka_unit_test(test_probe),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
