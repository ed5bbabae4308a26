/* SPDX-License-Identifier: BSD-3-Clause */
/* What each option of the negotiation is answered with. */
#include "config.h"

#include "tests/engine/converse.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Data of options that have none, or none that is looked at: nothing but options, for one who takes it for what comes next. */
static unsigned char junk[NEGOTIATE_SKIP_MAX + 1];

static int fill_junk(void **state)
{
	static const unsigned char abort[16] = { 'I', 'H', 'A', 'V', 'E', 'O', 'P', 'T', [11] = NBD_OPT_ABORT };

	for (size_t i = 0; i < sizeof(junk); i++)
		junk[i] = abort[i % sizeof(abort)];
	return 0;
}

/* ---- ways into the export ---- */

static void test_go(void **state)
{
	static const unsigned char behind[] = "request";

	talk_flags(&talk, FIXED);
	talk_go(&talk, NBD_OPT_GO, "ws1?client=x", NULL, 0);
	talk_bytes(&talk, behind, sizeof(behind));
	converse();
	expect_begin();
	assert_int_equal(course.taken, talk.count - sizeof(behind)); /* nothing that belongs to transmission */
	assert_string_equal(course.owner.name, "ws1?client=x");
	assert_int_equal(course.owner.sock, CONVERSE_SOCK);
	assert_int_equal(course.owner.live, 1);
	assert_int_equal(course.owner.closed, 0);
	expect_export(NBD_OPT_GO, FLAGS);
	expect_ack(NBD_OPT_GO);
	assert_int_equal(answers.left, 0);
	assert_string_equal(course.told, "");
}

static void expect_all_infos(uint32_t option)
{
	expect_export(option, FLAGS);
	expect_info(option, NBD_INFO_NAME, 2 + 6);
	assert_memory_equal(x.data + 2, "ws0001", 6); /* as in a list: without the client's own parameters */
	expect_info(option, NBD_INFO_DESCRIPTION, 2 + 3);
	assert_memory_equal(x.data + 2, "odd", 3);
	expect_info(option, NBD_INFO_BLOCK_SIZE, 14);
	assert_int_equal(answer_u32(&x, 2), 4096);
	assert_int_equal(answer_u32(&x, 6), 4096);
	assert_int_equal(answer_u32(&x, 10), 256 << 10);
	expect_ack(option);
}

static void test_infos(void **state)
{
	/* twice and unknown ones: answered once, and ignored */
	static const uint16_t all[] = { 3, 0x8000, 2, 1, 0, 3, 4, 31, 32, 2 };

	talk_flags(&talk, FIXED);
	talk_go(&talk, NBD_OPT_INFO, "ws0001?client=x", all, 10);
	talk_go(&talk, NBD_OPT_GO, "ws0001?client=x", all, 10);
	converse();
	expect_all_infos(NBD_OPT_INFO);
	expect_begin();
	assert_int_equal(course.owner.opened, 2);
	assert_int_equal(course.owner.closed, 1); /* INFO's */
	assert_int_equal(course.owner.live, 1);
	expect_all_infos(NBD_OPT_GO);
	assert_int_equal(answers.left, 0);
}

static void test_each_info(void **state)
{
	for (uint16_t info = 1; info <= 3; info++) {
		talk_flags(&talk, FIXED);
		talk_go(&talk, NBD_OPT_INFO, "ws0001", &info, 1);
		converse();
		expect_export(NBD_OPT_INFO, FLAGS);
		assert_true(answers_next(&answers, &x));
		assert_int_equal(answer_u16(&x, 0), info);
		expect_ack(NBD_OPT_INFO);
		expect_goes_on();
		assert_int_equal(course.owner.sock, -1); /* INFO has no use for it */
		assert_int_equal(course.owner.live, 0);
	}
}

static void test_no_description_and_read_only(void **state)
{
	static const uint16_t description = NBD_INFO_DESCRIPTION;

	talk_flags(&talk, FIXED);
	talk_go(&talk, NBD_OPT_INFO, "ws0002", &description, 1); /* has none */
	talk_go(&talk, NBD_OPT_INFO, "ws0009", &description, 1); /* is in no list */
	talk_go(&talk, NBD_OPT_INFO, "wsro", NULL, 0);
	converse();
	expect_export(NBD_OPT_INFO, FLAGS);
	expect_ack(NBD_OPT_INFO);
	expect_export(NBD_OPT_INFO, FLAGS);
	expect_ack(NBD_OPT_INFO);
	expect_export(NBD_OPT_INFO, FLAGS | NBD_FLAG_READ_ONLY);
	expect_ack(NBD_OPT_INFO);
	expect_goes_on();
}

