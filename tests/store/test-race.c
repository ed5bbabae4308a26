/* SPDX-License-Identifier: BSD-3-Clause */
/* Several threads with overlapping random requests against a model of what each page may hold: an answer must be one of the values that
 * were possible between the request's begin and its end, and once all is quiet the content of a page is that of a last write.
 * The pool is so small that requests wait for buffers.
 *
 * Each write stamps its pages with a number of its own.  For a page the model keeps the last write that had ended before a read
 * began; the read may see that one or any that began later or was under way, never an older one.
 */
#include "config.h"

#include "tests/store/support.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGES 96
#define THREADS 6
#define ROUNDS 4000
#define MOST 48
#define STAMPS (THREADS * ROUNDS + 1)

static struct fixture f;
static _Atomic uint64_t clock_now = 1;
static _Atomic int failures;

/* By stamp: when the write (or discard) began and ended; 0: not yet. Stamp 0 is the fresh page. */
static _Atomic uint64_t began[STAMPS], ended[STAMPS];
/* By page: the greatest begin time among the writes that have ended there.  A value whose write ended before that one began is stale. */
static _Atomic uint64_t floor_of[PAGES];
static _Atomic uint32_t last_discard[PAGES];

static uint64_t tick(void)
{
	return atomic_fetch_add(&clock_now, 1);
}

static void raise_floor(unsigned page, uint64_t begin)
{
	uint64_t have = atomic_load(&floor_of[page]);

	while (have < begin && !atomic_compare_exchange_weak(&floor_of[page], &have, begin))
		;
}

/* Every third stamp makes pages of one value, which are only entries; of the others the last word is turned over. */
static uint64_t last_word(uint64_t stamp)
{
	return stamp % 3 ? ~stamp : stamp;
}

/* The stamp of a page, or -1 when it is torn: every word of it must be the same. */
static int64_t stamp_of(const unsigned char *page)
{
	uint64_t first, word;

	memcpy(&first, page, sizeof(first));
	for (size_t i = 8; i < PAGE_BYTES; i += 8) {
		memcpy(&word, page + i, sizeof(word));
		if (word != (i == PAGE_BYTES - 8 ? last_word(first) : first))
			return -1;
	}
	return first < STAMPS ? (int64_t)first : -1;
}

static void wrong(const char *what, unsigned page, int64_t stamp)
{
	print_error("page %u: %s (stamp %lld)\n", page, what, (long long)stamp);
	atomic_fetch_add(&failures, 1);
}

/* floor: that of the page when the read began; end: when it had ended. */
static void judge(unsigned page, const unsigned char *data, uint64_t floor, uint64_t end)
{
	int64_t stamp = stamp_of(data);
	uint64_t e;

	if (stamp < 0) {
		wrong("torn", page, stamp);
		return;
	}
	if (stamp == 0) {
		/* Zeros: never written, or a discard that may still be the last word. */
		uint32_t d = atomic_load(&last_discard[page]);

		if (floor && !d)
			wrong("zeros over a write", page, stamp);
		return;
	}
	if (atomic_load(&began[stamp]) > end)
		wrong("from the future", page, stamp);
	e = atomic_load(&ended[stamp]);
	if (e && e < floor)
		wrong("older than an acknowledged write", page, stamp);
}

static void *worker(void *arg)
{
	unsigned id = (unsigned)(uintptr_t)arg, seed = id * 7919 + 1;
	unsigned char *data = malloc(MOST * PAGE_BYTES);

	for (unsigned n = 0; n < ROUNDS && !atomic_load(&failures); n++) {
		unsigned count = 1 + (unsigned)rand_r(&seed) % MOST, page = (unsigned)rand_r(&seed) % (PAGES - count + 1);
		unsigned kind = (unsigned)rand_r(&seed) % 16;
		enum rw_op op = kind < 7 ? RW_WRITE : kind < 15 ? RW_READ : RW_DISCARD;
		uint64_t stamp = 1 + (uint64_t)id * ROUNDS + n, floors[MOST], begin;

		for (size_t i = 0; op == RW_WRITE && i < count * PAGE_BYTES; i += 8) {
			uint64_t word = i % PAGE_BYTES == PAGE_BYTES - 8 ? last_word(stamp) : stamp;

			memcpy(data + i, &word, sizeof(word));
		}
		for (unsigned i = 0; i < count; i++) {
			floors[i] = atomic_load(&floor_of[page + i]);
			if (op == RW_DISCARD)
				atomic_fetch_add(&last_discard[page + i], 1);
		}
		begin = tick();
		atomic_store(&began[stamp], begin);
		if (store_rw(f.store, NULL, op, (uint64_t)page * PAGE_BYTES, (uint64_t)count * PAGE_BYTES, data, NULL) != 0)
			wrong("an error", page, 0);
		if (op == RW_READ) {
			uint64_t end = tick();

			for (unsigned i = 0; i < count; i++)
				judge(page + i, data + (size_t)i * PAGE_BYTES, floors[i], end);
			continue;
		}
		atomic_store(&ended[stamp], tick());
		for (unsigned i = 0; i < count; i++)
			raise_floor(page + i, begin);
	}
	free(data);
	return NULL;
}

static void race(void **state)
{
	pthread_t threads[THREADS];
	unsigned char page[PAGE_BYTES];

	(void)state;
	clock_now = 1;
	memset((void *)began, 0, sizeof(began));
	memset((void *)ended, 0, sizeof(ended));
	memset((void *)floor_of, 0, sizeof(floor_of));
	memset((void *)last_discard, 0, sizeof(last_discard));
	fixture_make(&f, PAGES, 8, PAGE_FRESH);
	for (uintptr_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, worker, (void *)i), 0);
	for (int i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(failures, 0);
	for (unsigned i = 0; i < PAGES; i++) {
		assert_int_equal(store_rw(f.store, NULL, RW_READ, (uint64_t)i * PAGE_BYTES, PAGE_BYTES, page, NULL), 0);
		judge(i, page, atomic_load(&floor_of[i]), tick());
		/* Quiet now: what the store says is what lies in the file. */
		if (table_page(f.table, i).state == PAGE_WRITTEN && !table_seal(f.table)) {
			unsigned char raw[PAGE_BYTES];

			assert_int_equal(pread(f.fd, raw, PAGE_BYTES, (off_t)i * PAGE_BYTES), PAGE_BYTES);
			assert_memory_equal(raw, page, PAGE_BYTES);
		}
	}
	assert_int_equal(failures, 0);
	assert_int_equal(table_counters(f.table)->in_flight, 0);
	assert_true(store_drain(f.store, 1000));
	fixture_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(race) };
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	failed += cmocka_run_group_tests_name("kept", tests, unit_keep, unit_keep_not);
	failed += cmocka_run_group_tests(tests, unit_seal, NULL);
	return failed + cmocka_run_group_tests_name("sealed and kept", tests, unit_keep, unit_keep_not);
}
