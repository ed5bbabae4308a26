/* SPDX-License-Identifier: BSD-3-Clause */
/* survive = host: who writes records and who flushes, who waits for whom, and what becomes of all when it fails.  By hand: each I/O ends when the
 * test says so.  (Whether a page is right after a cut: test-power-cut.)
 */
#include "config.h"

#include "store/page.h"
#include "store/records.h"
#include "tests/store/support.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PER_BLOCK 240u
#define BLOCKS 40u
#define MOST 64u

struct req {
	struct rw rw; /* first */
	unsigned wakes;
	unsigned char data[PAGE_BYTES];
};

static struct {
	struct table *table;
	struct store *store;
	struct req *req[MOST];
	unsigned n;
	struct rw_session session;
} w;

static void wake(struct rw *rw)
{
	((struct req *)(void *)rw)->wakes++;
}

static int setup(void **state)
{
	struct table_spec spec = { .pages = (uint64_t)BLOCKS * PER_BLOCK, .activation = 1, .uuid = "unit test", .survive = SURVIVE_HOST };
	struct errbuf e;

	(void)state;
	memset(&w, 0, sizeof(w));
	assert_int_equal(records_per_block(ENTRY_BYTES), PER_BLOCK);
	w.table = table_create(&spec, PAGE_FRESH, true, &e);
	assert_non_null(w.table);
	table_set_retry_time(w.table, 100);
	w.store = store_create(&(struct store_options){ .name = "unit", .fd = 0, .table = w.table, .kind = BACKEND_EXT4 }, &e);
	assert_non_null(w.store);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(atomic_load(&table_counters(w.table)->in_flight), 0);
	assert_int_equal(atomic_load(&table_counters(w.table)->held), 0);
	assert_true(store_drain(w.store, 0)); /* nothing is at the backend, as far as the store knows */
	for (unsigned i = 0; i < w.n; i++)
		free(w.req[i]);
	store_free(w.store);
	table_free(w.table);
	return 0;
}

/* A request of one page; all of one value where odd is false, so that it is only an entry. */
static struct req *req_new(enum rw_op op, uint64_t page, bool odd)
{
	struct req *r = aligned_alloc(PAGE_BYTES, (sizeof(*r) + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES);

	memset(r, 0, sizeof(*r));
	memset(r->data, 7, sizeof(r->data));
	r->data[ODD_BYTE] ^= odd;
	rw_init(&r->rw, w.store, op, page * PAGE_BYTES, PAGE_BYTES, op == RW_DISCARD ? NULL : r->data, wake);
	r->rw.session = &w.session;
	w.req[w.n++] = r;
	return r;
}

static enum rw_next io_done(struct req *r)
{
	size_t bytes = 0;

	for (int i = 0; i < r->rw.iovcnt; i++)
		bytes += r->rw.iov[i].iov_len;
	return rw_complete(&r->rw, (ssize_t)bytes);
}

/* A request whose page is at its place, up to what it does next. */
static enum rw_next begin_written(struct req *r)
{
	assert_int_equal(rw_begin(&r->rw), RW_IO);
	assert_false(r->rw.aside);
	return io_done(r);
}

static void expect_record(const struct req *r, uint64_t block)
{
	assert_true(r->rw.aside);
	assert_int_equal(r->rw.position, store_size(w.store) + block * PAGE_BYTES);
	assert_int_equal(r->rw.iov[0].iov_len, PAGE_BYTES);
}

static void page_record_flush(void **state)
{
	struct req *r = req_new(RW_WRITE, PER_BLOCK + 1, true);

	(void)state;
	assert_int_equal(begin_written(r), RW_IO);
	expect_record(r, 1);
	assert_int_equal(io_done(r), RW_SYNC);
	assert_int_equal(rw_complete(&r->rw, 0), RW_DONE);
	assert_int_equal(r->rw.error, 0);
}

static void entries_alone(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		struct req *r = req_new(i ? RW_DISCARD : RW_WRITE, 5, false);

		assert_int_equal(rw_begin(&r->rw), RW_IO);
		expect_record(r, 0);
		assert_int_equal(io_done(r), RW_SYNC);
		assert_int_equal(rw_complete(&r->rw, 0), RW_DONE);
	}
}

