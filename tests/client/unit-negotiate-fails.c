/* SPDX-License-Identifier: BSD-3-Clause */
/* The client's side of a negotiation that fails: refusals, servers of other kinds, and servers that break the
 * rules.  Everything at once and byte by byte come to the same end.
 */
#include "config.h"

#include "tests/client/serverwords.h"
#include "tests/client/unit.h"

#include <errno.h>

#define FIXED (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)
#define FLAGS (NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH)

static struct talk said;
static struct nego n;
static struct fed fed;

/* What was said must fail with this code and these words, having taken so many bytes (0: all). */
static void must_fail(int code, const char *words, size_t taken)
{
	static const size_t pieces[] = { 1, 5, 100000 };

	for (size_t i = 0; i < 3; i++) {
		size_t bytes;

		assert_int_equal(feed(&n, "ws1", &said, pieces[i], &fed), NEGO_FAILED);
		if (nego_error(&n)->code != code || !strstr(nego_error(&n)->text, words))
			fail_msg("code %d: %s", nego_error(&n)->code, nego_error(&n)->text);
		assert_int_equal(fed.taken, taken ? taken : said.count);
		nego_room(&n, &bytes);
		assert_int_equal(bytes, 0);
		nego_output(&n, &bytes);
		assert_int_equal(bytes, 0);
	}
}

static void test_refusals(void **state)
{
	static const struct {
		uint32_t reply;
		int code;
		const char *words;
	} refusals[] = {
		{ NBD_REP_ERR_UNSUP, ENOTSUP, "NBD_OPT_GO" },
		{ NBD_REP_ERR_POLICY, EACCES, "does not allow" },
		{ NBD_REP_ERR_INVALID, ENOTSUP, "invalid" },
		{ NBD_REP_ERR_PLATFORM, ENOTSUP, "platform" },
		{ NBD_REP_ERR_TLS_REQD, ENOTSUP, "TLS only" },
		{ NBD_REP_ERR_UNKNOWN, ENOENT, "does not give out" },
		{ NBD_REP_ERR_SHUTDOWN, ESHUTDOWN, "shutting down" },
		{ NBD_REP_ERR_BLOCK_SIZE_REQD, ENOTSUP, "block sizes" },
		{ NBD_REP_ERR_TOO_BIG, ENOTSUP, "too large" },
		{ NBD_REP_ERR_EXT_HEADER_REQD, ENOTSUP, "extended headers" },
		{ NBD_REP_FLAG_ERROR | 99, ENOTSUP, "0x80000063" },
	};

	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++) {
		say_greeting(&said, FIXED);
		say_reply(&said, refusals[i].reply, NULL, 0);
		must_fail(refusals[i].code, refusals[i].words, 0);
		say_greeting(&said, FIXED);
		say_export(&said, 4096, FLAGS);
		say_reply(&said, refusals[i].reply, "in use by\x1b[2J machine-B\n", 24);
		must_fail(refusals[i].code, "(it says: in use by?[2J machine-B)", 0);
	}
}

static void test_long_text_of_a_refusal(void **state)
{
	static char text[NEGO_DATA_MAX];
	size_t header;

	memset(text, 'n', sizeof(text));
	say_greeting(&said, FIXED);
	header = said.count + sizeof(struct nbd_option_reply);
	say_reply(&said, NBD_REP_ERR_UNKNOWN, text, sizeof(text));
	must_fail(ENOENT, "(it says: nnnn", header + sizeof(n.in)); /* the rest need not be waited for */
	assert_true(strlen(nego_error(&n)->text) > NEGO_TEXT_MAX);
	assert_true(strlen(nego_error(&n)->text) < NEGO_TEXT_MAX + 200);
}

static void test_other_services(void **state)
{
	said.count = 0;
	talk_bytes(&said, "SSH-2.0-OpenSSH\r\n", 17);
	must_fail(EPROTO, "does not speak NBD (it began with \"SSH-2.0-\")", 8);
	said.count = 0;
	talk_u64(&said, NBD_MAGIC);
	talk_u64(&said, UINT64_C(0x00420281861253));
	talk_bytes(&said, "size and so on, 136 bytes", 25);
	must_fail(EPROTONOSUPPORT, "oldest form", 16);
	said.count = 0;
	talk_u64(&said, NBD_MAGIC);
	talk_u64(&said, NBD_OPTION_MAGIC + 1);
	must_fail(EPROTO, "0x49484156454f5055", 0);
	say_greeting(&said, NBD_FLAG_NO_ZEROES);
	must_fail(EPROTONOSUPPORT, "newstyle before it was fixed", 0);
	assert_int_equal(fed.out_bytes, 0);
}

