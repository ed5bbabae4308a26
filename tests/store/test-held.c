/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests that the backend refuses for a while: how long they are held, what ends that, and what others notice of it.  The time is
 * the test's.
 */
#include "config.h"

#include "store/settle.h"
#include "tests/store/byhand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int64_t now;
static unsigned messages, stales;
static char said[NOTICE_TEXT];

static int64_t now_ms(void)
{
	return now;
}

static void emit(void *arg, enum notice_priority priority, const char *text)
{
	(void)arg;
	(void)priority;
	messages++;
	snprintf(said, sizeof(said), "%s", text);
}

static void on_stale(void *arg)
{
	(void)arg;
	stales++;
}

static struct store *make_store(struct table *table, enum backend_kind kind)
{
	struct store_options o = { .name = "unit", .fd = f.fd, .table = table, .pool = f.pool, .kind = kind, .emit = emit,
				   .stale = on_stale, .now_ms = now_ms };
	struct errbuf e;
	struct store *s = store_create(&o, &e);

	assert_non_null(s);
	return s;
}

static int setup_on(enum backend_kind kind)
{
	fixture_make(&f, PAGES, 64, PAGE_FRESH);
	store_free(f.store);
	f.store = make_store(f.table, kind);
	table_set_retry_time(f.table, 300);
	now = 1000;
	messages = stales = 0;
	said[0] = '\0';
	return 0;
}

static int setup_nfs(void **state)
{
	(void)state;
	return setup_on(BACKEND_NFS);
}

static int setup_ext4(void **state)
{
	(void)state;
	return setup_on(BACKEND_EXT4);
}

static int teardown_held(void **state)
{
	assert_int_equal(table_counters(f.table)->held, 0);
	return teardown(state);
}

/* The backend says code each time, for so long.  Returns what the store said last. */
static enum rw_next refuse(struct req *r, int code, int64_t ms)
{
	int64_t end = now + ms;
	enum rw_next next = rw_complete(&r->rw, -code);

	while (next == RW_LATER && now + r->rw.later_ms <= end) {
		now += r->rw.later_ms;
		next = rw_begin(&r->rw);
		if (next != RW_IO)
			break;
		next = rw_complete(&r->rw, -code);
	}
	return next;
}

static struct req *begun(enum rw_op op, uint64_t page, uint64_t pages, uint8_t value)
{
	struct req *r = req_new(op, page, pages, value);

	assert_int_equal(rw_begin(&r->rw), RW_IO);
	return r;
}

static void goes_on(struct req *r)
{
	assert_int_equal(rw_begin(&r->rw), RW_IO);
	assert_int_equal(finish_io(r), RW_DONE);
	assert_int_equal(r->rw.error, 0);
}

static void a_write_is_held(void **state)
{
	struct req *w = begun(RW_WRITE, 0, 4, 0x01);

	(void)state;
	assert_int_equal(refuse(w, ETIMEDOUT, 299000), RW_LATER);
	assert_int_equal(table_counters(f.table)->held, 1);
	assert_true(table_counters(f.table)->retries > 290);
	assert_int_equal(table_counters(f.table)->errors_passing, table_counters(f.table)->retries + 1);
	goes_on(w);
	assert_int_equal(table_counters(f.table)->lost_pages, 0);
	expect_now(0, 4, 0x01);
	assert_non_null(strstr(said, "goes on after 29"));
	/* One a minute, and the end. */
	assert_int_equal(messages, 6);
	free(w);
}

static void a_write_fails_at_last(void **state)
{
	struct req *w;

	(void)state;
	write_now(0, 4, 0x01);
	w = begun(RW_WRITE, 1, 2, 0x02);
	assert_int_equal(refuse(w, ETIMEDOUT, 301000), RW_DONE);
	assert_int_equal(now, 301000);
	assert_int_equal(w->rw.error, EIO);
	assert_int_equal(w->rw.cause, ETIMEDOUT);
	assert_int_equal(table_counters(f.table)->lost_pages, 2);
	expect_now(0, 1, 0x01);
	expect_eio(1, 1);
	expect_eio(2, 1);
	free(w);
}