static void reads_wait_for_nothing(void **state)
{
	struct req *a = req_new(RW_WRITE, 5, true), *r = req_new(RW_READ, 5, true);

	(void)state;
	assert_int_equal(begin_written(a), RW_IO);
	assert_int_equal(rw_begin(&r->rw), RW_IO);
	memcpy(r->data, a->data, PAGE_BYTES);
	assert_int_equal(io_done(r), RW_DONE);
	assert_int_equal(r->rw.error, 0);
	assert_int_equal(io_done(a), RW_SYNC);
	assert_int_equal(rw_complete(&a->rw, 0), RW_DONE);
}

/* One content of a block at a time, and then one for all who came meanwhile; so too the flush. */
static void shared(void **state)
{
	struct req *a = req_new(RW_WRITE, 0, true), *b = req_new(RW_WRITE, 1, true), *c = req_new(RW_WRITE, 2, true);

	(void)state;
	assert_int_equal(begin_written(a), RW_IO);
	assert_int_equal(begin_written(b), RW_WAIT);
	assert_int_equal(begin_written(c), RW_WAIT);
	assert_int_equal(io_done(a), RW_SYNC);
	assert_true(b->wakes && c->wakes);
	assert_int_equal(rw_begin(&b->rw), RW_IO);
	expect_record(b, 0);
	assert_int_equal(rw_begin(&c->rw), RW_WAIT);
	c->wakes = 0;
	assert_int_equal(io_done(b), RW_WAIT); /* for the next flush: a's began before */
	assert_true(c->wakes);
	assert_int_equal(rw_begin(&c->rw), RW_WAIT);
	b->wakes = c->wakes = 0;
	assert_int_equal(rw_complete(&a->rw, 0), RW_DONE);
	assert_int_equal(b->wakes, 1);
	assert_int_equal(c->wakes, 0);
	assert_int_equal(rw_begin(&b->rw), RW_SYNC);
	assert_int_equal(rw_complete(&b->rw, 0), RW_DONE);
	assert_int_equal(c->wakes, 1);
	assert_int_equal(rw_begin(&c->rw), RW_DONE);
	assert_int_equal(c->rw.error, 0);
}

/* Who was to begin the flush gives up: another does. */
static void turn_passed_on(void **state)
{
	struct req *a = req_new(RW_WRITE, 0, true), *b = req_new(RW_WRITE, PER_BLOCK, true), *c = req_new(RW_WRITE, 2 * PER_BLOCK, true);

	(void)state;
	assert_int_equal(begin_written(a), RW_IO);
	assert_int_equal(io_done(a), RW_SYNC);
	assert_int_equal(begin_written(b), RW_IO);
	assert_int_equal(io_done(b), RW_WAIT);
	assert_int_equal(begin_written(c), RW_IO);
	assert_int_equal(io_done(c), RW_WAIT);
	assert_int_equal(rw_complete(&a->rw, 0), RW_DONE);
	assert_int_equal(b->wakes, 1);
	assert_int_equal(c->wakes, 0);
	assert_int_equal(rw_cancel(&b->rw), RW_DONE);
	assert_int_equal(b->rw.cause, ECANCELED);
	assert_int_equal(c->wakes, 1);
	assert_int_equal(rw_begin(&c->rw), RW_SYNC);
	assert_int_equal(rw_complete(&c->rw, 0), RW_DONE);
}

