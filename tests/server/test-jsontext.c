/* SPDX-License-Identifier: BSD-3-Clause */
/* UTF-8, and texts in JSON that are none. */
#include "config.h"

#include "common/utf8.h"
#include "server/jsontext.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct {
	const char *text;
	size_t span;
	const char *json;
} cases[] = {
	{ "", 0, "" },
	{ "swap", 4, "swap" },
	{ "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80", 11, "\xc3\xa4 \xe2\x82\xac \xf0\x9f\x98\x80" },
	{ "cut\xc3", 3, "cut\xef\xbf\xbd" },
	{ "cut\xe2\x82", 3, "cut\xef\xbf\xbd\xef\xbf\xbd" },
	{ "\xe4ltere", 0, "\xef\xbf\xbdltere" },
	{ "a\x80z", 1, "a\xef\xbf\xbdz" },
	{ "\xc0\x80", 0, "\xef\xbf\xbd\xef\xbf\xbd" },				       /* overlong */
	{ "\xed\xa0\x80", 0, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" },		       /* a surrogate */
	{ "\xf4\x90\x80\x80", 0, "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd" }, /* U+110000 */
	{ "\xff", 0, "\xef\xbf\xbd" },
};

static void test_texts(void **state)
{
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		json_t *s = json_text(cases[i].text);

		assert_int_equal(utf8_span(cases[i].text), cases[i].span);
		assert_string_equal(json_string_value(s), cases[i].json);
		json_decref(s);
	}
}

/* What jansson takes as UTF-8 is what is taken here, for all of up to three bytes. */
static void test_as_jansson(void **state)
{
	for (unsigned i = 1; i < 1u << 24; i += i < 0x10000 ? 1 : 0x101) {
		char text[4] = { (char)i, (char)(i >> 8), (char)(i >> 16), 0 };
		json_t *s = json_string(text);

		if ((s != NULL) != (text[utf8_span(text)] == '\0'))
			fail_msg("%02x %02x %02x", text[0] & 0xff, text[1] & 0xff, text[2] & 0xff);
		json_decref(s);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(test_texts), cmocka_unit_test(test_as_jansson) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
