/* SPDX-License-Identifier: BSD-3-Clause */
/* A client whose requests hang goes on in another session, sends there again what was not answered, and then newer content: nothing of the
 * old session may come to lie over that. The backend answers up to 7 s late and the client's patience is 2 s, in a time that the test makes
 * itself, so that ten thousand take-overs take seconds. What a worker's threads do late, they do at any instant: begin a request that was
 * still in the old socket, begin one again that waited, try one again that was held.
 */
#include "config.h"

#include "store/store_priv.h"
#include "tests/store/byhand.h"

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REPEATS 10000u
#define REGION 6u /* pages that the requests of one repeat are about */
#define DELAY_MS 7000u
#define PATIENCE_MS 2000
#define OLD_MOST 5u
#define MOST 40u

enum doing { NOT_BEGUN, WAITING, AT_BACKEND, LATER, ANSWERED };

struct request {
	struct rw rw; /* first: wake() gets it */
	enum doing doing;
	int64_t due; /* when a thread goes on with it; INT64_MAX: nothing to do before it is woken */
	uint32_t first, pages;
	uint8_t value;
	bool late; /* of the old session, in its socket when that is ended */
	unsigned char data[REGION * PAGE_BYTES];
};

static struct request requests[MOST];
static unsigned used;
static struct rw_session old_session, new_session;
static int64_t now;
static uint32_t base;
static unsigned seed = 1;
static uint64_t cancelled, waited, held;

static unsigned below(unsigned n)
{
	return (unsigned)rand_r(&seed) % n;
}

static int64_t now_ms(void)
{
	return now;
}

static void wake(struct rw *rw)
{
	struct request *r = (struct request *)(void *)rw;

	if (r->doing == WAITING && r->due == INT64_MAX)
		r->due = now + below(20); /* its thread runs when it runs */
}

static void take(struct request *r, enum rw_next next)
{
	switch (next) {
	case RW_IO:
		r->doing = AT_BACKEND;
		r->due = now + (below(2) ? below(DELAY_MS) : below(30));
		return;
	case RW_SYNC:
		fail_msg("this export does not survive the host");
		return;
	case RW_WAIT:
		waited++;
		r->doing = WAITING;
		r->due = INT64_MAX;
		return;
	case RW_LATER:
		held++;
		r->doing = LATER;
		r->due = now + r->rw.later_ms;
		return;
	case RW_DONE:
		r->doing = ANSWERED;
		r->due = INT64_MAX;
		if (r->rw.session == &old_session && r->rw.cause == ECANCELED)
			cancelled++;
		else
			assert_int_equal(r->rw.error, 0);
		return;
	}
}

/* The write lands now, whole or in part, or the backend refuses it for now. */
static void land(struct request *r)
{
	unsigned dice = below(12);
	size_t all = 0;
	ssize_t moved = 0;

	for (int i = 0; i < r->rw.iovcnt; i++)
		all += r->rw.iov[i].iov_len;
	if (dice == 0) {
		take(r, rw_complete(&r->rw, -ETIMEDOUT));
		return;
	}
	if (dice == 1 && all > PAGE_BYTES)
		all -= PAGE_BYTES;
	for (int i = 0; i < r->rw.iovcnt && (size_t)moved < all; i++) {
		size_t n = r->rw.iov[i].iov_len < all - (size_t)moved ? r->rw.iov[i].iov_len : all - (size_t)moved;

		assert_int_equal(pwrite(r->rw.fd, r->rw.iov[i].iov_base, n, r->rw.position + moved), n);
		moved += (ssize_t)n;
	}
	take(r, rw_complete(&r->rw, moved));
}

static void go_on(struct request *r)
{
	if (r->doing == AT_BACKEND)
		land(r);
	else
		take(r, rw_begin(&r->rw));
}

/* What happens until then, in order. */
static void run_until(int64_t end)
{
	for (;;) {
		struct request *next = NULL;

		for (unsigned i = 0; i < used; i++)
			if (requests[i].doing != ANSWERED && requests[i].due <= end && (!next || requests[i].due < next->due))
				next = &requests[i];
		if (!next)
			break;
		if (next->due > now)
			now = next->due;
		go_on(next);
	}
	now = end;
}

static struct request *make(struct rw_session *session, enum rw_op op, uint32_t first, uint32_t pages, uint8_t value)
{
	struct request *r = &requests[used++];

