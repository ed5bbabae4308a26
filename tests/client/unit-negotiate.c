/* SPDX-License-Identifier: BSD-3-Clause */
/* The client's side of a negotiation that succeeds: what it sends, what it keeps of what the server says,
 * where it stops.
 */
#include "config.h"

#include "tests/client/serverwords.h"
#include "tests/client/unit.h"

#include "server/engine/negotiate.h"

#include <errno.h>

#define FIXED (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)
#define FLAGS (NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_TRIM)

static const size_t pieces[] = { 1, 2, 3, 7, 19, 64, 100000 };
#define PIECES (sizeof(pieces) / sizeof(pieces[0]))

static struct talk said;
static struct nego n;
static struct fed fed;

/* All that there is, in one order. */
static void say_everything(void)
{
	say_greeting(&said, FIXED);
	say_export(&said, 12345 * UINT64_C(4096), FLAGS);
	say_text(&said, NBD_INFO_NAME, "ws1");
	say_text(&said, NBD_INFO_DESCRIPTION, "swap of the first one gen=18446744073709551615&lease=7");
	say_block_size(&said, 4096, 8192, 256 << 10);
	say_ack(&said);
}

static void test_everything_is_kept(void **state)
{
	for (size_t i = 0; i < PIECES; i++) {
		const struct nego_export *x;
		size_t end, bytes;

		say_everything();
		end = said.count;
		talk_bytes(&said, "the first reply of the transmission phase", 42);
		assert_int_equal(feed(&n, "ws1?client=a", &said, pieces[i], &fed), NEGO_BEGIN);
		assert_int_equal(fed.taken, end); /* not one byte more */
		nego_room(&n, &bytes);
		assert_int_equal(bytes, 0);
		x = nego_export(&n);
		assert_int_equal(x->size, 12345 * UINT64_C(4096));
		assert_int_equal(x->flags, FLAGS);
		assert_int_equal(x->block_min, 4096);
		assert_int_equal(x->block_preferred, 8192);
		assert_int_equal(x->block_max, 256 << 10);
		assert_string_equal(x->name, "ws1");
		assert_string_equal(x->description, "swap of the first one gen=18446744073709551615&lease=7");
		assert_true(x->generation_told);
		assert_int_equal(x->generation.activation, UINT64_MAX);
		assert_int_equal(x->generation.lease, 7);
	}
}

/* Nothing is wanted while there is output, and at no time more than the part at hand. */
static void test_request_as_the_document_has_it(void **state)
{
	static const uint16_t infos[] = { NBD_INFO_EXPORT, NBD_INFO_NAME, NBD_INFO_DESCRIPTION,
					  NBD_INFO_BLOCK_SIZE };
	static const uint16_t offers[] = { FIXED, NBD_FLAG_FIXED_NEWSTYLE, FIXED | 0x80 };
	static struct talk expected;

	for (size_t i = 0; i < PIECES; i++)
		for (size_t k = 0; k < 3; k++) {
			say_greeting(&said, offers[k]);
			assert_int_equal(
				feed(&n, "ws1?gen=5&lease=2&client=a&slot=0/1", &said, pieces[i], &fed),
				NEGO_GOES_ON);
			talk_flags(&expected, offers[k] & FIXED);
			talk_go(&expected, NBD_OPT_GO, "ws1?gen=5&lease=2&client=a&slot=0/1", infos, 4);
			assert_int_equal(fed.out_bytes, expected.count);
			assert_memory_equal(fed.out, expected.bytes, expected.count);
		}
}

static void test_longest_name(void **state)
{
	char name[NEGO_NAME_MAX + 2];
	struct errbuf e;

	memset(name, 'a', sizeof(name));
	name[NEGO_NAME_MAX + 1] = '\0';
	assert_int_equal(nego_start(&n, name, &e), -1);
	assert_non_null(strstr(e.text, "more than 1023 bytes"));
	name[NEGO_NAME_MAX] = '\0';
	say_everything();
	assert_int_equal(feed(&n, name, &said, 100000, &fed), NEGO_BEGIN);
	assert_int_equal(fed.out_bytes, 4 + 16 + 4 + NEGO_NAME_MAX + 2 + 4 * 2);
	assert_int_equal(nego_start(&n, "", &e), -1);
	assert_int_equal(nego_start(&n, "ws\xff", &e), -1);
}

