/* SPDX-License-Identifier: BSD-3-Clause */
/* swap_rw driven by hand: what it reads and writes, and in which order requests that meet go. */
#include "config.h"

#include "tests/store/byhand.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void fresh_reads_zeros_without_io(void **state)
{
	struct req *r = req_new(RW_READ, 0, 64, 0xee);

	(void)state;
	fill_pages(r->data, 64, 0xee);
	assert_int_equal(pwrite(f.fd, r->data, sizeof(r->data), 0), sizeof(r->data)); /* what allocation wrote */
	assert_int_equal(rw_begin(&r->rw), RW_DONE);
	assert_int_equal(r->rw.error, 0);
	expect_pages(r->data, 64, 0);
	assert_int_equal(table_counters(f.table)->table_pages, 64);
	free(r);
}

static void write_then_read(void **state)
{
	(void)state;
	write_now(3, 5, 0x11);
	expect_now(3, 5, 0x11);
	expect_now(2, 1, 0);
	expect_now(8, 1, 0);
	write_now(4, 2, 0x22);
	expect_now(3, 1, 0x11);
	expect_now(4, 2, 0x22);
	expect_now(6, 2, 0x11);
}

/* A read over fresh and written pages: one I/O per run of written ones. */
static void mixed_read(void **state)
{
	struct req *r = req_new(RW_READ, 0, 10, 0xee);

	(void)state;
	write_now(2, 3, 0x33);
	write_now(7, 1, 0x44);
	assert_int_equal(rw_begin(&r->rw), RW_IO);
	assert_int_equal(r->rw.position, 2 * P);
	assert_int_equal(r->rw.iovcnt, 3);
	assert_int_equal(finish_io(r), RW_IO);
	assert_int_equal(r->rw.position, 7 * P);
	assert_int_equal(r->rw.iovcnt, 1);
	assert_int_equal(finish_io(r), RW_DONE);
	assert_int_equal(r->rw.error, 0);
	expect_pages(r->data, 2, 0);
	expect_pages(r->data + 2 * P, 3, 0x33);
	expect_pages(r->data + 5 * P, 2, 0);
	expect_pages(r->data + 7 * P, 1, 0x44);
	expect_pages(r->data + 8 * P, 2, 0);
	free(r);
}

static void larger_than_a_bite(void **state)
{
	struct req *w = req_new(RW_WRITE, 10, 64, 0x55);

	(void)state;
	assert_int_equal(rw_begin(&w->rw), RW_IO);
	assert_int_equal(w->rw.iovcnt, RW_BITE_PAGES);
	for (unsigned i = 0; i < RW_BITE_PAGES; i++)
		assert_int_equal((uintptr_t)w->rw.iov[i].iov_base % PAGE_BYTES, 0);
	assert_int_equal(finish_io(w), RW_IO);
	assert_int_equal(w->rw.position, (10 + RW_BITE_PAGES) * P);
	assert_int_equal(finish_io(w), RW_DONE);
	expect_now(10, 64, 0x55);
	free(w);
}

static void overlapping_writes_wait_in_order(void **state)
{
	struct req *a = req_new(RW_WRITE, 0, 4, 0xa1), *b = req_new(RW_WRITE, 2, 4, 0xb2);
	struct req *c = req_new(RW_WRITE, 5, 2, 0xc3), *d = req_new(RW_WRITE, 20, 1, 0xd4);

	(void)state;
	assert_int_equal(rw_begin(&a->rw), RW_IO);
	assert_int_equal(rw_begin(&b->rw), RW_WAIT);
	assert_int_equal(rw_begin(&c->rw), RW_WAIT); /* not at a's pages, but behind b */
	assert_int_equal(rw_begin(&d->rw), RW_IO);   /* meets nobody */
	assert_int_equal(finish_io(d), RW_DONE);
	assert_int_equal(b->wakes, 0);
	assert_int_equal(finish_io(a), RW_DONE);
	assert_true(b->wakes > 0);
	assert_int_equal(c->wakes, 0);
	assert_int_equal(rw_begin(&c->rw), RW_WAIT); /* it comes too early and does not overtake */
	assert_int_equal(rw_begin(&b->rw), RW_IO);
	assert_int_equal(rw_begin(&c->rw), RW_WAIT);
	assert_int_equal(finish_io(b), RW_DONE);
	assert_true(c->wakes > 0);
	assert_int_equal(rw_begin(&c->rw), RW_IO);
	assert_int_equal(finish_io(c), RW_DONE);
	expect_now(0, 2, 0xa1);
	expect_now(2, 3, 0xb2);
	expect_now(5, 2, 0xc3);
	free(a);
	free(b);
	free(c);
	free(d);
}

