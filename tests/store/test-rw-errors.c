/* SPDX-License-Identifier: BSD-3-Clause */
/* swap_rw driven by hand: bad requests, short I/O, passing and lasting errors, lost pages. */
#include "config.h"

#include "tests/store/byhand.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void invalid(void **state)
{
	static const struct {
		uint64_t offset, length;
	} bad[] = {
		{ 1, P },
		{ 0, P - 1 },
		{ 512, 512 },
		{ PAGES * P, P },
		{ (PAGES - 1) * P, 2 * P },
		{ 0, (PAGES + 1) * P },
		{ UINT64_MAX - P + 1, 2 * P },
		{ P, UINT64_MAX - P + 1 },
	};
	struct req *r = req_new(RW_READ, 0, 1, 0);

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		for (int op = RW_READ; op <= RW_DISCARD; op++) {
			rw_init(&r->rw, f.store, (enum rw_op)op, bad[i].offset, bad[i].length, r->data, on_wake);
			assert_int_equal(rw_begin(&r->rw), RW_DONE);
			assert_int_equal(r->rw.error, EINVAL);
		}
	/* Nothing at all, at the very end too, is fine. */
	rw_init(&r->rw, f.store, RW_WRITE, PAGES * P, 0, r->data, on_wake);
	assert_int_equal(rw_begin(&r->rw), RW_DONE);
	assert_int_equal(r->rw.error, 0);
	free(r);
}

static void discard_wins_over_a_failing_write(void **state)
{
	struct req *w = req_new(RW_WRITE, 0, 2, 0x01);

	(void)state;
	assert_int_equal(rw_begin(&w->rw), RW_IO);
	discard_now(0, 1);
	assert_int_equal(rw_complete(&w->rw, -EIO), RW_DONE);
	assert_int_equal(w->rw.error, EIO);
	expect_now(0, 1, 0);
	expect_eio(1, 1);
	free(w);
}

static void short_io_is_continued(void **state)
{
	static const size_t steps[] = { PAGE_BYTES, PAGE_BYTES + 512, 3 * PAGE_BYTES - 1, SIZE_MAX };

	(void)state;
	for (int op = RW_WRITE; op >= RW_READ; op--) {
		struct req *r = req_new((enum rw_op)op, 0, 8, 0x77);
		enum rw_next next = rw_begin(&r->rw);
		off_t expect = 0;

		for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++) {
			assert_int_equal(next, RW_IO);
			assert_int_equal(r->rw.position, expect);
			assert_int_equal(r->rw.iovcnt, 8 - expect / PAGE_BYTES);
			next = rw_complete(&r->rw, move(r, steps[i]));
			expect += (off_t)(steps[i] / PAGE_BYTES * PAGE_BYTES);
		}
		assert_int_equal(next, RW_DONE);
		assert_int_equal(r->rw.error, 0);
		expect_pages(r->data, 8, 0x77);
		free(r);
	}
	expect_now(0, 8, 0x77);
}

/* Less than a page moved is asked for again once, so that the backend can say why; then it is an error. */
static void no_progress_ends(void **state)
{
	struct req *w = req_new(RW_WRITE, 0, 2, 0x01);

	(void)state;
	assert_int_equal(rw_begin(&w->rw), RW_IO);
	assert_int_equal(rw_complete(&w->rw, 100), RW_IO);
	assert_int_equal(w->rw.position, 0);
	assert_int_equal(rw_complete(&w->rw, 100), RW_DONE);
	assert_int_equal(w->rw.error, EIO);
	assert_int_equal(w->rw.cause, ENOSPC);
	expect_eio(0, 1);
	rw_init(&w->rw, f.store, RW_WRITE, 0, 2 * P, w->data, on_wake);
	assert_int_equal(rw_begin(&w->rw), RW_IO);
	assert_int_equal(rw_complete(&w->rw, 100), RW_IO);
	assert_int_equal(rw_complete(&w->rw, -EDQUOT), RW_DONE);
	assert_int_equal(w->rw.error, EIO);
	assert_int_equal(w->rw.cause, EDQUOT);
	write_now(0, 2, 0x02);
	rw_init(&w->rw, f.store, RW_READ, 0, 2 * P, w->data, on_wake);
	assert_int_equal(rw_begin(&w->rw), RW_IO);
	assert_int_equal(rw_complete(&w->rw, 0), RW_DONE); /* the file has become shorter */
	assert_int_equal(w->rw.error, EIO);
	assert_int_equal(w->rw.cause, ENODATA);
	free(w);
}