static void test_broken_replies(void **state)
{
	static unsigned char data[NEGO_DATA_MAX + 1];

	say_greeting(&said, FIXED);
	said.count += 20;
	memset(said.bytes + 18, 0, 20);
	must_fail(EPROTO, "no reply where one should begin", 0);

	say_greeting(&said, FIXED);
	talk_u64(&said, NBD_OPTION_REPLY_MAGIC);
	talk_u32(&said, NBD_OPT_INFO);
	talk_u32(&said, NBD_REP_ACK);
	talk_u32(&said, 0);
	must_fail(EPROTO, "an option that was not sent", 0);

	say_greeting(&said, FIXED);
	say_reply(&said, NBD_REP_INFO, data, sizeof(data));
	must_fail(EPROTO, "far too long", 18 + 20);
	say_greeting(&said, FIXED);
	say_reply(&said, NBD_REP_ERR_POLICY, data, sizeof(data));
	must_fail(EPROTO, "far too long", 18 + 20);
	say_greeting(&said, FIXED);
	talk_u64(&said, NBD_OPTION_REPLY_MAGIC);
	talk_u32(&said, NBD_OPT_GO);
	talk_u32(&said, NBD_REP_INFO);
	talk_u32(&said, UINT32_MAX);
	must_fail(EPROTO, "far too long", 0);

	say_greeting(&said, FIXED);
	say_reply(&said, NBD_REP_INFO, data, 1);
	must_fail(EPROTO, "does not say what it is about", 18 + 20);
	say_greeting(&said, FIXED);
	say_reply(&said, NBD_REP_INFO, NULL, 0);
	must_fail(EPROTO, "does not say what it is about", 0);
	say_greeting(&said, FIXED);
	say_reply(&said, NBD_REP_SERVER, data, 4);
	must_fail(EPROTO, "does not belong here", 18 + 20);
	say_greeting(&said, FIXED);
	say_reply(&said, 0, NULL, 0);
	must_fail(EPROTO, "does not belong here", 0);
}

static void test_broken_information(void **state)
{
	static const unsigned char export[13] = { 0, NBD_INFO_EXPORT },
				   sizes[15] = { 0, NBD_INFO_BLOCK_SIZE };

	for (size_t bytes = 2; bytes <= 13; bytes++) {
		if (bytes == 12)
			continue;
		say_greeting(&said, FIXED);
		say_reply(&said, NBD_REP_INFO, export, bytes);
		must_fail(EPROTO, "the export has a wrong length", 0);
	}
	for (size_t bytes = 2; bytes <= 15; bytes++) {
		if (bytes == 14)
			continue;
		say_greeting(&said, FIXED);
		say_reply(&said, NBD_REP_INFO, sizes, bytes);
		must_fail(EPROTO, "block sizes has a wrong length", 0);
	}
	say_greeting(&said, FIXED);
	say_export(&said, 4096, NBD_FLAG_SEND_FLUSH);
	must_fail(EPROTO, "not marked as such", 0);
	say_greeting(&said, FIXED);
	say_export(&said, 4096, FLAGS);
	say_export(&said, 8192, FLAGS);
	must_fail(EPROTO, "twice", 0);
}

static void test_broken_end(void **state)
{
	say_greeting(&said, FIXED);
	say_ack(&said);
	must_fail(EPROTO, "without telling the size", 0);
	say_greeting(&said, FIXED);
	say_export(&said, 4096, FLAGS);
	say_reply(&said, NBD_REP_ACK, "x", 1);
	must_fail(EPROTO, "with data behind it", said.count - 1);
	say_greeting(&said, FIXED);
	say_export(&said, 4096, FLAGS);
	for (unsigned i = 0; i < NEGO_REPLIES_MAX; i++)
		say_reply(&said, NBD_REP_INFO, "\x7f\x7f", 2);
	must_fail(EPROTO, "without an end", said.count - 2);
}

/* Cut anywhere, it goes on waiting and can say at what. */
static void test_truncated(void **state)
{
	size_t all;

	say_greeting(&said, FIXED);
	say_export(&said, 4096, FLAGS);
	say_text(&said, NBD_INFO_NAME, "ws1");
	say_ack(&said);
	all = said.count;
	for (said.count = 0; said.count < all; said.count++) {
		assert_int_equal(feed(&n, "ws1", &said, 100000, &fed), NEGO_GOES_ON);
		assert_int_equal(fed.taken, said.count);
		assert_string_equal(nego_at(&n),
				    said.count == 0   ? "it has not said anything"
				    : said.count < 18 ? "it broke off in its greeting"
				    : said.count == 18
					    ? "it did not answer the request for the export"
					    : "it broke off in its answer to the request for the export");
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refusals),	   cmocka_unit_test(test_long_text_of_a_refusal),
		cmocka_unit_test(test_other_services),	   cmocka_unit_test(test_broken_replies),
		cmocka_unit_test(test_broken_information), cmocka_unit_test(test_broken_end),
		cmocka_unit_test(test_truncated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
