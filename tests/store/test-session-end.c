/* SPDX-License-Identifier: BSD-3-Clause */
/* A session that is ended because its client goes on in another one: what of its requests may still happen, and what not. And the same of
 * a file that is lost. The one session's write hangs at the backend, the client sends it again and then newer content in the
 * other; nothing old may come after that.
 */
#include "config.h"

#include "store/store_priv.h"
#include "tests/store/byhand.h"

#include <errno.h>
#include <stdlib.h>

static struct rw_session one, two;

static int setup_sessions(void **state)
{
	one.ended = two.ended = false;
	return setup(state);
}

/* What another thread does just before the lock is taken the next time. */
static void (*before_lock)(void);

int __real_pthread_mutex_lock(pthread_mutex_t *m);
int __wrap_pthread_mutex_lock(pthread_mutex_t *m);
int __wrap_pthread_mutex_lock(pthread_mutex_t *m)
{
	void (*f_)(void) = before_lock;

	before_lock = NULL;
	if (f_)
		f_();
	return __real_pthread_mutex_lock(m);
}

static struct req *of(struct rw_session *session, enum rw_op op, uint64_t page, uint64_t pages, uint8_t value)
{
	struct req *r = req_new(op, page, pages, value);

	r->rw.session = session;
	return r;
}

static struct req *at_backend(struct rw_session *session, uint64_t page, uint64_t pages, uint8_t value)
{
	struct req *r = of(session, RW_WRITE, page, pages, value);

	assert_int_equal(rw_begin(&r->rw), RW_IO);
	return r;
}

static void is_cancelled(struct req *r)
{
	assert_int_equal(rw_begin(&r->rw), RW_DONE);
	assert_int_equal(r->rw.error, EIO);
	assert_int_equal(r->rw.cause, ECANCELED);
	free(r);
}

/* W1 is at the backend and W1' waits behind it when the client takes over. */
static void taken_over(void **state)
{
	struct req *w1 = at_backend(&one, 0, 2, 0x01), *behind = of(&one, RW_WRITE, 1, 2, 0x11), *again, *w2;

	(void)state;
	assert_int_equal(rw_begin(&behind->rw), RW_WAIT);
	store_end_session(f.store, &one);
	assert_int_equal(behind->wakes, 1);
	is_cancelled(behind);

	again = of(&two, RW_WRITE, 0, 2, 0x01);
	assert_int_equal(rw_begin(&again->rw), RW_WAIT);
	w2 = of(&two, RW_WRITE, 0, 2, 0x02);
	assert_int_equal(rw_begin(&w2->rw), RW_WAIT);
	/* It has been at the backend, so it counts. */
	assert_int_equal(finish_io(w1), RW_DONE);
	assert_int_equal(w1->rw.error, 0);
	assert_true(again->wakes > 0);
	run(again, 0);
	run(w2, 0);
	expect_now(0, 2, 0x02);
	expect_now(2, 1, 0);
	free(w1);
	free(again);
	free(w2);
}

/* Whatever comes late on the old connection. */
static void nothing_begins(void **state)
{
	struct req *zeros = of(&one, RW_WRITE, 2, 1, 0), *late = of(&one, RW_WRITE, 0, 1, 0x01);

	(void)state;
	write_now(0, 4, 0x02);
	store_end_session(f.store, &one);
	is_cancelled(late);
	is_cancelled(zeros); /* only an entry */
	is_cancelled(of(&one, RW_DISCARD, 0, 4, 0));
	is_cancelled(of(&one, RW_READ, 0, 1, 0xee));
	expect_now(0, 4, 0x02);
}

static void ends_between_bites(void **state)
{
	struct req *w = at_backend(&one, 0, 64, 0x01);

	(void)state;
	store_end_session(f.store, &one);
	assert_int_equal(finish_io(w), RW_DONE);
	assert_int_equal(w->rw.error, EIO);
	assert_int_equal(w->rw.cause, ECANCELED);
	expect_now(0, RW_BITE_PAGES, 0x01);
	expect_now(RW_BITE_PAGES, 64 - RW_BITE_PAGES, 0);
	free(w);
}

/* A short write is gone on with: the backend has a part of the bite, and nobody else gets at its pages before that is whole. */
static void a_short_write_ends(void **state)
{
	struct req *w = at_backend(&one, 0, 4, 0x01), *w2 = of(&two, RW_WRITE, 3, 1, 0x02);

	(void)state;
	store_end_session(f.store, &one);
	assert_int_equal(rw_complete(&w->rw, move(w, PAGE_BYTES)), RW_IO);
	assert_int_equal(rw_begin(&w2->rw), RW_WAIT);
	assert_int_equal(finish_io(w), RW_DONE);
	assert_int_equal(w->rw.error, 0);
	run(w2, 0);
	expect_now(0, 3, 0x01);
	expect_now(3, 1, 0x02);
	free(w);
	free(w2);
}