/* A page that a discard has overtaken is not lost when its write fails. */
static void discarded_while_held(void **state)
{
	struct req *w = begun(RW_WRITE, 0, 2, 0x01);

	(void)state;
	assert_int_equal(refuse(w, ETIMEDOUT, 1000), RW_LATER);
	discard_now(0, 1);
	assert_int_equal(rw_cancel(&w->rw), RW_DONE);
	expect_now(0, 1, 0);
	expect_eio(1, 1);
	free(w);
}

static void a_read_is_held_without_end(void **state)
{
	struct req *r;

	(void)state;
	write_now(0, 2, 0x01);
	r = begun(RW_READ, 0, 2, 0xee);
	assert_int_equal(refuse(r, ETIMEDOUT, 86400000), RW_LATER);
	goes_on(r);
	expect_pages(r->data, 2, 0x01);
	free(r);
}

/* A page that cannot be read is not lost: the next try may be luckier. */
static void eio_on_a_network_for_a_while(void **state)
{
	struct req *r;

	(void)state;
	write_now(0, 2, 0x01);
	r = begun(RW_READ, 0, 2, 0xee);
	assert_int_equal(refuse(r, EIO, 301000), RW_DONE);
	assert_int_equal(now, 301000);
	assert_int_equal(r->rw.error, EIO);
	expect_now(0, 2, 0x01);
	free(r);
}

static void lasting_on_a_local_disk(void **state)
{
	static const int codes[] = { EIO, EROFS, ENODEV, ENXIO, EFBIG, ENOSPC, EDQUOT };

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct req *w = begun(RW_WRITE, 0, 1, 0x01);

		assert_int_equal(rw_complete(&w->rw, -codes[i]), RW_DONE);
		assert_int_equal(w->rw.error, EIO);
		free(w);
	}
	assert_int_equal(table_counters(f.table)->errors_lasting, 5);
	assert_int_equal(table_counters(f.table)->errors_impossible, 2);
	assert_int_equal(messages, 2); /* one of each class */
	assert_non_null(strstr(said, "ALARM"));
}

static void a_full_server_is_waited_for(void **state)
{
	struct req *w = begun(RW_WRITE, 0, 1, 0x01);

	(void)state;
	assert_int_equal(rw_complete(&w->rw, -ENOSPC), RW_LATER);
	assert_non_null(strstr(said, "ALARM"));
	assert_int_equal(table_counters(f.table)->errors_impossible, 1);
	goes_on(w);
	/* Nothing moved is the same as no space. */
	rw_init(&w->rw, f.store, RW_WRITE, 0, P, w->data, on_wake);
	assert_int_equal(rw_begin(&w->rw), RW_IO);
	assert_int_equal(rw_complete(&w->rw, 0), RW_LATER);
	goes_on(w);
	free(w);
}

/* What waits for the held pages goes on when they are given up, and finds them lost. */
static void given_up(void **state)
{
	struct req *w, *r = req_new(RW_READ, 1, 1, 0xee), *w2 = req_new(RW_WRITE, 2, 2, 0x03);

	(void)state;
	write_now(0, 4, 0x01);
	w = begun(RW_WRITE, 0, 3, 0x02);
	assert_int_equal(refuse(w, ETIMEDOUT, 1000), RW_LATER);
	assert_int_equal(rw_begin(&r->rw), RW_WAIT);
	assert_int_equal(rw_begin(&w2->rw), RW_WAIT);
	assert_int_equal(rw_cancel(&w->rw), RW_DONE);
	assert_int_equal(w->rw.error, EIO);
	assert_int_equal(w->rw.cause, ECANCELED);
	for (uint64_t page = 0; page < 3; page++)
		assert_int_equal(table_page(f.table, page).state, PAGE_LOST);
	assert_true(r->wakes > 0 && w2->wakes > 0);
	run(r, EIO);
	run(w2, 0);
	expect_eio(0, 1);
	expect_now(2, 2, 0x03);
	free(w);
	free(w2);
	free(r);
}