static void test_unknown_information_is_passed_over(void **state)
{
	static const unsigned sizes[] = { 2,
					  3,
					  300,
					  sizeof(((struct nego *)0)->in) - 1,
					  sizeof(((struct nego *)0)->in),
					  sizeof(((struct nego *)0)->in) + 1,
					  4098,
					  NEGO_DATA_MAX };
	static unsigned char data[NEGO_DATA_MAX];

	for (size_t i = 0; i < PIECES; i++)
		for (size_t k = 0; k < sizeof(sizes) / sizeof(sizes[0]); k++) {
			memset(data, 0x55, sizeof(data)); /* information 0x5555 */
			say_greeting(&said, FIXED);
			say_reply(&said, NBD_REP_INFO, data, sizes[k]);
			say_export(&said, 4096, FLAGS);
			data[0] = 0; /* and 4 */
			data[1] = 4;
			say_reply(&said, NBD_REP_INFO, data, sizes[k]);
			say_ack(&said);
			assert_int_equal(feed(&n, "ws1", &said, pieces[i], &fed), NEGO_BEGIN);
			assert_int_equal(fed.taken, said.count);
			assert_int_equal(nego_export(&n)->size, 4096);
			assert_int_equal(nego_export(&n)->block_min, 0);
			assert_string_equal(nego_export(&n)->name, "");
			assert_false(nego_export(&n)->generation_told);
		}
}

static void test_as_many_replies_as_allowed(void **state)
{
	say_greeting(&said, FIXED);
	say_export(&said, 4096, FLAGS);
	for (unsigned i = 1; i < NEGO_REPLIES_MAX; i++)
		say_reply(&said, NBD_REP_INFO, "\x7f\x7f", 2);
	say_ack(&said);
	assert_int_equal(feed(&n, "ws1", &said, 64, &fed), NEGO_BEGIN);
}

/* Texts are cut and made printable; a generation is believed only of a whole one. */
static void test_texts(void **state)
{
	static char longest[NBD_STRING_MAX + 1];

	say_greeting(&said, FIXED);
	say_export(&said, 4096, FLAGS);
	say_text(&said, NBD_INFO_DESCRIPTION,
		 "\x1b[31mred\xc2\x9b"
		 "1m\xff, \xc3\xa4\n gen=1&lease=2 \r\n");
	say_text(&said, NBD_INFO_NAME, "\n");
	say_ack(&said);
	for (size_t i = 0; i < PIECES; i++) {
		assert_int_equal(feed(&n, "ws1", &said, pieces[i], &fed), NEGO_BEGIN);
		assert_string_equal(nego_export(&n)->description, "?[31mred?1m?, \xc3\xa4? gen=1&lease=2");
		assert_string_equal(nego_export(&n)->name, "");
		assert_true(nego_export(&n)->generation_told);
	}
	/* So cut that the beginning of the number would be left. */
	memset(longest, 'x', sizeof(longest) - 1);
	memcpy(longest + NEGO_TEXT_MAX - 15, " gen=1&lease=234", 16);
	say_greeting(&said, FIXED);
	say_export(&said, 4096, FLAGS);
	say_text(&said, NBD_INFO_DESCRIPTION, longest);
	say_ack(&said);
	for (size_t i = 0; i < PIECES; i++) {
		assert_int_equal(feed(&n, "ws1", &said, pieces[i], &fed), NEGO_BEGIN);
		assert_int_equal(strlen(nego_export(&n)->description), NEGO_TEXT_MAX);
		assert_memory_equal(nego_export(&n)->description + NEGO_TEXT_MAX - 15, " gen=1&lease=23", 15);
		assert_false(nego_export(&n)->generation_told);
	}
	/* A character that is cut in two is left out. */
	memset(longest, 'x', sizeof(longest) - 1);
	memcpy(longest + NEGO_TEXT_MAX - 1, "\xe2\x82\xac", 3);
	say_greeting(&said, FIXED);
	say_export(&said, 4096, FLAGS);
	say_text(&said, NBD_INFO_NAME, longest);
	say_ack(&said);
	assert_int_equal(feed(&n, "ws1", &said, 64, &fed), NEGO_BEGIN);
	assert_int_equal(strlen(nego_export(&n)->name), NEGO_TEXT_MAX - 1);
}

