/* SPDX-License-Identifier: BSD-3-Clause */
/* Buffers that a dead worker's requests had: nobody gets them until they are claimed or let go of, in the common part and in the reserves. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/engine/buffers.h"

#include <sys/mman.h>
#include <unistd.h>

#define COMMON 256u

static struct buffers *b;
static struct buffers_share *a, *other;
static struct buffers_head *head;
static int fd;

static int make(void **state)
{
	struct errbuf e;

	(void)state;
	fd = memfd_create("pool", MFD_CLOEXEC);
	assert_int_equal(ftruncate(fd, (off_t)buffers_bytes(COMMON, 2)), 0);
	head = mmap(NULL, sizeof(*head), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(head != MAP_FAILED);
	b = buffers_create(fd, COMMON, true, &e);
	assert_non_null(b);
	a = buffers_join(b, 0, &e);
	other = buffers_join(b, 1, &e);
	assert_non_null(a);
	assert_non_null(other);
	return 0;
}

static int unmake(void **state)
{
	(void)state;
	buffers_leave(a);
	buffers_leave(other);
	buffers_free(b);
	munmap(head, sizeof(*head));
	close(fd);
	return 0;
}

/* All that the share can have, one page at a time: marks them in seen, and gives them back. */
static unsigned take_all(struct buffers_share *s, bool seen[COMMON + 2 * BUFFERS_RESERVE_PAGES])
{
	uint32_t page[COMMON + 2 * BUFFERS_RESERVE_PAGES];
	unsigned n = 0;

	for (unsigned i = 0; i < COMMON + 2 * BUFFERS_RESERVE_PAGES; i++)
		seen[i] = false;
	while (buffers_take(s, true, 1, &page[n])) {
		assert_false(seen[page[n]]);
		seen[page[n++]] = true;
	}
	for (unsigned i = 0; i < n; i++)
		buffers_give(s, page[i], 1);
	return n;
}

static void what_is_held_is_not_given_out(void **state)
{
	static const uint32_t ranges[][2] = { { 0, 64 }, { 70, 3 }, { COMMON - 1, 1 }, { COMMON, 64 }, { COMMON + 64, 5 } };
	bool seen[COMMON + 2 * BUFFERS_RESERVE_PAGES];

	(void)state;
	for (size_t i = 0; i < sizeof(ranges) / sizeof(ranges[0]); i++) {
		uint32_t first = ranges[i][0], pages = ranges[i][1];

		buffers_hold(head, first, pages, true);
		take_all(a, seen);
		for (uint32_t p = first; p < first + pages; p++)
			assert_false(seen[p]);
		take_all(other, seen);
		for (uint32_t p = first; p < first + pages; p++)
			assert_false(seen[p]);
		/* Whose they were claims them, and gives them back as any. */
		assert_true(buffers_claim(a, first, pages));
		assert_false(buffers_claim(a, first, pages));
		take_all(a, seen);
		for (uint32_t p = first; p < first + pages; p++)
			assert_false(seen[p]);
		buffers_give(a, first, pages);
		assert_int_equal(head->held[first / 64], 0);
		/* Or goes without them after all, or nobody claims them. */
		buffers_hold(head, first, pages, true);
		assert_true(buffers_claim(a, first, pages));
		buffers_unclaim(a, first, pages);
		take_all(a, seen);
		for (uint32_t p = first; p < first + pages; p++)
			assert_false(seen[p]);
		buffers_unhold(a, first, pages);
		assert_int_equal(take_all(a, seen), BUFFERS_RESERVE_PAGES + COMMON / 2);
	}
}

static void large_requests_find_room_beside_what_is_held(void **state)
{
	uint32_t first;

	(void)state;
	for (uint32_t block = 0; block < COMMON / 64; block++)
		buffers_hold(head, block * 64 + 63, 1, true);
	buffers_hold(head, COMMON + 63, 1, true);
	buffers_hold(head, COMMON + 127, 1, true);
	assert_false(buffers_take(a, true, 64, &first));
	assert_true(buffers_take(a, true, 63, &first));
	buffers_give(a, first, 63);
	buffers_hold(head, 128 + 63, 1, false);
	assert_true(buffers_take(a, true, 64, &first));
	assert_int_equal(first, 128);
	buffers_give(a, first, 64);
}

static void what_cannot_be_is_left_alone(void **state)
{
	bool seen[COMMON + 2 * BUFFERS_RESERVE_PAGES];

	(void)state;
	buffers_hold(head, 0, 0, true);
	buffers_hold(head, 0, 65, true);
	buffers_hold(head, 60, 5, true);
	buffers_hold(head, UINT32_MAX, 1, true);
	buffers_hold(head, BUFFERS_BLOCKS_MAX * 64, 1, true);
	buffers_unhold(a, UINT32_MAX - 1, 1);
	buffers_unhold(a, 0, 0);
	assert_int_equal(take_all(a, seen), BUFFERS_RESERVE_PAGES + COMMON / 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_held_is_not_given_out, make, unmake),
		cmocka_unit_test_setup_teardown(large_requests_find_room_beside_what_is_held, make, unmake),
		cmocka_unit_test_setup_teardown(what_cannot_be_is_left_alone, make, unmake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