	assert_true(used <= MOST);
	r->doing = NOT_BEGUN;
	r->due = INT64_MAX;
	r->late = false;
	r->first = first;
	r->pages = pages;
	r->value = value;
	fill_pages(r->data, pages, value);
	if (value % 5 == 0) /* of one value: only an entry */
		memset(r->data, value, pages * PAGE_BYTES);
	rw_init(&r->rw, f.store, op, (base + first) * P, pages * P, op == RW_DISCARD ? NULL : r->data, wake);
	r->rw.session = session;
	return r;
}

/* Until each of these is answered; in the order of the client's sending, or another. */
static void answer_all(unsigned from)
{
	unsigned to = used;
	int64_t end = now + 100 * DELAY_MS;

	for (;;) {
		bool open = false;

		for (unsigned i = from; i < to; i++)
			open |= requests[i].doing != ANSWERED;
		if (!open)
			return;
		assert_true(now < end);
		run_until(now + 1 + below(50));
	}
}

static void send_old(uint8_t value)
{
	unsigned n = 1 + below(OLD_MOST);

	for (unsigned i = 0; i < n; i++) {
		uint32_t first = below(REGION), pages = 1 + below(REGION - first);
		struct request *r = make(&old_session, below(8) ? RW_WRITE : RW_DISCARD, first, pages, (uint8_t)(value + i));

		/* Some are still in the socket, or their thread has not run. */
		r->late = i > 0 && below(3) == 0;
		if (!r->late)
			r->due = now + below(100);
	}
}

static unsigned stale_pages(uint8_t value, bool same)
{
	unsigned char data[REGION * PAGE_BYTES], want[PAGE_BYTES];
	unsigned stale = 0;

	fill_pages(want, 1, value);
	if (same)
		memset(want, value, sizeof(want));
	assert_int_equal(store_rw(f.store, NULL, RW_READ, base * P, REGION * P, data, NULL), 0);
	for (unsigned i = 0; i < REGION; i++)
		stale += memcmp(data + (size_t)i * PAGE_BYTES, want, PAGE_BYTES) != 0;
	return stale;
}

static unsigned take_over(void)
{
	uint8_t value = (uint8_t)(1 + below(200)), newest = (uint8_t)(value + OLD_MOST);
	unsigned old, from;

	used = 0;
	base = below(PAGES - REGION);
	old_session.ended = new_session.ended = false;
	send_old(value);
	old = used;
	run_until(now + PATIENCE_MS);

	store_end_session(f.store, &old_session);
	from = used;
	for (unsigned i = 0; i < old; i++) {
		const struct request *o = &requests[i];

		if (o->doing != ANSWERED || o->rw.cause == ECANCELED)
			make(&new_session, o->rw.op, o->first, o->pages, o->value)->due = now + below(100);
		/* What the old session had in its socket is begun at any time from now on. */
		if (o->late)
			requests[i].due = now + below(3 * DELAY_MS);
	}
	answer_all(from);
	from = used;
	make(&new_session, RW_WRITE, 0, REGION, newest)->due = now;
	answer_all(from);
	answer_all(0);
	return stale_pages(newest, newest % 5 == 0);
}

static int setup_world(void **state)
{
	struct store_options o;
	struct errbuf e;

	(void)state;
	fixture_make(&f, PAGES, 64, PAGE_FRESH);
	store_free(f.store);
	o = (struct store_options){ .name = "unit", .fd = f.fd, .table = f.table, .pool = f.pool, .kind = BACKEND_NFS, .now_ms = now_ms };
	f.store = store_create(&o, &e);
	assert_non_null(f.store);
	table_set_retry_time(f.table, 300);
	return 0;
}

static void nothing_old_comes_last(void **state)
{
	size_t heap = mallinfo2().uordblks;
	unsigned stale = 0;

	(void)state;
	for (unsigned n = 0; n < REPEATS; n++) {
		stale += take_over();
		/* No growth. */
		assert_null(f.store->queue);
		assert_int_equal(f.store->free_slots, SLOTS);
		assert_int_equal(f.store->at_backend, 0);
		assert_int_equal(table_counters(f.table)->in_flight, 0);
		assert_int_equal(table_counters(f.table)->held, 0);
	}
	assert_true(mallinfo2().uordblks <= heap);
	print_message("%u take-overs: %llu requests cancelled, %llu waited, %llu held, %u pages stale\n", REPEATS,
		      (unsigned long long)cancelled, (unsigned long long)waited, (unsigned long long)held, stale);
	assert_int_equal(stale, 0);
	assert_true(cancelled > REPEATS / 4 && waited > REPEATS / 4 && held > REPEATS / 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test_setup_teardown(nothing_old_comes_last, setup_world, teardown) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
