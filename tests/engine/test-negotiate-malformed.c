/* SPDX-License-Identifier: BSD-3-Clause */
/* Negotiation: what is refused, what is malformed, what is too much. */
#include "config.h"

#include "tests/engine/converse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* ---- refusals ---- */

static void test_refused_open(void **state)
{
	static struct owner o;
	static const uint32_t options[] = { NBD_OPT_INFO, NBD_OPT_GO };

	for (int i = 0; i < 2; i++) {
		talk_flags(&talk, FIXED);
		talk_go(&talk, options[i], "nothing", NULL, 0);
		converse();
		expect_error(options[i], NBD_REP_ERR_UNKNOWN, "there is no export \"nothing\"");
		expect_goes_on();
		assert_non_null(strstr(course.told, "there is no export \"nothing\""));
		assert_int_equal(course.owner.opened, 0);
	}
	talk_flags(&talk, FIXED);
	talk_option(&talk, NBD_OPT_EXPORT_NAME, "nothing", 7);
	converse();
	expect_end("there is no export \"nothing\"");

	/* What is no text does not get into an answer that must be text. */
	owner_init(&o);
	o.refusal = "a cut \xc3 and \xe2\x82, a line\nand \x7f; an \xc3\xa4 stays";
	talk_flags(&talk, FIXED);
	talk_go(&talk, NBD_OPT_GO, "ws1", NULL, 0);
	converse_with(&o);
	expect_error(NBD_OPT_GO, NBD_REP_ERR_UNKNOWN, "a cut ? and ??, a line?and ?; an \xc3\xa4 stays");
	expect_goes_on();
	assert_string_equal(course.told, ""); /* the owner's own refusal is in the log already */
}

static void test_unfit_names(void **state)
{
	static char long_name[300];
	const char *const unfit[][2] = {
		{ "", "the export name is empty" },
		{ ".ws", "hidden" },
		{ "ws/1", "'/'" },
		{ "ws1\n", "control character" },
		{ "ws1?who=x", "unknown parameter" },
		{ "ws1?client=a b", "bad client id" },
		{ long_name, "bytes, at most 255" },
	};

	memset(long_name, 'w', sizeof(long_name) - 1);
	for (size_t i = 0; i < sizeof(unfit) / sizeof(unfit[0]); i++) {
		talk_flags(&talk, FIXED);
		talk_go(&talk, NBD_OPT_INFO, unfit[i][0], NULL, 0);
		talk_go(&talk, NBD_OPT_GO, unfit[i][0], NULL, 0);
		talk_option(&talk, NBD_OPT_EXPORT_NAME, unfit[i][0], strlen(unfit[i][0]));
		converse();
		expect_error(NBD_OPT_INFO, NBD_REP_ERR_UNKNOWN, unfit[i][1]);
		expect_error(NBD_OPT_GO, NBD_REP_ERR_UNKNOWN, unfit[i][1]);
		expect_end(unfit[i][1]);
		assert_string_equal(course.owner.name, ""); /* the owner was not even asked */
	}
}

/* Whether client ids are known here is a question, not a fault to tell an administrator. */
static void test_probe(void **state)
{
	talk_flags(&talk, FIXED);
	talk_go(&talk, NBD_OPT_GO, "ws1?client=", NULL, 0);
	converse();
	expect_error(NBD_OPT_GO, NBD_REP_ERR_UNKNOWN, "bad client id");
	expect_goes_on();
	assert_string_equal(course.told, "");
}

static void test_no_text(void **state)
{
	static const struct {
		const char *name;
		size_t bytes;
	} bad[] = { { "ws\0" "1", 4 }, { "\0", 1 }, { "ws\xff", 3 }, { "ws\xed\xa0\x80", 5 }, { "ws\xc3", 3 } };
	static char longest[NBD_STRING_MAX + 1];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		talk_flags(&talk, FIXED);
		talk_header(&talk, NBD_OPT_GO, (uint32_t)(6 + bad[i].bytes));
		talk_u32(&talk, (uint32_t)bad[i].bytes);
		talk_bytes(&talk, bad[i].name, bad[i].bytes);
		talk_u16(&talk, 0);
		talk_option(&talk, NBD_OPT_EXPORT_NAME, bad[i].name, bad[i].bytes);
		converse();
		expect_error(NBD_OPT_GO, NBD_REP_ERR_INVALID, "UTF-8");
		expect_end("UTF-8");
	}
	memset(longest, 'w', sizeof(longest));
	talk_flags(&talk, FIXED);
	talk_header(&talk, NBD_OPT_GO, 6 + NBD_STRING_MAX);
	talk_u32(&talk, NBD_STRING_MAX);
	talk_bytes(&talk, longest, NBD_STRING_MAX);
	talk_u16(&talk, 0);
	talk_header(&talk, NBD_OPT_GO, 6 + NBD_STRING_MAX + 1);
	talk_u32(&talk, NBD_STRING_MAX + 1);
	talk_bytes(&talk, longest, NBD_STRING_MAX + 1);
	talk_u16(&talk, 0);
	talk_option(&talk, NBD_OPT_EXPORT_NAME, longest, NBD_STRING_MAX);
	converse();
	expect_error(NBD_OPT_GO, NBD_REP_ERR_UNKNOWN, "4096 bytes");
	expect_error(NBD_OPT_GO, NBD_REP_ERR_INVALID, "at most 4096 bytes");
	expect_end("4096 bytes, at most 255");
	talk_flags(&talk, FIXED);
	talk_option(&talk, NBD_OPT_EXPORT_NAME, longest, NBD_STRING_MAX + 1);
	converse();
	expect_end("sent option 1 with 4097 bytes");
}

