/* SPDX-License-Identifier: BSD-3-Clause */
/* The text of a client's address: one client has one name, however it came. */
#include "config.h"

#include "worker/peer.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void check(int family, const char *address, const char *expected)
{
	struct sockaddr_storage a = { .ss_family = (sa_family_t)family };
	struct sockaddr_in *in = (struct sockaddr_in *)&a;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&a;
	char text[PEER_TEXT];

	if (address)
		assert_int_equal(inet_pton(family, address, family == AF_INET ? (void *)&in->sin_addr : (void *)&in6->sin6_addr), 1);
	in->sin_port = htons(65535); /* where IPv6 has it too */
	memset(text, 'x', sizeof(text));
	peer_address(&a, text);
	assert_string_equal(text, expected);
}

static void test_texts(void **state)
{
	check(AF_INET, "192.0.2.7", "192.0.2.7:65535");
	check(AF_INET6, "::ffff:192.0.2.7", "192.0.2.7:65535");
	check(AF_INET6, "2001:db8::7", "[2001:db8::7]:65535");
	check(AF_INET6, "1111:2222:3333:4444:5555:6666:7777:8888", "[1111:2222:3333:4444:5555:6666:7777:8888]:65535");
	check(AF_UNIX, NULL, "unix");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_texts),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