/* One that is longer than most is cut, at the end of a character; and where no list can be had, the client may begin all the same. */
static void test_odd_descriptions(void **state)
{
	static const uint16_t description = NBD_INFO_DESCRIPTION;
	static struct owner o;
	char text[301];

	for (size_t i = 0; i < sizeof(text) - 1; i++)
		text[i] = i % 2 ? '\xa4' : '\xc3';
	text[sizeof(text) - 1] = '\0';
	owner_init(&o);
	o.listed = 1;
	o.description = text;
	talk_flags(&talk, FIXED);
	talk_go(&talk, NBD_OPT_GO, "ws0001", &description, 1);
	converse_with(&o);
	expect_begin();
	expect_export(NBD_OPT_GO, FLAGS);
	expect_info(NBD_OPT_GO, NBD_INFO_DESCRIPTION, 2 + 254);
	assert_memory_equal(x.data + 2, text, 254);
	expect_ack(NBD_OPT_GO);

	o.list_fails = true;
	converse_with(&o);
	expect_begin();
	expect_export(NBD_OPT_GO, FLAGS);
	expect_ack(NBD_OPT_GO);
	assert_int_equal(answers.left, 0);
}

static void test_export_name(void **state)
{
	static const uint32_t flags[] = { 0, NBD_FLAG_C_FIXED_NEWSTYLE, NBD_FLAG_C_NO_ZEROES, FIXED };
	static const unsigned char zeroes[124];

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
		talk_flags(&talk, flags[i]);
		talk_option(&talk, NBD_OPT_EXPORT_NAME, "ws1", 3);
		talk_bytes(&talk, "behind", 6);
		converse();
		assert_int_equal(answers.left, 0);
		assert_int_equal(course.state, NEGOTIATE_BEGIN);
		assert_int_equal(course.taken, talk.count - 6);
		assert_string_equal(course.owner.name, "ws1");
		assert_int_equal(course.owner.live, 1);
		x = (struct answer){ .data = course.answer };
		assert_int_equal(answer_u64(&x, 0), OWNER_SIZE);
		assert_int_equal(answer_u16(&x, 8), FLAGS);
		if (flags[i] & NBD_FLAG_C_NO_ZEROES) {
			assert_int_equal(course.answer_bytes, 10);
		} else {
			assert_int_equal(course.answer_bytes, 134);
			assert_memory_equal(course.answer + 10, zeroes, 124);
		}
	}
}

/* ---- the other options ---- */

static void test_list(void **state)
{
	talk_flags(&talk, FIXED);
	talk_option(&talk, NBD_OPT_LIST, NULL, 0);
	converse();
	for (unsigned i = 1; i <= 3; i++) {
		char name[16];

		snprintf(name, sizeof(name), "ws%04u", i);
		assert_true(answers_next(&answers, &x));
		assert_int_equal(x.option, NBD_OPT_LIST);
		assert_int_equal(x.type, NBD_REP_SERVER);
		assert_int_equal(x.bytes, 4 + 6 + (i % 2 ? 3 : 0));
		assert_int_equal(answer_u32(&x, 0), 6);
		assert_memory_equal(x.data + 4, name, 6);
		if (i % 2)
			assert_memory_equal(x.data + 10, "odd", 3);
	}
	expect_ack(NBD_OPT_LIST);
	expect_goes_on();
}

/* Longer than any buffer: in parts, each name once. */
static void test_long_list(void **state)
{
	static struct owner o;
	unsigned lists;

	owner_init(&o);
	o.listed = 5000;
	for (int round = 0; round < 2; round++) {
		talk_flags(&talk, FIXED);
		talk_option(&talk, NBD_OPT_LIST, NULL, 0);
		talk_option(&talk, NBD_OPT_LIST, NULL, 0);
		converse_with(&o);
		for (unsigned i = 0; i < 10000; i++) {
			char name[16];

			if (i == 5000)
				expect_ack(NBD_OPT_LIST);
			snprintf(name, sizeof(name), "ws%04u", i % 5000 + 1);
			assert_true(answers_next(&answers, &x));
			assert_int_equal(x.type, NBD_REP_SERVER);
			assert_memory_equal(x.data + 4, name, 6);
		}
		expect_ack(NBD_OPT_LIST);
		expect_goes_on();
	}
	lists = course.owner.lists;
	assert_true(lists > 2);

	/* The place where the next part begins is gone. */
	o.vanish = 3;
	talk_flags(&talk, FIXED);
	talk_option(&talk, NBD_OPT_LIST, NULL, 0);
	converse_with(&o);
	do
		assert_true(answers_next(&answers, &x));
	while (x.type == NBD_REP_SERVER);
	assert_int_equal(x.type, NBD_REP_ERR_POLICY);
	expect_goes_on();
}