/* Lengths inside of an option that lead beyond it, or leave something over. */
static void test_inner_lengths(void **state)
{
	static const struct {
		uint32_t data, name;
		uint16_t infos;
	} bad[] = {
		{ 0, 0, 0 }, { 1, 0, 0 }, { 5, 0, 0 }, { 6, 1, 0 }, { 6, 0, 1 }, { 7, 0, 0 }, { 9, 3, 1 }, { 9, 4, 0 }, { 9, UINT32_MAX, 0 },
		{ 9, UINT32_MAX - 5, 0 }, { 10, 3, 0 }, { 12, 3, 2 }, { 9, 3, UINT16_MAX }, { 4096, 3, 1 }, { 9, 0x80000000, 0 },
	};
	static unsigned char data[8192];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		static struct talk inner;

		inner.count = 0;
		talk_u32(&inner, bad[i].name);
		talk_bytes(&inner, "ws1", bad[i].name < 3 ? bad[i].name : 3);
		talk_u16(&inner, bad[i].infos);
		memset(data, 0, sizeof(data));
		memcpy(data, inner.bytes, inner.count);
		talk_flags(&talk, FIXED);
		talk_option(&talk, NBD_OPT_INFO, data, bad[i].data);
		talk_option(&talk, NBD_OPT_GO, data, bad[i].data);
		talk_go(&talk, NBD_OPT_GO, "ws1", NULL, 0);
		converse();
		expect_error(NBD_OPT_INFO, NBD_REP_ERR_INVALID, "lengths");
		expect_error(NBD_OPT_GO, NBD_REP_ERR_INVALID, "lengths");
		assert_int_equal(course.state, NEGOTIATE_BEGIN); /* and what came behind it was understood */
		assert_int_equal(course.owner.opened, 1);
	}
}

/* ---- what ends a negotiation ---- */

static void test_client_flags(void **state)
{
	for (unsigned bit = 2; bit < 32; bit++) {
		talk_flags(&talk, FIXED | UINT32_C(1) << bit);
		talk_option(&talk, NBD_OPT_LIST, NULL, 0);
		converse();
		expect_end("flags that this server does not know");
		assert_int_equal(course.taken, 4);
	}
}

static void test_not_fixed(void **state)
{
	static const uint32_t flags[] = { 0, NBD_FLAG_C_NO_ZEROES };

	for (size_t i = 0; i < 2; i++)
		for (uint32_t option = 0; option < 13; option++) {
			talk_flags(&talk, flags[i]);
			talk_option(&talk, option, NULL, 0);
			converse();
			expect_end(option == NBD_OPT_EXPORT_NAME ? "name is empty" : "without fixed newstyle");
		}
}

static void test_magic(void **state)
{
	for (unsigned bit = 0; bit < 64; bit++) {
		talk_flags(&talk, FIXED);
		talk_option(&talk, NBD_OPT_LIST_META_CONTEXT, NULL, 0);
		talk_u64(&talk, NBD_OPTION_MAGIC ^ UINT64_C(1) << bit);
		talk_u32(&talk, NBD_OPT_LIST);
		talk_u32(&talk, 0);
		converse();
		expect_error(NBD_OPT_LIST_META_CONTEXT, NBD_REP_ERR_UNSUP, "");
		expect_end("does not speak NBD");
	}
}

static void test_too_many(void **state)
{
	talk_flags(&talk, FIXED);
	for (unsigned i = 0; i < NEGOTIATE_OPTIONS_MAX; i++)
		talk_option(&talk, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	converse();
	for (unsigned i = 0; i < NEGOTIATE_OPTIONS_MAX; i++)
		expect_error(NBD_OPT_STRUCTURED_REPLY, NBD_REP_ERR_UNSUP, "");
	expect_goes_on();
	assert_int_equal(course.completed, NEGOTIATE_OPTIONS_MAX);
	talk_option(&talk, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	converse();
	assert_int_equal(course.state, NEGOTIATE_END);
	assert_non_null(strstr(course.told, "more than 4096 options"));
}

/* A refusal that nobody has fetched from the machine does not end it. */
static void test_refusal_not_told(void **state)
{
	static struct negotiation n;
	static struct owner o;
	static const struct peer who = { .address = "unix" };
	const unsigned char *at = talk.bytes;
	size_t bytes, room;

	owner_init(&o);
	talk_flags(&talk, FIXED);
	talk_go(&talk, NBD_OPT_GO, "nothing", NULL, 0);
	talk_go(&talk, NBD_OPT_GO, "ws1", NULL, 0);
	negotiate_start(&n, &o.ops, &who, CONVERSE_SOCK);
	while (negotiate_state(&n) == NEGOTIATE_GOES_ON && at < talk.bytes + talk.count) {
		void *to;

		negotiate_output(&n, &bytes);
		if (bytes)
			negotiate_sent(&n, bytes);
		to = negotiate_room(&n, &room);
		if (room) {
			memcpy(to, at, room);
			at += room;
			negotiate_received(&n, room);
		}
	}
	assert_int_equal(negotiate_state(&n), NEGOTIATE_BEGIN);
	assert_non_null(negotiate_told(&n));
	assert_null(negotiate_told(&n));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused_open),
		cmocka_unit_test(test_unfit_names),
		cmocka_unit_test(test_probe),
		cmocka_unit_test(test_no_text),
		cmocka_unit_test(test_inner_lengths),
		cmocka_unit_test(test_client_flags),
		cmocka_unit_test(test_not_fixed),
		cmocka_unit_test(test_magic),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_refusal_not_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