static void read_waits_for_write(void **state)
{
	struct req *w, *r = req_new(RW_READ, 1, 1, 0xee), *other = req_new(RW_READ, 8, 1, 0xee);

	(void)state;
	write_now(0, 16, 0x01);
	w = req_new(RW_WRITE, 0, 2, 0x02);
	assert_int_equal(rw_begin(&w->rw), RW_IO);
	assert_int_equal(rw_begin(&r->rw), RW_WAIT);
	assert_int_equal(rw_begin(&other->rw), RW_IO);
	assert_int_equal(finish_io(other), RW_DONE);
	assert_int_equal(finish_io(w), RW_DONE);
	assert_true(r->wakes > 0);
	assert_int_equal(rw_begin(&r->rw), RW_IO);
	assert_int_equal(finish_io(r), RW_DONE);
	expect_pages(r->data, 1, 0x02);
	free(w);
	free(r);
	free(other);
}

/* The read had the old bytes, or half of each, in its buffers when the write came by. */
static void overtaken_read_reads_again(void **state)
{
	struct req *w, *r = req_new(RW_READ, 0, 4, 0xee);
	ssize_t n;

	(void)state;
	write_now(0, 4, 0x01);
	assert_int_equal(rw_begin(&r->rw), RW_IO);
	n = move(r, SIZE_MAX);
	w = req_new(RW_WRITE, 3, 1, 0x02);
	assert_int_equal(rw_begin(&w->rw), RW_IO);
	assert_int_equal(finish_io(w), RW_DONE);
	assert_int_equal(rw_complete(&r->rw, n), RW_IO);
	assert_int_equal(finish_io(r), RW_DONE);
	expect_pages(r->data, 3, 0x01);
	expect_pages(r->data + 3 * P, 1, 0x02);

	/* And while the write is still there, the read waits. */
	rw_init(&r->rw, f.store, RW_READ, 0, 4 * P, r->data, on_wake);
	r->wakes = 0;
	assert_int_equal(rw_begin(&r->rw), RW_IO);
	n = move(r, SIZE_MAX);
	rw_init(&w->rw, f.store, RW_WRITE, 0, P, w->data, on_wake);
	assert_int_equal(rw_begin(&w->rw), RW_IO);
	assert_int_equal(rw_complete(&r->rw, n), RW_WAIT);
	assert_int_equal(finish_io(w), RW_DONE);
	assert_int_equal(r->wakes, 1);
	assert_int_equal(rw_begin(&r->rw), RW_IO);
	assert_int_equal(finish_io(r), RW_DONE);
	expect_pages(r->data, 1, 0x02);
	free(w);
	free(r);
}

static void discarded_under_a_read(void **state)
{
	struct req *r = req_new(RW_READ, 0, 4, 0xee);
	ssize_t n;

	(void)state;
	write_now(0, 4, 0x01);
	assert_int_equal(rw_begin(&r->rw), RW_IO);
	n = move(r, SIZE_MAX);
	discard_now(0, 2);
	assert_int_equal(rw_complete(&r->rw, n), RW_IO);
	assert_int_equal(finish_io(r), RW_DONE);
	expect_pages(r->data, 2, 0);
	expect_pages(r->data + 2 * P, 2, 0x01);
	free(r);
}

