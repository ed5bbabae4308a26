/* SPDX-License-Identifier: BSD-3-Clause */
/* Many requests that wait: all of them get on, and the work for that does not grow with the square of their number.  Counted is how often an
 * entry is looked at.
 */
#include "config.h"

#include "store/store_priv.h"
#include "tests/store/byhand.h"

#include <stdlib.h>
#include <unistd.h>

#define WAITERS 400u

static unsigned long looks;

struct page_view __real_table_page(const struct table *t, uint64_t page);
struct page_view __wrap_table_page(const struct table *t, uint64_t page);
struct page_view __wrap_table_page(const struct table *t, uint64_t page)
{
	looks++;
	return __real_table_page(t, page);
}

struct waiter {
	struct rw rw; /* first */
	unsigned wakes;
	unsigned char *data;
	bool done;
};

static struct waiter waiters[WAITERS];

static void on_wake_up(struct rw *rw)
{
	((struct waiter *)(void *)rw)->wakes++;
}

static void make(unsigned i, enum rw_op op, uint64_t page, uint64_t pages)
{
	struct waiter *w = &waiters[i];

	w->wakes = 0;
	w->done = false;
	w->data = malloc(pages * PAGE_BYTES);
	assert_non_null(w->data);
	fill_pages(w->data, pages, (uint8_t)(1 + i % 200));
	rw_init(&w->rw, f.store, op, page * P, pages * P, w->data, on_wake_up);
	assert_int_equal(rw_begin(&w->rw), RW_WAIT);
}

/* Who was woken goes on, in turn, until all are done; nobody may be forgotten. */
static void all_get_on(unsigned n)
{
	for (unsigned done = 0, before = 1; done < n;) {
		assert_true(before > 0);
		before = 0;
		for (unsigned i = 0; i < n; i++) {
			struct waiter *w = &waiters[i];
			enum rw_next next;

			if (w->done || w->wakes == 0)
				continue;
			w->wakes = 0;
			before++;
			next = rw_begin(&w->rw);
			while (next == RW_IO) {
				/* Only entries matter here. */
				next = rw_complete(&w->rw, (ssize_t)rw_bite_pages(&w->rw) * PAGE_BYTES);
			}
			if (next == RW_WAIT)
				continue;
			assert_int_equal(next, RW_DONE);
			w->done = true;
			done++;
		}
	}
	for (unsigned i = 0; i < n; i++)
		free(waiters[i].data);
}

static void after_a_file_was_opened_anew(void **state)
{
	(void)state;
	f.store->reopening = true;
	for (unsigned i = 0; i < WAITERS; i++)
		make(i, RW_WRITE, i % PAGES, 1);
	looks = 0;
	store_reopened(f.store);
	all_get_on(WAITERS);
	assert_true(looks < 20 * WAITERS);
}

/* Readers of one page that is being written. */
static void many_readers(void **state)
{
	struct req *w = req_new(RW_WRITE, 0, 1, 0x01);

	(void)state;
	assert_int_equal(rw_begin(&w->rw), RW_IO);
	for (unsigned i = 0; i < WAITERS; i++)
		make(i, RW_READ, 0, 1);
	looks = 0;
	assert_int_equal(finish_io(w), RW_DONE);
	for (unsigned i = 0; i < WAITERS; i++) {
		struct waiter *r = &waiters[i];

		assert_int_equal(r->wakes, 1);
		assert_int_equal(rw_begin(&r->rw), RW_IO);
		assert_int_equal(rw_complete(&r->rw, pread(r->rw.fd, r->rw.iov[0].iov_base, PAGE_BYTES, 0)), RW_DONE);
		assert_int_equal(r->rw.error, 0);
		expect_pages(r->data, 1, 0x01);
		free(r->data);
	}
	free(w);
}

/* Every buffer is taken: who comes first goes first, and with each that comes free one gets on. */
static void starved(void **state)
{
	struct req *holders[2];

	(void)state;
	holders[0] = req_new(RW_WRITE, 0, 32, 0x01);
	holders[1] = req_new(RW_WRITE, 32, 16, 0x01);
	assert_int_equal(rw_begin(&holders[0]->rw), RW_IO);
	assert_int_equal(rw_begin(&holders[1]->rw), RW_IO);
	for (unsigned i = 0; i < 100; i++)
		make(i, RW_WRITE, i == 0 ? 64 : 100 + i, i == 0 ? 32 : 1);
	looks = 0;
	assert_int_equal(finish_io(holders[0]), RW_DONE);
	assert_true(waiters[0].wakes > 0);
	assert_int_equal(waiters[1].wakes, 0);
	assert_int_equal(finish_io(holders[1]), RW_DONE);
	all_get_on(100);
	free(holders[0]);
	free(holders[1]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(after_a_file_was_opened_anew, setup, teardown),
		cmocka_unit_test_setup_teardown(many_readers, setup, teardown),
		cmocka_unit_test_setup_teardown(starved, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