/* A waiter that is given up is out of the way of those behind it. */
static void a_waiter_given_up(void **state)
{
	struct req *w = begun(RW_WRITE, 0, 2, 0x01), *w2 = req_new(RW_WRITE, 1, 2, 0x02), *w3 = req_new(RW_WRITE, 2, 2, 0x03);

	(void)state;
	assert_int_equal(rw_begin(&w2->rw), RW_WAIT);
	assert_int_equal(rw_begin(&w3->rw), RW_WAIT);
	assert_int_equal(rw_cancel(&w2->rw), RW_DONE);
	assert_int_equal(w3->wakes, 1);
	run(w3, 0);
	assert_int_equal(finish_io(w), RW_DONE);
	expect_now(0, 2, 0x01);
	expect_now(2, 2, 0x03);
	free(w);
	free(w2);
	free(w3);
}

/* A store is drained although a write is held; what became of its pages is told by the file, which has the old ones. */
static void drained_while_held(void **state)
{
	struct settled settled = { 0 };
	struct errbuf e;
	struct req *w, *r;

	(void)state;
	write_now(0, 4, 0x01);
	w = begun(RW_WRITE, 1, 2, 0x02);
	r = begun(RW_READ, 3, 1, 0xee);
	assert_int_equal(rw_complete(&w->rw, -ETIMEDOUT), RW_LATER);
	assert_int_equal(rw_complete(&r->rw, -ETIMEDOUT), RW_LATER);
	assert_true(store_drain(f.store, 0));
	assert_int_equal(rw_begin(&w->rw), RW_WAIT); /* not at the backend once more */
	assert_int_equal(rw_begin(&r->rw), RW_WAIT);
	assert_int_equal(rw_cancel(&w->rw), RW_DONE);
	assert_int_equal(rw_cancel(&r->rw), RW_DONE);
	assert_true(table_page(f.table, 1).in_flight);
	store_free(f.store);
	assert_int_equal(table_settle(f.table, f.fd, &settled, &e), 0);
	assert_int_equal(settled.kept_old, 2);
	assert_int_equal(settled.lost, 0);
	f.store = make_store(f.table, BACKEND_NFS);
	expect_now(0, 4, 0x01);
	free(w);
	free(r);
}

/* However many meet it, the file is opened anew once; until then nothing goes to the backend. */
static void stale_and_the_same(void **state)
{
	struct req *a, *b, *c = req_new(RW_WRITE, 10, 1, 0x03), *late;

	(void)state;
	write_now(0, 8, 0x01);
	a = begun(RW_WRITE, 0, 1, 0x02);
	b = begun(RW_READ, 4, 1, 0xee);
	late = begun(RW_READ, 5, 1, 0xee);
	assert_int_equal(rw_complete(&a->rw, -ESTALE), RW_LATER);
	assert_int_equal(rw_complete(&b->rw, -EBADF), RW_LATER);
	assert_int_equal(stales, 1);
	assert_int_equal(rw_begin(&a->rw), RW_LATER);
	assert_int_equal(rw_begin(&b->rw), RW_LATER);
	assert_int_equal(rw_begin(&c->rw), RW_WAIT);
	store_reopened(f.store);
	goes_on(a);
	goes_on(b);
	/* Its I/O had gone to the old description: that is no news. */
	assert_int_equal(rw_complete(&late->rw, -ESTALE), RW_LATER);
	assert_int_equal(stales, 1);
	goes_on(late);
	assert_true(c->wakes > 0);
	run(c, 0);
	expect_now(0, 1, 0x02);
	expect_now(10, 1, 0x03);
	/* The next time it is news again. */
	rw_init(&a->rw, f.store, RW_READ, 0, P, a->data, on_wake);
	assert_int_equal(rw_begin(&a->rw), RW_IO);
	assert_int_equal(rw_complete(&a->rw, -ESTALE), RW_LATER);
	assert_int_equal(stales, 2);
	store_reopened(f.store);
	goes_on(a);
	free(a);
	free(b);
	free(c);
	free(late);
}