static void test_list_refusals(void **state)
{
	static struct owner o;

	talk_flags(&talk, FIXED);
	talk_option(&talk, NBD_OPT_LIST, "x", 1);
	talk_option(&talk, NBD_OPT_LIST, junk, 9999);
	converse();
	expect_error(NBD_OPT_LIST, NBD_REP_ERR_INVALID, "no data");
	expect_error(NBD_OPT_LIST, NBD_REP_ERR_INVALID, "no data");
	expect_goes_on();

	owner_init(&o);
	o.list_fails = true;
	talk_flags(&talk, FIXED);
	talk_option(&talk, NBD_OPT_LIST, NULL, 0);
	converse_with(&o);
	expect_error(NBD_OPT_LIST, NBD_REP_ERR_POLICY, "nobody knows");
	expect_goes_on();

	owner_init(&o);
	talk_flags(&talk, FIXED);
	talk_option(&talk, NBD_OPT_LIST, NULL, 0);
	converse_with(&o);
	expect_ack(NBD_OPT_LIST); /* none is no error */
	expect_goes_on();
}

static void test_abort(void **state)
{
	for (size_t data = 0; data < 10000; data += 3333) {
		talk_flags(&talk, FIXED);
		talk_option(&talk, NBD_OPT_ABORT, junk, data);
		talk_option(&talk, NBD_OPT_LIST, NULL, 0);
		converse();
		expect_ack(NBD_OPT_ABORT);
		expect_end("");
		assert_int_equal(course.taken, 4 + 16 + data); /* nothing behind it is looked at */
		assert_string_equal(course.told, "");
	}
}

static void test_declined(void **state)
{
	static const uint32_t declined[] = { 0, 4, NBD_OPT_STARTTLS, NBD_OPT_STRUCTURED_REPLY, NBD_OPT_LIST_META_CONTEXT,
					     NBD_OPT_SET_META_CONTEXT, NBD_OPT_EXTENDED_HEADERS, 12, 0x7fffffff, 0xffffffff };
	static const size_t data[] = { 0, 1, 28, NEGOTIATE_DATA_MAX, NEGOTIATE_DATA_MAX + 1, NEGOTIATE_DATA_MAX + 2, NEGOTIATE_SKIP_MAX };

	for (size_t i = 0; i < sizeof(declined) / sizeof(declined[0]); i++) {
		for (size_t k = 0; k < sizeof(data) / sizeof(data[0]); k++) {
			talk_flags(&talk, FIXED);
			talk_option(&talk, declined[i], junk, data[k]);
			talk_go(&talk, NBD_OPT_GO, "ws1", NULL, 0);
			converse();
			expect_error(declined[i], NBD_REP_ERR_UNSUP, "this server");
			assert_int_equal(answers.left, 0);
			assert_int_equal(course.state, NEGOTIATE_BEGIN); /* the next option was understood */
			assert_string_equal(course.told, "");
		}
		talk_flags(&talk, FIXED);
		talk_option(&talk, declined[i], junk, NEGOTIATE_SKIP_MAX + 1);
		converse();
		expect_end("65537 bytes; the connection is closed");
	}
}

static void test_too_big(void **state)
{
	static const uint32_t options[] = { NBD_OPT_INFO, NBD_OPT_GO };

	for (size_t i = 0; i < 2; i++) {
		talk_flags(&talk, FIXED);
		talk_option(&talk, options[i], junk, NEGOTIATE_DATA_MAX + 1);
		talk_option(&talk, options[i], junk, NEGOTIATE_SKIP_MAX);
		talk_go(&talk, NBD_OPT_INFO, "ws1", NULL, 0);
		talk_header(&talk, options[i], NEGOTIATE_SKIP_MAX + 1);
		converse();
		expect_error(options[i], NBD_REP_ERR_TOO_BIG, "4608 bytes");
		expect_error(options[i], NBD_REP_ERR_TOO_BIG, "4608 bytes");
		expect_export(NBD_OPT_INFO, FLAGS);
		expect_ack(NBD_OPT_INFO);
		expect_end("65537 bytes; the connection is closed");
	}
	/* As many information requests as fit. */
	talk_flags(&talk, FIXED);
	talk_header(&talk, NBD_OPT_INFO, NEGOTIATE_DATA_MAX);
	talk_u32(&talk, 4);
	talk_bytes(&talk, "ws12", 4);
	talk_u16(&talk, (NEGOTIATE_DATA_MAX - 10) / 2);
	for (unsigned k = 0; k < (NEGOTIATE_DATA_MAX - 10) / 2; k++)
		talk_u16(&talk, (uint16_t)(k + 3));
	converse();
	expect_export(NBD_OPT_INFO, FLAGS);
	expect_info(NBD_OPT_INFO, NBD_INFO_BLOCK_SIZE, 14);
	expect_ack(NBD_OPT_INFO);
	expect_goes_on();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_go),
		cmocka_unit_test(test_infos),
		cmocka_unit_test(test_each_info),
		cmocka_unit_test(test_no_description_and_read_only),
		cmocka_unit_test(test_odd_descriptions),
		cmocka_unit_test(test_export_name),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_long_list),
		cmocka_unit_test(test_list_refusals),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_declined),
		cmocka_unit_test(test_too_big),
	};

	return cmocka_run_group_tests(tests, fill_junk, NULL);
}
