/* SPDX-License-Identifier: BSD-3-Clause */
/* A report tells its worst verdict, and however full it is, a refusal is not dropped. */
#include "config.h"

#include "tests/store/support.h"

#include "store/report.h"

#include <string.h>

static void worst_and_first(void **state)
{
	struct report r = { .count = 0 };

	(void)state;
	assert_int_equal(report_worst(&r), VERDICT_OK);
	assert_null(report_first(&r, VERDICT_FAIL));
	report_add(&r, VERDICT_OK, "a", "fine");
	report_add(&r, VERDICT_WARN, "b", "hm %d", 7);
	report_add(&r, VERDICT_SKIP, "c", "not known");
	assert_int_equal(report_worst(&r), VERDICT_WARN);
	report_add(&r, VERDICT_FAIL, "d", "first");
	report_add(&r, VERDICT_FAIL, "e", "second");
	assert_int_equal(report_worst(&r), VERDICT_FAIL);
	assert_string_equal(report_first(&r, VERDICT_FAIL)->text, "first");
	assert_string_equal(report_first(&r, VERDICT_WARN)->text, "hm 7");
}

static void full_report_keeps_a_refusal(void **state)
{
	struct report r = { .count = 0 };

	(void)state;
	for (int i = 0; i < REPORT_MAX + 10; i++)
		report_add(&r, VERDICT_OK, "ok", "fine");
	assert_int_equal(r.count, REPORT_MAX);
	report_add(&r, VERDICT_WARN, "w", "dropped");
	assert_int_equal(report_worst(&r), VERDICT_OK);
	report_add(&r, VERDICT_FAIL, "f", "kept");
	assert_int_equal(r.count, REPORT_MAX);
	assert_string_equal(report_first(&r, VERDICT_FAIL)->item, "f");
}

static void long_text_is_cut_not_overrun(void **state)
{
	struct report r = { .count = 0 };
	char text[2000];

	(void)state;
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = i + 1 < sizeof(text) ? 'x' : '\0';
	report_add(&r, VERDICT_FAIL, "long", "%s", text);
	assert_int_equal(strlen(r.findings[0].text), sizeof(r.findings[0].text) - 1);
	report_add(NULL, VERDICT_FAIL, "nothing", "a report nobody wants is no crash");
}

static void names(void **state)
{
	(void)state;
	assert_string_equal(verdict_name(VERDICT_OK), "ok");
	assert_string_equal(verdict_name(VERDICT_SKIP), "skip");
	assert_string_equal(verdict_name(VERDICT_WARN), "warn");
	assert_string_equal(verdict_name(VERDICT_FAIL), "fail");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(worst_and_first),
		cmocka_unit_test(full_report_keeps_a_refusal),
		cmocka_unit_test(long_text_is_cut_not_overrun),
		cmocka_unit_test(names),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