/* Who counted on it gets an error, and a later one that ends well says nothing of what came before. */
static void failed_flush(void **state)
{
	struct req *a = req_new(RW_WRITE, 0, true), *b = req_new(RW_WRITE, PER_BLOCK, true), *c = req_new(RW_WRITE, 2 * PER_BLOCK, true),
		   *d = req_new(RW_WRITE, 3, true);

	(void)state;
	assert_int_equal(begin_written(a), RW_IO);
	assert_int_equal(begin_written(b), RW_IO);
	assert_int_equal(io_done(a), RW_SYNC);
	assert_int_equal(io_done(b), RW_WAIT); /* not in a's */
	assert_int_equal(begin_written(c), RW_IO);
	assert_int_equal(io_done(c), RW_WAIT);
	assert_int_equal(rw_complete(&a->rw, -EIO), RW_DONE);
	assert_int_equal(a->rw.error, EIO);
	/* But their pages were there when it failed. */
	assert_true(b->wakes);
	assert_int_equal(rw_begin(&b->rw), RW_DONE);
	assert_int_equal(b->rw.error, EIO);
	assert_true(c->wakes);
	assert_int_equal(rw_begin(&c->rw), RW_DONE);
	assert_int_equal(c->rw.error, EIO);
	assert_int_equal(begin_written(d), RW_IO);
	assert_int_equal(io_done(d), RW_SYNC);
	assert_int_equal(rw_complete(&d->rw, 0), RW_DONE);
	assert_int_equal(d->rw.error, 0);
}

/* c's records were written before the flush that failed, and it looks only after the next has ended well. */
static void failed_flush_is_not_forgotten(void **state)
{
	struct req *a = req_new(RW_WRITE, 0, true), *c = req_new(RW_WRITE, 2 * PER_BLOCK, true), *d = req_new(RW_WRITE, 3, true), *b;

	(void)state;
	b = req_new(RW_WRITE, PER_BLOCK, true);
	assert_int_equal(begin_written(a), RW_IO);
	assert_int_equal(io_done(a), RW_SYNC);
	assert_int_equal(begin_written(c), RW_IO);
	assert_int_equal(io_done(c), RW_WAIT);
	assert_int_equal(begin_written(b), RW_IO);
	assert_int_equal(io_done(b), RW_WAIT);
	assert_int_equal(rw_complete(&a->rw, 0), RW_DONE);
	assert_int_equal(rw_begin(&b->rw), RW_SYNC);
	assert_int_equal(rw_complete(&b->rw, -EIO), RW_DONE);
	assert_int_equal(begin_written(d), RW_IO);
	assert_int_equal(io_done(d), RW_SYNC);
	assert_int_equal(rw_complete(&d->rw, 0), RW_DONE);
	assert_int_equal(d->rw.error, 0);
	assert_int_equal(rw_begin(&c->rw), RW_DONE);
	assert_int_equal(c->rw.error, EIO);
}

/* It covered a page whose record was written only after it: that one is not there either, whatever the next flush says. */
static void failed_flush_takes_pages_along(void **state)
{
	struct req *a = req_new(RW_WRITE, 5, true), *b = req_new(RW_WRITE, PER_BLOCK + 1, true), *c = req_new(RW_WRITE, 6, true);

	(void)state;
	assert_int_equal(begin_written(a), RW_IO);
	assert_int_equal(begin_written(b), RW_IO);
	assert_int_equal(io_done(b), RW_SYNC);
	assert_int_equal(rw_complete(&b->rw, -EIO), RW_DONE);
	assert_int_equal(b->rw.error, EIO);
	assert_int_equal(io_done(a), RW_DONE);
	assert_int_equal(a->rw.error, EIO);
	/* What comes after it has nothing to do with it. */
	assert_int_equal(begin_written(c), RW_IO);
	assert_int_equal(io_done(c), RW_SYNC);
	assert_int_equal(rw_complete(&c->rw, 0), RW_DONE);
	assert_int_equal(c->rw.error, 0);
}

static void passing_errors_are_held(void **state)
{
	struct req *a = req_new(RW_WRITE, 0, true), *b = req_new(RW_WRITE, 1, true);

	(void)state;
	assert_int_equal(begin_written(a), RW_IO);
	assert_int_equal(begin_written(b), RW_WAIT);
	assert_int_equal(rw_complete(&a->rw, -ETIMEDOUT), RW_LATER);
	assert_int_equal(atomic_load(&table_counters(w.table)->held), 1);
	assert_int_equal(b->wakes, 0);
	assert_int_equal(rw_begin(&a->rw), RW_IO);
	expect_record(a, 0);
	assert_int_equal(io_done(a), RW_SYNC);
	assert_int_equal(rw_complete(&a->rw, -EINTR), RW_LATER);
	assert_int_equal(rw_begin(&a->rw), RW_SYNC);
	assert_int_equal(rw_complete(&a->rw, 0), RW_DONE);
	assert_int_equal(a->rw.error, 0);
	assert_int_equal(rw_begin(&b->rw), RW_IO);
	assert_int_equal(io_done(b), RW_SYNC);
	assert_int_equal(rw_complete(&b->rw, 0), RW_DONE);
}