static void test_block_sizes_that_make_no_sense(void **state)
{
	static const uint32_t sizes[][3] = {
		{ 0, 4096, 65536 },   { 3, 4096, 65536 },  { 4096, 5000, 65536 },
		{ 4096, 512, 65536 }, { 4096, 4096, 512 },
	};

	for (size_t i = 0; i < 5; i++) {
		say_greeting(&said, FIXED);
		say_export(&said, 4096, FLAGS);
		say_block_size(&said, sizes[i][0], sizes[i][1], sizes[i][2]);
		say_ack(&said);
		assert_int_equal(feed(&n, "ws1", &said, 64, &fed), NEGO_BEGIN);
		assert_int_equal(nego_export(&n)->block_min, 0);
		assert_int_equal(nego_export(&n)->block_max, 0);
	}
	say_greeting(&said, FIXED);
	say_export(&said, 4096, FLAGS);
	say_block_size(&said, 1, 4096, UINT32_MAX);
	say_ack(&said);
	assert_int_equal(feed(&n, "ws1", &said, 64, &fed), NEGO_BEGIN);
	assert_int_equal(nego_export(&n)->block_min, 1);
	assert_int_equal(nego_export(&n)->block_max, UINT32_MAX);
}

/* A used structure is as good as a new one. */
static void test_again(void **state)
{
	say_everything();
	feed(&n, "ws1", &said, 64, &fed);
	say_greeting(&said, FIXED);
	say_export(&said, 4096, FLAGS);
	say_ack(&said);
	assert_int_equal(feed(&n, "ws1", &said, 64, &fed), NEGO_BEGIN);
	assert_false(nego_export(&n)->generation_told);
	assert_string_equal(nego_export(&n)->description, "");
	assert_int_equal(nego_export(&n)->block_min, 0);
}

/* Carries at most piece bytes from one side to the other; false when there were none. */
static bool carry(struct negotiation *server, size_t piece)
{
	size_t bytes, room;
	const void *out = nego_output(&n, &bytes);
	void *to = negotiate_room(server, &room);

	bytes = bytes < room ? bytes : room;
	bytes = bytes < piece ? bytes : piece;
	if (bytes) {
		memcpy(to, out, bytes);
		nego_sent(&n, bytes);
		negotiate_received(server, bytes);
		return true;
	}
	out = negotiate_output(server, &bytes);
	to = nego_room(&n, &room);
	bytes = bytes < room ? bytes : room;
	bytes = bytes < piece ? bytes : piece;
	if (bytes) {
		memcpy(to, out, bytes);
		negotiate_sent(server, bytes);
		nego_received(&n, bytes);
	}
	return bytes > 0;
}

/* The engine's own machine at the other end. */
static void test_with_the_engine(void **state)
{
	static const struct peer who = { .address = "192.0.2.1:1", .sock = -1 };
	static struct negotiation server;
	static struct owner owner;

	for (size_t i = 0; i < PIECES; i++) {
		const unsigned char *answer;
		size_t bytes, at = 0, room;
		struct errbuf e;

		owner_init(&owner);
		owner.listed = 1;
		owner.description = "told in a list";
		negotiate_start(&server, &owner.ops, &who, 5);
		assert_int_equal(nego_start(&n, "ws0000?client=a&slot=0/1", &e), 0);
		while (carry(&server, pieces[i]))
			;
		assert_int_equal(negotiate_state(&server), NEGOTIATE_BEGIN);
		assert_string_equal(owner.name, "ws0000?client=a&slot=0/1");
		answer = negotiate_answer(&server, &bytes);
		while (at < bytes && nego_state(&n) == NEGO_GOES_ON) {
			void *to = nego_room(&n, &room);

			room = room < pieces[i] ? room : pieces[i];
			room = room < bytes - at ? room : bytes - at;
			memcpy(to, answer + at, room);
			nego_received(&n, room);
			at += room;
		}
		assert_int_equal(nego_state(&n), NEGO_BEGIN);
		assert_int_equal(at, bytes);
		assert_int_equal(nego_export(&n)->size, OWNER_SIZE);
		assert_string_equal(nego_export(&n)->name, "ws0000");
		assert_int_equal(nego_export(&n)->block_max, NEGOTIATE_PAYLOAD_MAX);

		negotiate_start(&server, &owner.ops, &who, 5);
		assert_int_equal(nego_start(&n, "other", &e), 0);
		while (carry(&server, pieces[i]))
			;
		assert_int_equal(nego_state(&n), NEGO_FAILED);
		assert_int_equal(nego_error(&n)->code, ENOENT);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_everything_is_kept),
		cmocka_unit_test(test_request_as_the_document_has_it),
		cmocka_unit_test(test_longest_name),
		cmocka_unit_test(test_unknown_information_is_passed_over),
		cmocka_unit_test(test_as_many_replies_as_allowed),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_block_sizes_that_make_no_sense),
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_with_the_engine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
