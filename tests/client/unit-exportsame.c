/* SPDX-License-Identifier: BSD-3-Clause */
/* The name that is asked for, generations in words, and what differs between what a device had and what a
 * server gives.
 */
#include "config.h"

#include "client/exportask.h"
#include "client/exportsame.h"
#include "tests/client/unit.h"

#include <errno.h>

static char asked[EXPORT_ASK_MAX];

static int ask(const char *name, const struct generation *g, const char *client, unsigned slot, unsigned slots)
{
	const struct export_ask a = { name, g, client, slot, slots };
	struct errbuf e;

	return export_ask_format(&a, asked, &e);
}

static void test_ask(void **state)
{
	static const struct generation longest = { UINT64_MAX, UINT64_MAX }, usual = { 5, 2 };
	char name[EXPORT_NAME_MAX + 2] = "", client[CLIENT_ID_MAX + 2] = "";
	struct export_request parsed;
	struct errbuf e;

	assert_int_equal(ask("ws1", NULL, NULL, 0, 0), 0);
	assert_string_equal(asked, "ws1");
	assert_int_equal(ask("ws1", NULL, "a", 1, 2), 0);
	assert_string_equal(asked, "ws1?client=a&slot=1/2");
	assert_int_equal(export_request_parse(asked, &parsed, &e), 0); /* as the server does */
	assert_string_equal(parsed.client, "a");
	assert_int_equal(parsed.slot, 1);
	assert_int_equal(ask("ws1", &usual, "a", 0, 0), 0);
	assert_string_equal(asked, "ws1?gen=5&lease=2&client=a");
	/* The longest of everything fits. */
	memset(name, 'n', EXPORT_NAME_MAX);
	memset(client, 'c', CLIENT_ID_MAX);
	assert_int_equal(ask(name, &longest, client, 63, 64), 0);
	assert_non_null(strstr(asked, "nn?gen=18446744073709551615&lease=18446744073709551615&client=cc"));
	assert_string_equal(asked + strlen(asked) - 13, "cc&slot=63/64");
	assert_true(strlen(asked) < NEGO_NAME_MAX);
	name[EXPORT_NAME_MAX] = 'n';
	assert_int_equal(ask(name, NULL, NULL, 0, 0), -1);
	client[CLIENT_ID_MAX] = 'c';
	assert_int_equal(ask("ws1", NULL, client, 0, 0), -1);
	assert_int_equal(ask("ws1", NULL, "a&slot=0/1", 0, 0), -1);
	assert_int_equal(ask("ws1", NULL, NULL, 0, 1), -1);
	assert_int_equal(ask("ws1", NULL, "a", 1, 1), -1);
	assert_int_equal(ask("ws1", NULL, "a", 0, 65), -1);
}

static void test_generation(void **state)
{
	static const char *const bad[] = { "",
					   "gen=",
					   "gen=1",
					   "gen=1&lease=",
					   "gen=0&lease=1",
					   "gen=01&lease=1",
					   "gen=1&lease=01",
					   "gen=18446744073709551616&lease=1",
					   "gen=1&lease=18446744073709551616",
					   "gen=20000000000000000000&lease=1",
					   "gen=99999999999999999999999&lease=1",
					   "gen=-1&lease=1",
					   "gen= 1&lease=1",
					   "Gen=1&lease=1",
					   " gen=1&lease=1" };
	char text[GENERATION_TEXT];
	struct generation g = { 77, 78 };
	const char *end;

	generation_format(&(struct generation){ UINT64_MAX, 0 }, text);
	assert_string_equal(text, "gen=18446744073709551615&lease=0");
	assert_true(generation_parse("gen=18446744073709551615&lease=0&client=a", &g, &end));
	assert_string_equal(end, "&client=a");
	assert_true(g.activation == UINT64_MAX && g.lease == 0);
	g = (struct generation){ 77, 78 };
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (generation_parse(bad[i], &g, NULL) || g.activation != 77 || g.lease != 78)
			fail_msg("\"%s\"", bad[i]);
	assert_true(generation_of_description("gen=3&lease=4", &g) && g.activation == 3 && g.lease == 4);
	assert_true(generation_of_description("a b gen=5&lease=6", &g) && g.activation == 5 && g.lease == 6);
	assert_false(generation_of_description("xgen=7&lease=8", &g));
	assert_false(generation_of_description("gen=7&lease=8 more", &g));
	assert_false(generation_of_description("gen=7&lease=8.", &g));
	assert_true(g.activation == 5 && g.lease == 6);
}