/* What one could not write another tries again. */
static void lasting_errors_are_answered(void **state)
{
	struct req *a = req_new(RW_WRITE, 0, true), *b = req_new(RW_WRITE, 1, true);

	(void)state;
	assert_int_equal(begin_written(a), RW_IO);
	assert_int_equal(begin_written(b), RW_WAIT);
	assert_int_equal(rw_complete(&a->rw, -EIO), RW_DONE);
	assert_int_equal(a->rw.error, EIO);
	assert_true(b->wakes);
	assert_int_equal(rw_begin(&b->rw), RW_IO);
	expect_record(b, 0);
	assert_int_equal(io_done(b), RW_SYNC);
	assert_int_equal(rw_complete(&b->rw, 0), RW_DONE);
	assert_int_equal(b->rw.error, 0);
}

static void short_io_goes_on(void **state)
{
	struct req *a = req_new(RW_WRITE, 0, true);

	(void)state;
	assert_int_equal(begin_written(a), RW_IO);
	assert_int_equal(rw_complete(&a->rw, 512), RW_IO);
	expect_record(a, 0);
	assert_int_equal(io_done(a), RW_SYNC);
	assert_int_equal(rw_complete(&a->rw, 0), RW_DONE);
}

static void sessions_end(void **state)
{
	struct rw_session other = { .ended = false };
	struct req *a = req_new(RW_WRITE, 0, true), *b = req_new(RW_WRITE, 1, true), *c = req_new(RW_WRITE, 2, true);

	(void)state;
	c->rw.session = &other;
	assert_int_equal(begin_written(a), RW_IO);
	assert_int_equal(begin_written(b), RW_WAIT);
	assert_int_equal(begin_written(c), RW_WAIT);
	store_end_session(w.store, &w.session);
	assert_true(b->wakes);
	assert_int_equal(rw_begin(&b->rw), RW_DONE);
	assert_int_equal(b->rw.cause, ECANCELED);
	assert_int_equal(io_done(a), RW_DONE); /* written, but nobody waits for the flush */
	assert_int_equal(a->rw.cause, ECANCELED);
	assert_true(c->wakes);
	assert_int_equal(rw_begin(&c->rw), RW_IO);
	assert_int_equal(io_done(c), RW_SYNC);
	assert_int_equal(rw_complete(&c->rw, 0), RW_DONE);
	assert_int_equal(c->rw.error, 0);
}

/* Each buffer that comes back wakes one who waits for it, and nobody is forgotten. */
static void more_than_buffers(void **state)
{
	struct req *r[BLOCKS];
	unsigned done = 0;

	(void)state;
	for (unsigned i = 0; i < BLOCKS; i++) {
		r[i] = req_new(RW_DISCARD, i * PER_BLOCK, false);
		assert_int_equal(rw_begin(&r[i]->rw), i < RECORD_WRITERS ? RW_IO : RW_WAIT);
	}
	assert_int_equal(io_done(r[0]), RW_SYNC);
	assert_int_equal(r[RECORD_WRITERS]->wakes, 1);
	assert_int_equal(r[RECORD_WRITERS + 1]->wakes, 0);
	assert_int_equal(rw_cancel(&r[RECORD_WRITERS]->rw), RW_DONE); /* its turn goes on */
	assert_int_equal(r[RECORD_WRITERS + 1]->wakes, 1);
	for (unsigned i = 1; i < RECORD_WRITERS; i++)
		assert_int_equal(io_done(r[i]), RW_WAIT);
	for (unsigned i = RECORD_WRITERS + 1; i < BLOCKS; i++) {
		assert_int_equal(r[i]->wakes, 1);
		assert_int_equal(rw_begin(&r[i]->rw), RW_IO);
		assert_int_equal(io_done(r[i]), RW_WAIT);
	}
	assert_int_equal(rw_complete(&r[0]->rw, 0), RW_DONE);
	assert_int_equal(r[1]->wakes, 1);
	assert_int_equal(rw_begin(&r[1]->rw), RW_SYNC);
	assert_int_equal(rw_complete(&r[1]->rw, 0), RW_DONE);
	for (unsigned i = 2; i < BLOCKS; i++)
		if (i != RECORD_WRITERS)
			done += rw_begin(&r[i]->rw) == RW_DONE && r[i]->rw.error == 0;
	assert_int_equal(done, BLOCKS - 3);
}