static void passing_errors_are_later(void **state)
{
	struct req *w = req_new(RW_WRITE, 0, 2, 0x01);

	(void)state;
	assert_int_equal(rw_begin(&w->rw), RW_IO);
	assert_int_equal(rw_complete(&w->rw, -EAGAIN), RW_LATER);
	assert_true(w->rw.later_ms > 0);
	assert_int_equal(table_page(f.table, 1).in_flight, 1); /* still its own */
	assert_int_equal(rw_begin(&w->rw), RW_IO);
	assert_int_equal(rw_complete(&w->rw, P), RW_IO); /* the first page is through */
	assert_int_equal(rw_complete(&w->rw, -EINTR), RW_LATER);
	assert_int_equal(w->rw.later_ms, 0);
	assert_int_equal(rw_begin(&w->rw), RW_IO);
	assert_int_equal(w->rw.position, P);
	assert_int_equal(finish_io(w), RW_DONE);
	assert_int_equal(w->rw.error, 0);
	free(w);
}

static void failed_write_loses_its_pages(void **state)
{
	static const int causes[] = { EIO, ENOSPC, EDQUOT, ESTALE, EACCES };

	(void)state;
	for (size_t i = 0; i < sizeof(causes) / sizeof(causes[0]); i++) {
		struct req *w;

		write_now(0, 4, 0x01);
		w = req_new(RW_WRITE, 1, 2, 0x02);
		assert_int_equal(rw_begin(&w->rw), RW_IO);
		assert_int_equal(rw_complete(&w->rw, -causes[i]), RW_DONE);
		assert_int_equal(w->rw.error, EIO); /* never ENOSPC */
		assert_int_equal(w->rw.cause, causes[i]);
		expect_now(0, 1, 0x01);
		expect_eio(1, 1);
		expect_eio(2, 1);
		expect_now(3, 1, 0x01);
		write_now(1, 1, 0x03);
		expect_now(1, 1, 0x03);
		discard_now(2, 1);
		expect_now(2, 1, 0);
		free(w);
	}
	assert_int_equal(table_counters(f.table)->lost_pages, 2 * sizeof(causes) / sizeof(causes[0]));
}

static void failed_read_keeps_the_page(void **state)
{
	struct req *r = req_new(RW_READ, 0, 2, 0xee);

	(void)state;
	write_now(0, 2, 0x01);
	assert_int_equal(rw_begin(&r->rw), RW_IO);
	assert_int_equal(rw_complete(&r->rw, -EIO), RW_DONE);
	assert_int_equal(r->rw.error, EIO);
	assert_int_equal(r->rw.cause, EIO);
	assert_int_equal(table_counters(f.table)->lost_pages, 0);
	expect_now(0, 2, 0x01);
	free(r);
}

static void lost_until_written_or_discarded(void **state)
{
	struct req *r = req_new(RW_READ, 0, 3, 0xee);

	(void)state;
	expect_eio(0, 1);
	write_now(0, 1, 0x01);
	discard_now(2, 1);
	atomic_fetch_xor(&entry_at(table_entries(f.table), 3)->word, UINT64_C(1) << 37); /* scribbled: lost, not zero */
	expect_now(0, 1, 0x01);
	expect_eio(1, 1);
	expect_now(2, 1, 0);
	expect_eio(3, 1);
	/* One lost page in it is an error of the whole request. */
	assert_int_equal(rw_begin(&r->rw), RW_IO);
	assert_int_equal(finish_io(r), RW_DONE);
	assert_int_equal(r->rw.error, EIO);
	assert_int_equal(r->rw.cause, 0);
	free(r);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(invalid),
		T(discard_wins_over_a_failing_write),
		T(short_io_is_continued),
		T(no_progress_ends),
		T(passing_errors_are_later),
		T(failed_write_loses_its_pages),
		T(failed_read_keeps_the_page),
		cmocka_unit_test_setup_teardown(lost_until_written_or_discarded, setup_lost, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