static void discard_wins_over_a_write_in_flight(void **state)
{
	struct req *w = req_new(RW_WRITE, 0, 4, 0x01), *later = req_new(RW_WRITE, 1, 1, 0x02);

	(void)state;
	assert_int_equal(rw_begin(&w->rw), RW_IO);
	discard_now(0, 2);
	/* The mark stays: nobody else writes the page until the backend has answered. */
	assert_int_equal(table_page(f.table, 1).in_flight, 1);
	assert_int_equal(rw_begin(&later->rw), RW_WAIT);
	assert_int_equal(finish_io(w), RW_DONE);
	assert_int_equal(w->rw.error, 0);
	expect_now(0, 1, 0);
	assert_int_equal(rw_begin(&later->rw), RW_IO);
	assert_int_equal(finish_io(later), RW_DONE);
	expect_now(0, 1, 0);
	expect_now(1, 1, 0x02);
	expect_now(2, 2, 0x01);
	free(w);
	free(later);
}

/* With every buffer taken a request waits, is woken when some are back, and reads still have theirs. */
static void waits_for_buffers(void **state)
{
	struct req *w[4], *r = req_new(RW_READ, 100, 32, 0xee), *small = req_new(RW_WRITE, 200, 1, 0x09);

	(void)state;
	write_now(100, 32, 0x05);
	for (int i = 0; i < 4; i++)
		w[i] = req_new(RW_WRITE, (uint64_t)i * 24, 24, (uint8_t)(i + 1));
	/* 32 of the reserve and 32 of the common part: two of 24 and not a third. */
	assert_int_equal(rw_begin(&w[0]->rw), RW_IO);
	assert_int_equal(rw_begin(&w[1]->rw), RW_IO);
	assert_int_equal(rw_begin(&w[2]->rw), RW_WAIT);
	assert_int_equal(rw_begin(&w[3]->rw), RW_WAIT);
	/* A small one would fit but does not push in front of those that wait for room. */
	assert_int_equal(rw_begin(&small->rw), RW_WAIT);
	assert_int_equal(rw_begin(&r->rw), RW_IO);
	assert_int_equal(finish_io(r), RW_DONE);
	expect_pages(r->data, 32, 0x05);
	assert_int_equal(finish_io(w[0]), RW_DONE);
	assert_true(w[2]->wakes > 0);
	assert_int_equal(rw_begin(&w[2]->rw), RW_IO);
	assert_int_equal(finish_io(w[1]), RW_DONE);
	assert_int_equal(rw_begin(&w[3]->rw), RW_IO);
	assert_true(small->wakes > 0);
	assert_int_equal(rw_begin(&small->rw), RW_IO);
	assert_int_equal(finish_io(small), RW_DONE);
	assert_int_equal(finish_io(w[2]), RW_DONE);
	assert_int_equal(finish_io(w[3]), RW_DONE);
	for (int i = 0; i < 4; i++) {
		expect_now((uint64_t)i * 24, 24, (uint8_t)(i + 1));
		free(w[i]);
	}
	free(small);
	free(r);
}

/* Nothing new begins, not even a discard, and what is at the backend is waited for. */
static void drain(void **state)
{
	struct req *w = req_new(RW_WRITE, 0, 64, 0x01), *r = req_new(RW_READ, 100, 1, 0xee);
	struct req *d = req_new(RW_DISCARD, 0, 4, 0);

	(void)state;
	assert_int_equal(rw_begin(&w->rw), RW_IO);
	assert_false(store_drain(f.store, 1));
	assert_int_equal(rw_begin(&r->rw), RW_WAIT);
	assert_int_equal(rw_begin(&d->rw), RW_WAIT);
	assert_int_equal(finish_io(w), RW_WAIT); /* its first bite is in, the second does not begin */
	assert_true(store_drain(f.store, 1000));
	assert_int_equal(r->wakes + d->wakes, 0);
	for (unsigned i = 0; i < RW_BITE_PAGES; i++)
		assert_int_equal(table_page(f.table, i).state, PAGE_WRITTEN);
	assert_int_equal(table_page(f.table, RW_BITE_PAGES).state, PAGE_FRESH);
	atomic_store(&table_counters(f.table)->in_flight, 0); /* they wait for good */
	free(w);
	free(r);
	free(d);
}