/* Of a discard of all, the blocks go two at a time. */
static void large_discard(void **state)
{
	struct req *r = req_new(RW_DISCARD, 0, false);
	unsigned writes = 0;
	enum rw_next next;

	(void)state;
	rw_init(&r->rw, w.store, RW_DISCARD, 0, store_size(w.store), NULL, wake);
	next = rw_begin(&r->rw);
	while (next == RW_LATER)
		next = rw_begin(&r->rw);
	for (; next == RW_IO; writes++)
		next = io_done(r);
	assert_int_equal(writes, BLOCKS / RECORD_SPAN);
	assert_int_equal(next, RW_SYNC);
	assert_int_equal(rw_complete(&r->rw, 0), RW_DONE);
}

/* A successor, for whom the states of blocks were scribbled on, writes them once more and ends. */
static void scribbled(void **state)
{
	struct store *before = w.store;
	struct errbuf e;

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		struct record_block *b = table_record_block(w.table, i);
		const struct record_block scribbles[] = { { .flush = UINT64_MAX }, { .taken = 77 }, { .done = 77 }, { .dirty = 200 },
							  { .writing = 3 }, { .taken = UINT32_MAX, .done = UINT32_MAX } };

		*b = scribbles[i];
	}
	w.store = store_create(&(struct store_options){ .name = "unit", .fd = 0, .table = w.table, .kind = BACKEND_EXT4 }, &e);
	assert_non_null(w.store);
	for (unsigned i = 0; i < 6; i++) {
		struct req *r = req_new(RW_WRITE, i * PER_BLOCK, true);

		assert_int_equal(begin_written(r), RW_IO);
		expect_record(r, i);
		assert_int_equal(io_done(r), RW_SYNC);
		assert_int_equal(rw_complete(&r->rw, 0), RW_DONE);
		assert_int_equal(r->rw.error, 0);
	}
	/* A request that the predecessor had recorded as done. */
	table_record_block(w.table, 0)->flush = UINT64_MAX;
	store_free(w.store);
	w.store = store_create(&(struct store_options){ .name = "unit", .fd = 0, .table = w.table, .kind = BACKEND_EXT4 }, &e);
	assert_non_null(w.store);
	{
		struct req *r = req_new(RW_WRITE, 1, true);

		rw_init(&r->rw, w.store, RW_WRITE, PAGE_BYTES, 0, r->data, wake);
		r->rw.first_page = 0;
		assert_int_equal(rw_begin(&r->rw), RW_SYNC);
		assert_int_equal(rw_complete(&r->rw, 0), RW_DONE);
		assert_int_equal(r->rw.error, 0);
	}
	store_free(before);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(page_record_flush),	 TEST(entries_alone),	  TEST(reads_wait_for_nothing),	 TEST(shared),
		TEST(turn_passed_on),		 TEST(failed_flush),	  TEST(failed_flush_is_not_forgotten), TEST(failed_flush_takes_pages_along),
		TEST(passing_errors_are_held),	 TEST(lasting_errors_are_answered), TEST(short_io_goes_on), TEST(sessions_end),
		TEST(more_than_buffers),	 TEST(large_discard),	  TEST(scribbled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