/* What is held for an error to pass is not tried again; nobody knows what the backend has of it. */
static void ends_while_held(void **state)
{
	struct req *w, *r, *w2 = of(&two, RW_WRITE, 1, 1, 0x02);

	(void)state;
	write_now(0, 3, 0x09);
	w = at_backend(&one, 0, 2, 0x01);
	r = of(&one, RW_READ, 2, 1, 0xee);
	assert_int_equal(rw_begin(&r->rw), RW_IO);
	assert_int_equal(rw_complete(&w->rw, -EINTR), RW_LATER);
	assert_int_equal(rw_complete(&r->rw, -EINTR), RW_LATER);
	assert_int_equal(rw_begin(&w2->rw), RW_WAIT);
	store_end_session(f.store, &one);
	is_cancelled(w);
	is_cancelled(r);
	run(w2, 0);
	assert_int_equal(table_counters(f.table)->held, 0);
	expect_eio(0, 1);
	expect_now(1, 1, 0x02);
	expect_now(2, 1, 0x09);
	free(w2);
}

static void end_one(void)
{
	store_end_session(f.store, &one);
}

static void lose_file(void)
{
	store_lost(f.store, "so says the test");
}

/* Said by another thread at the last moment: once it has been said, nothing goes to the backend. */
static void at_the_last_moment(void **state)
{
	struct req *w = of(&one, RW_WRITE, 0, 1, 0x01), *held = at_backend(&one, 4, 1, 0x01);

	(void)state;
	before_lock = end_one;
	is_cancelled(w);
	assert_int_equal(rw_complete(&held->rw, -EINTR), RW_LATER);
	one.ended = false;
	before_lock = end_one;
	is_cancelled(held);
}

static void lost_at_the_last_moment(void **state)
{
	struct req *w = of(NULL, RW_WRITE, 0, 1, 0x01), *d = of(NULL, RW_DISCARD, 8, 1, 0), *held = at_backend(NULL, 4, 1, 0x01);

	(void)state;
	write_now(8, 1, 0x05);
	assert_int_equal(rw_complete(&held->rw, -EINTR), RW_LATER);
	before_lock = lose_file;
	assert_int_equal(rw_begin(&held->rw), RW_DONE);
	assert_int_equal(held->rw.cause, ESTALE);
	f.store->lost = false;
	before_lock = lose_file;
	assert_int_equal(rw_begin(&w->rw), RW_DONE);
	assert_int_equal(w->rw.cause, ESTALE);
	f.store->lost = false;
	before_lock = lose_file;
	assert_int_equal(rw_begin(&d->rw), RW_DONE);
	assert_int_equal(d->rw.cause, ESTALE);
	f.store->lost = false;
	expect_now(8, 1, 0x05);
	expect_now(0, 1, 0);
	free(w);
	free(d);
	free(held);
}

/* Drained is drained: what was held keeps its slot for table_settle(), whoever says that it is to end. */
static void drained_first(void **state)
{
	struct req *held = at_backend(&one, 0, 1, 0x01);

	(void)state;
	assert_int_equal(rw_complete(&held->rw, -EINTR), RW_LATER);
	assert_true(store_drain(f.store, 0));
	store_lost(f.store, "so says the test");
	store_end_session(f.store, &one);
	assert_int_equal(rw_begin(&held->rw), RW_WAIT);
	assert_true(table_page(f.table, 0).in_flight);
	assert_int_equal(rw_cancel(&held->rw), RW_DONE);
	assert_true(table_page(f.table, 0).in_flight);
	free(held);
}

static int teardown_drained(void **state)
{
	(void)state;
	fixture_free(&f);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(taken_over, setup_sessions, teardown),
		cmocka_unit_test_setup_teardown(nothing_begins, setup_sessions, teardown),
		cmocka_unit_test_setup_teardown(ends_between_bites, setup_sessions, teardown),
		cmocka_unit_test_setup_teardown(a_short_write_ends, setup_sessions, teardown),
		cmocka_unit_test_setup_teardown(ends_while_held, setup_sessions, teardown),
		cmocka_unit_test_setup_teardown(at_the_last_moment, setup_sessions, teardown),
		cmocka_unit_test_setup_teardown(lost_at_the_last_moment, setup_sessions, teardown),
		cmocka_unit_test_setup_teardown(drained_first, setup_sessions, teardown_drained),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