#define ALL \
	(NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM | \
	 NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_CAN_MULTI_CONN)

static const struct nego_export good = {
	.size = 1 << 20,
	.flags = ALL,
	.block_min = 4096,
	.block_preferred = 4096,
	.block_max = 128 << 10,
	.generation_told = true,
	.generation = { 5, 2 },
};
static const struct export_expected expected = {
	.size = 1 << 20,
	.flags = ALL,
	.request_bytes = 128 << 10,
	.has_generation = true,
	.generation = { 5, 2 },
};

static void must_differ(const struct nego_export *x, int code, const char *words)
{
	struct errbuf e = { .code = 0 };

	if (export_same(x, &expected, &e) == 0)
		fail_msg("no difference, and not: %s", words);
	if (e.code != code || !strstr(e.text, words))
		fail_msg("code %d: %s", e.code, e.text);
}

static void test_same(void **state)
{
	struct export_expected any = expected;
	struct nego_export x = good;
	struct errbuf e;

	assert_int_equal(export_same(&x, &expected, &e), 0);
	x.flags |= NBD_FLAG_SEND_CACHE | NBD_FLAG_ROTATIONAL | NBD_FLAG_SEND_FAST_ZERO; /* more is no harm */
	x.block_min = x.block_max = 0;
	assert_int_equal(export_same(&x, &expected, &e), 0);
	any.has_generation = false;
	any.flags = NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_CACHE; /* which the driver does not use */
	any.request_bytes = 0;
	x = good;
	x.flags = NBD_FLAG_HAS_FLAGS;
	x.block_max = 4096;
	x.generation.lease = 3;
	assert_int_equal(export_same(&x, &any, &e), 0);
}

static void test_differences(void **state)
{
	static const uint16_t flags[] = { NBD_FLAG_SEND_FLUSH, NBD_FLAG_SEND_FUA, NBD_FLAG_SEND_TRIM,
					  NBD_FLAG_SEND_WRITE_ZEROES, NBD_FLAG_CAN_MULTI_CONN };
	static const char *const words[] = { "flushes", "FUA", "discards", "write-zeroes",
					     "several connections" };
	struct export_expected was_read_only = expected;
	struct nego_export x;
	struct errbuf e;

	x = good, x.size = 2 << 20;
	must_differ(&x, EMEDIUMTYPE, "it has 2097152 bytes, and the device 1048576");
	x = good, x.generation.activation = 6;
	must_differ(&x, ESTALE, "began anew (gen=6&lease=2, and the device has pages of gen=5&lease=2)");
	x = good, x.generation.lease = 3;
	must_differ(&x, ESTALE, "another client has had the export since (gen=5&lease=3");
	x = good, x.generation_told = false;
	must_differ(&x, EMEDIUMTYPE, "does not tell its generation");
	x = good, x.flags |= NBD_FLAG_READ_ONLY;
	must_differ(&x, EINVAL, "read-only now");
	for (size_t i = 0; i < 5; i++) {
		x = good, x.flags &= (uint16_t)~flags[i];
		must_differ(&x, EINVAL, words[i]);
	}
	x = good, x.block_min = 8192;
	must_differ(&x, EINVAL, "below 8192");
	x = good, x.block_max = 65536;
	must_differ(&x, EINVAL, "above 65536 bytes, and the device sends up to 131072");
	was_read_only.flags |= NBD_FLAG_READ_ONLY;
	assert_int_equal(export_same(&good, &was_read_only, &e), -1);
	/* All of it at once has room, with the remedy behind it. */
	x = (struct nego_export){ .size = UINT64_MAX,
				  .flags = NBD_FLAG_READ_ONLY,
				  .block_min = 1u << 31,
				  .block_max = 1,
				  .generation_told = true,
				  .generation = { UINT64_MAX, UINT64_MAX } };
	must_differ(&x, ESTALE, "it takes no request above 1 bytes");
	must_differ(&x, ESTALE, "detach and attach anew");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ask),
		cmocka_unit_test(test_generation),
		cmocka_unit_test(test_same),
		cmocka_unit_test(test_differences),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
