/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/uri.h"
#include "tests/client/unit.h"

static void good(const char *text, const char *host, const char *port, const char *export, const char *normal)
{
	struct nbd_uri u;
	struct errbuf e = { 0 };

	if (uri_parse(text, URI_TCP_ONLY, &u, &e) < 0)
		fail_msg("%s: %s", text, e.text);
	assert_string_equal(u.host, host);
	assert_string_equal(u.port, port);
	assert_string_equal(u.export, export);
	assert_string_equal(u.text, normal);
}

static void bad(const char *text, const char *reason)
{
	struct nbd_uri u;
	struct errbuf e = { 0 };

	assert_int_equal(uri_parse(text, URI_TCP_ONLY, &u, &e), -1);
	if (!strstr(e.text, reason))
		fail_msg("%s: \"%s\" does not say \"%s\"", text, e.text, reason);
}

static void test_good(void **state)
{
	good("nbd://swap1/ws1", "swap1", "10809", "ws1", "nbd://swap1:10809/ws1");
	good("NBD://swap1:9/ws1", "swap1", "9", "ws1", "nbd://swap1:9/ws1");
	good("nbd://10.0.0.1:65535/a-b.c", "10.0.0.1", "65535", "a-b.c", "nbd://10.0.0.1:65535/a-b.c");
	good("nbd://[fe80::1]/x", "fe80::1", "10809", "x", "nbd://[fe80::1]:10809/x");
	good("nbd://[::1]:00080/x", "::1", "80", "x", "nbd://[::1]:80/x");
	good("nbd://h/a%20b", "h", "10809", "a b", "nbd://h:10809/a%20b");
	good("nbd://h/%c3%a4", "h", "10809", "\xc3\xa4", "nbd://h:10809/%C3%A4");
}

static void test_normal_form_is_stable(void **state)
{
	struct nbd_uri a, b;

	static const char *const texts[] = { "nbd://h/a%20%25b", "nbd://[fe80::1%25eth0]/x", "nbd+unix:///x?socket=/run/a%20%25b" };

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		assert_int_equal(uri_parse(texts[i], URI_TCP_OR_UNIX, &a, NULL), 0);
		assert_int_equal(uri_parse(a.text, URI_TCP_OR_UNIX, &b, NULL), 0);
		assert_string_equal(a.text, b.text);
		assert_string_equal(a.export, b.export);
		assert_string_equal(a.host, b.host);
		assert_string_equal(a.socket, b.socket);
	}
}

static void test_bad(void **state)
{
	bad("", "not an address");
	bad("swap1/ws1", "not an address");
	bad("http://swap1/ws1", "not a scheme of NBD");
	bad("nbds://swap1/ws1", "TLS");
	bad("nbd+unix:///ws1?socket=/run/s", "cannot swap to itself");
	bad("nbd://", "the server is missing");
	bad("nbd:///x", "the server is missing");
	bad("nbd://h", "export name is empty");
	bad("nbd://h/", "export name is empty");
	bad("nbd://h:0/x", "from 1 to 65535");
	bad("nbd://h:65536/x", "from 1 to 65535");
	bad("nbd://h:/x", "from 1 to 65535");
	bad("nbd://h:12a/x", "from 1 to 65535");
	bad("nbd://h:1000000000000000000000/x", "from 1 to 65535");
	bad("nbd://me@h/x", "user name");
	bad("nbd://fe80::1/x", "in brackets");
	bad("nbd://[fe80::1/x", "not closed");
	bad("nbd://[fe80::1]x/x", "only :PORT");
	bad("nbd://-h/x", "no host name has");
	bad("nbd://h;reboot/x", "no host name has");
	bad("nbd://h/x?client=me", "nothing may follow");
	bad("nbd://h/x#y", "nothing may follow");
	bad("nbd://h/.x", "hidden");
	bad("nbd://h/a/b", "leave the directory");
	bad("nbd://h/a%2fb", "leave the directory");
	bad("nbd://h/a%3fclient=b", "begins the parameters");
	bad("nbd://h/a%00b", "badly encoded");
	bad("nbd://h/a%4", "badly encoded");
	bad("nbd://h/a%0ab", "control character");
}

static void test_long_names(void **state)
{
	char text[1200] = "nbd://h/", normal[300];

	memset(text + 8, 'x', 255);
	text[8 + 255] = '\0';
	snprintf(normal, sizeof(normal), "nbd://h:10809/%.255s", text + 8);
	good(text, "h", "10809", text + 8, normal);
	memset(text + 8, 'x', 256);
	text[8 + 256] = '\0';
	bad(text, "too long");
	memset(text + 8, 'x', 1100);
	text[8 + 1100] = '\0';
	bad(text, "at most 700");
	/* Its normal form would be longer than what can be given. */
	memset(text + 8, '\xff', 255);
	text[8 + 255] = '\0';
	bad(text, "at most 700");
}

static void test_unix(void **state)
{
	struct nbd_uri u;

	assert_int_equal(uri_parse("nbd+unix:///ws1?socket=/run/a%20b", URI_TCP_OR_UNIX, &u, NULL), 0);
	assert_string_equal(u.socket, "/run/a b");
	assert_string_equal(u.export, "ws1");
	assert_int_equal(uri_parse("nbd+unix:///ws1", URI_TCP_OR_UNIX, &u, NULL), -1);
	assert_int_equal(uri_parse("nbd+unix:///?socket=/run/s", URI_TCP_OR_UNIX, &u, NULL), -1);
	assert_int_equal(uri_parse("nbd+unix:///x?socket=", URI_TCP_OR_UNIX, &u, NULL), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good), cmocka_unit_test(test_normal_form_is_stable),
		cmocka_unit_test(test_bad),  cmocka_unit_test(test_long_names),
		cmocka_unit_test(test_unix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