static void stale_and_lost(void **state)
{
	struct req *a, *b, *c = req_new(RW_WRITE, 0, 1, 0x03), *d;

	(void)state;
	write_now(0, 8, 0x01);
	a = begun(RW_WRITE, 0, 1, 0x02);
	b = begun(RW_READ, 4, 1, 0xee);
	assert_int_equal(rw_complete(&a->rw, -ESTALE), RW_LATER);
	assert_int_equal(rw_complete(&b->rw, -ESTALE), RW_LATER);
	assert_int_equal(rw_begin(&c->rw), RW_WAIT);
	store_lost(f.store, "it is another file now");
	assert_non_null(strstr(said, "THE EXPORT IS LOST: it is another file now"));
	run(a, EIO);
	run(b, EIO);
	assert_true(c->wakes > 0);
	run(c, EIO);
	for (int op = RW_READ; op <= RW_DISCARD; op++) {
		d = req_new((enum rw_op)op, 3, 1, 0x04);
		run(d, EIO);
		assert_int_equal(d->rw.cause, ESTALE);
		free(d);
	}
	free(a);
	free(b);
	free(c);
}

/* One export with 16 MiB of writes that its backend holds up takes nothing that the other needs. */
static void another_export_goes_on(void **state)
{
	enum { STUCK = 16 << 20, BITE = RW_BITE_PAGES * PAGE_BYTES };
	const size_t n = STUCK / BITE;
	struct table *table = unit_table(STUCK / PAGE_BYTES, PAGE_FRESH);
	struct store *stuck = make_store(table, BACKEND_NFS);
	struct req **w = calloc(n, sizeof(*w)), *big = req_new(RW_READ, 0, 32, 0xee);
	size_t held = 0, waiting = 0;

	(void)state;
	assert_non_null(w);
	table_set_retry_time(table, 300);
	write_now(0, 32, 0x01);
	for (size_t i = 0; i < n; i++) {
		enum rw_next next;

		w[i] = req_new(RW_WRITE, 0, 1, 0x05);
		rw_init(&w[i]->rw, stuck, RW_WRITE, i * BITE, BITE, w[i]->data, on_wake);
		next = rw_begin(&w[i]->rw);
		if (next == RW_IO)
			next = rw_complete(&w[i]->rw, -ETIMEDOUT);
		held += next == RW_LATER;
		waiting += next == RW_WAIT;
	}
	assert_int_equal(held + waiting, n);
	assert_true(held > 0 && waiting > 0);
	assert_int_equal(table_counters(table)->held, held);
	for (int i = 0; i < 100; i++) {
		rw_init(&big->rw, f.store, RW_READ, 0, 32 * P, big->data, on_wake);
		run(big, 0);
		expect_pages(big->data, 32, 0x01);
		write_now(64, 32, 0x02);
	}
	for (size_t i = 0; i < n; i++) {
		assert_int_equal(rw_cancel(&w[i]->rw), RW_DONE);
		free(w[i]);
	}
	assert_int_equal(table_counters(table)->held, 0);
	free(w);
	free(big);
	store_free(stuck);
	table_free(table);
}

int main(void)
{
#define NFS(name) cmocka_unit_test_setup_teardown(name, setup_nfs, teardown_held)
#define EXT4(name) cmocka_unit_test_setup_teardown(name, setup_ext4, teardown_held)
	const struct CMUnitTest tests[] = {
		NFS(a_write_is_held),
		NFS(a_write_fails_at_last),
		NFS(discarded_while_held),
		NFS(a_read_is_held_without_end),
		NFS(eio_on_a_network_for_a_while),
		EXT4(lasting_on_a_local_disk),
		NFS(a_full_server_is_waited_for),
		NFS(given_up),
		NFS(a_waiter_given_up),
		NFS(drained_while_held),
		NFS(stale_and_the_same),
		NFS(stale_and_lost),
		NFS(another_export_goes_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