/* Of random requests in flight at once, completed in any order, the outcome of each page is that of the last one that wrote it. */
static void any_order(void **state)
{
	enum { N = 12 };
	struct req *in_flight[N] = { NULL };
	uint8_t model[PAGES] = { 0 };

	(void)state;
	srand(1);
	for (int round = 0; round < 20000; round++) {
		int i = rand() % N;
		struct req *r = in_flight[i];

		if (!r) {
			uint64_t pages = 1 + (uint64_t)rand() % 8, page = (uint64_t)i * 20 + (uint64_t)rand() % 12;
			int op = rand() % 3;

			r = req_new((enum rw_op)op, page, pages, (uint8_t)(1 + rand() % 255));
			if (rw_begin(&r->rw) == RW_IO) {
				in_flight[i] = r;
				continue;
			}
			assert_int_equal(r->rw.error, 0);
			if (op == RW_DISCARD)
				memset(model + page, 0, pages);
			else
				for (uint64_t k = 0; k < pages; k++)
					expect_pages(r->data + k * P, 1, model[page + k]);
			free(r);
			continue;
		}
		if (rand() % 4 == 0)
			assert_int_equal(rw_complete(&r->rw, -EINTR), RW_LATER), assert_int_equal(rw_begin(&r->rw), RW_IO);
		if (rw_complete(&r->rw, move(r, (size_t)(1 + rand() % 8) * PAGE_BYTES)) != RW_DONE)
			continue;
		assert_int_equal(r->rw.error, 0);
		{
			uint64_t end = r->rw.offset / P, pages = (uint64_t)(r->rw.data - r->data) / P;

			for (uint64_t k = 0; k < pages; k++)
				if (r->rw.op == RW_WRITE)
					model[end - pages + k] = r->data[k * P];
				else
					expect_pages(r->data + k * P, 1, model[end - pages + k]);
		}
		free(r);
		in_flight[i] = NULL;
	}
	for (int i = 0; i < N; i++)
		if (in_flight[i]) {
			while (finish_io(in_flight[i]) == RW_IO)
				;
			free(in_flight[i]);
		}
}

/* 64 GiB in one request, as `swapon --discard=once` sends it, in steps between which others have their turn; what is in flight meanwhile loses. */
static void huge_discard(void **state)
{
	const uint64_t pages = UINT64_C(64) << 18;
	struct table_totals totals;
	struct req *w, *d;
	uint64_t steps = 1;

	(void)state;
	fixture_make(&f, pages, 64, PAGE_LOST);
	w = req_new(RW_WRITE, pages - 2, 2, 0x01);
	assert_int_equal(rw_begin(&w->rw), RW_IO);
	d = req_new(RW_DISCARD, 0, pages - 1, 0);
	for (; rw_begin(&d->rw) == RW_LATER; steps++)
		assert_int_equal(d->rw.later_ms, 0);
	assert_int_equal(d->rw.length, 0);
	assert_int_equal(d->rw.error, 0);
	assert_true(steps > pages / 10000);
	assert_int_equal(finish_io(w), RW_DONE);
	table_count(f.table, &totals);
	assert_int_equal(totals.fresh, pages - 1);
	assert_int_equal(totals.written, 1);
	expect_now(pages - 3, 2, 0);
	expect_now(pages - 1, 1, 0x01);
	free(w);
	free(d);
	assert_true(store_drain(f.store, 0));
	fixture_free(&f);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(fresh_reads_zeros_without_io),
		T(write_then_read),
		T(mixed_read),
		T(larger_than_a_bite),
		T(overlapping_writes_wait_in_order),
		T(read_waits_for_write),
		T(overtaken_read_reads_again),
		T(discarded_under_a_read),
		T(discard_wins_over_a_write_in_flight),
		T(waits_for_buffers),
		T(drain),
		T(any_order),
		cmocka_unit_test(huge_discard),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	return failed + cmocka_run_group_tests(tests, unit_seal, NULL);
}
