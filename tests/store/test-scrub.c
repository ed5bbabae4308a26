/* SPDX-License-Identifier: BSD-3-Clause */
/* A scrub finds exactly the pages that the storage has changed, and none of those that a client writes meanwhile: shown with writes
 * put between its looks on purpose, and with another process that writes at random.
 */
#include "config.h"

#include "tests/store/support.h"

#include "store/lostlist.h"
#include "store/page.h"
#include "store/scrub.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGES 256

static struct fixture f;
static struct marker marker;
static struct scrub *scrub;
static enum backend_kind kind = BACKEND_EXT4;
static struct scrub_control control;
static struct scrub_totals totals;

/* ---- the backend as the scrub sees it ---- */

static uint64_t watched = UINT64_MAX;	      /* page; the first so many reads of it: */
static _Atomic int overtaken, flipped, failing;      /* a client writes it just before; come back changed; fail with: */
static int failure = EIO;
#define EVERY_PAGE (UINT64_MAX - 1)
static uint8_t next_content = 100;

ssize_t __real_pread(int fd, void *buf, size_t n, off_t at);
ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t at);

static void put(uint64_t page, uint8_t value)
{
	unsigned char data[PAGE_BYTES];

	fill_pages(data, 1, value);
	assert_int_equal(store_rw(f.store, NULL, RW_WRITE, page * PAGE_BYTES, PAGE_BYTES, data, NULL), 0);
}

ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t at)
{
	uint64_t first = (uint64_t)at / PAGE_BYTES;
	bool here = fd == f.fd && (watched == EVERY_PAGE || (watched >= first && watched < first + n / PAGE_BYTES));
	ssize_t r;

	if (here && overtaken > 0 && overtaken--)
		put(watched, next_content++);
	if (here && failing > 0 && failing--) {
		errno = failure;
		return -1;
	}
	r = __real_pread(fd, buf, n, at);
	if (here && flipped > 0 && flipped--)
		((unsigned char *)buf)[(watched - first) * PAGE_BYTES + 1000] ^= 1;
	return r;
}

/* ---- */

static void make(enum page_check check)
{
	struct table_spec spec = { .pages = PAGES, .check = check, .activation = 7, .uuid = "scrub test" };
	struct errbuf e;

	f.pages = PAGES;
	f.fd = scratch_file(PAGES * PAGE_BYTES);
	f.table = table_create(&spec, PAGE_FRESH, true, &e);
	f.pool = pool_create(64, true, &e);
	assert_non_null(f.table);
	assert_non_null(f.pool);
	f.store = store_create(&(struct store_options){ .name = "unit", .fd = f.fd, .table = f.table, .pool = f.pool }, &e);
	assert_non_null(f.store);
	marker_init(&marker, f.table);
	scrub = scrub_create(f.fd, kind, f.table, &marker, true, &e);
	assert_non_null(scrub);
	memset(&totals, 0, sizeof(totals));
	atomic_store(&control.rate, SCRUB_RATE_MAX);
	atomic_store(&control.cancel, false);
	watched = UINT64_MAX;
	overtaken = flipped = failing = 0;
}

static void unmake(void)
{
	scrub_free(scrub);
	fixture_free(&f);
}

static void run(void)
{
	struct errbuf e;

	memset(&totals, 0, sizeof(totals));
	assert_int_equal(scrub_run(scrub, &control, &totals, NULL, NULL, &e), 0);
	assert_int_equal(totals.position, PAGES);
}

/* Behind the store's back. */
static void corrupt(uint64_t page)
{
	unsigned char byte;

	assert_int_equal(pread(f.fd, &byte, 1, (off_t)(page * PAGE_BYTES + 17)), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(f.fd, &byte, 1, (off_t)(page * PAGE_BYTES + 17)), 1);
}

static int get(uint64_t page)
{
	unsigned char data[PAGE_BYTES];

	return store_rw(f.store, NULL, RW_READ, page * PAGE_BYTES, PAGE_BYTES, data, NULL);
}

static void test_finds_exactly(void **state)
{
	static const uint64_t bad[] = { 0, 40, 41, 100, PAGES - 1 };
	struct table_counters *c;
	struct lost_run r;

	make(CHECK_XXH3);
	c = table_counters(f.table);
	for (uint64_t i = 0; i < PAGES; i++)
		put(i, (uint8_t)(i % 90 + 1));
	run();
	assert_int_equal(totals.verified, PAGES);
	assert_int_equal(totals.bytes, PAGES * PAGE_BYTES);
	assert_int_equal(totals.mismatched, 0);
	for (size_t i = 0; i < 5; i++)
		corrupt(bad[i]);
	run();
	assert_int_equal(totals.verified, PAGES - 5);
	assert_int_equal(totals.mismatched, 5);
	assert_int_equal(totals.lost, 5);
	assert_int_equal(totals.skipped, 0);
	assert_int_equal(c->lost_pages, 5);
	assert_int_equal(c->checks_failed, 10);
	assert_int_equal(c->reread_good, 0);
	assert_true(lost_next(f.table, 0, &r));
	assert_int_equal(r.first, 0);
	assert_int_equal(r.count, 1);
	assert_true(lost_next(f.table, 1, &r));
	assert_int_equal(r.first, 40);
	assert_int_equal(r.count, 2);
	assert_true(lost_next(f.table, 101, &r));
	assert_int_equal(r.first, PAGES - 1);
	assert_int_equal(r.count, 1);
	for (uint64_t i = 0; i < PAGES; i++)
		assert_int_equal(get(i), i == 0 || i == 40 || i == 41 || i == 100 || i == PAGES - 1 ? EIO : 0);
	/* Lost before; nothing new. */
	run();
	assert_int_equal(totals.lost_before, 5);
	assert_int_equal(totals.mismatched, 0);
	/* Written anew they are good; a reset makes the rest fresh, and touches no other. */
	put(40, 5);
	put(100, 6);
	assert_int_equal(lost_reset(f.table), 3);
	assert_false(lost_next(f.table, 0, &r));
	run();
	assert_int_equal(totals.verified, PAGES - 3);
	assert_int_equal(totals.lost_before, 0);
	for (uint64_t i = 0; i < PAGES; i++)
		assert_int_equal(get(i), 0);
	unmake();
}

/* What the storage returns wrong once and right then is counted and not lost. */
static void test_second_look(void **state)
{
	make(CHECK_XXH3);
	for (uint64_t i = 0; i < PAGES; i++)
		put(i, 3);
	watched = 77;
	flipped = 1;
	run();
	assert_int_equal(totals.verified, PAGES);
	assert_int_equal(totals.mismatched, 1);
	assert_int_equal(totals.lost, 0);
	assert_int_equal(table_counters(f.table)->checks_failed, 1);
	assert_int_equal(table_counters(f.table)->reread_good, 1);
	unmake();
}

/* A client's write gets between the look at the entry and the read: what is read is not what that entry said, and that is no error. */
static void test_overtaken_by_writes(void **state)
{
	for (int writes = 1; writes <= 12; writes++) {
		make(CHECK_XXH3);
		for (uint64_t i = 0; i < PAGES; i++)
			put(i, 3);
		watched = 77;
		overtaken = writes;
		run();
		/* It looks nine times, gives up then, and says so. */
		assert_int_equal(totals.verified + totals.skipped, PAGES);
		assert_int_equal(totals.skipped, writes > 8);
		assert_int_equal(totals.mismatched, 0);
		assert_int_equal(totals.lost, 0);
		assert_int_equal(table_counters(f.table)->checks_failed, 0);
		assert_int_equal(get(77), 0);
		unmake();
	}
}

static void test_errors_of_the_backend(void **state)
{
	make(CHECK_XXH3);
	for (uint64_t i = 0; i < PAGES; i++)
		put(i, 3);
	/* One that passes at once; then one that stays: only that page, and it is not lost. */
	watched = 77;
	failing = 1;
	run();
	assert_int_equal(totals.verified, PAGES);
	assert_int_equal(totals.unreadable, 0);
	failing = 1000;
	run();
	assert_int_equal(totals.verified, PAGES - 1);
	assert_int_equal(totals.unreadable, 1);
	assert_int_equal(totals.lost, 0);
	assert_int_equal(totals.mismatched, 0);
	assert_int_equal(get(77), 0);
	/* The file has become shorter. */
	failing = 0;
	assert_int_equal(ftruncate(f.fd, 100 * PAGE_BYTES + 1), 0);
	run();
	assert_int_equal(totals.verified, 100);
	assert_int_equal(totals.unreadable, PAGES - 100);
	unmake();
}

static double seconds(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* An error that passes is waited out, as long as a write would be held; cancelled meanwhile, the page is not counted. */
static void *cancel_held(void *arg)
{
	while (failing > 900)
		usleep(1000);
	atomic_store(&control.cancel, true);
	return NULL;
}

static void test_waits_for_the_backend(void **state)
{
	struct errbuf e;
	double began;
	pthread_t t;

	kind = BACKEND_NFS;
	failure = ETIMEDOUT;
	make(CHECK_XXH3);
	for (uint64_t i = 0; i < PAGES; i++)
		put(i, 3);
	table_set_retry_time(f.table, 60);
	watched = 77;
	failing = 4;
	run();
	assert_int_equal(failing, 0);
	assert_int_equal(totals.verified, PAGES);
	assert_int_equal(totals.unreadable, 0);
	/* Its time is over. */
	table_set_retry_time(f.table, 0);
	failing = 1000000;
	run();
	assert_int_equal(totals.verified, PAGES - 1);
	assert_int_equal(totals.unreadable, 1);
	table_set_retry_time(f.table, 600);
	failing = 905;
	memset(&totals, 0, sizeof(totals));
	assert_int_equal(pthread_create(&t, NULL, cancel_held, NULL), 0);
	assert_int_equal(scrub_run(scrub, &control, &totals, NULL, NULL, &e), -1);
	pthread_join(t, NULL);
	assert_int_equal(totals.unreadable, 0);
	assert_int_equal(totals.position, 77);
	assert_int_equal(totals.verified, 77);
	failing = 0;
	atomic_store(&control.cancel, false);
	assert_int_equal(scrub_run(scrub, &control, &totals, NULL, NULL, &e), 0);
	assert_int_equal(totals.verified, PAGES);
	/* It does not come back: that is waited for once, not for each page. */
	table_set_retry_time(f.table, 1);
	watched = EVERY_PAGE;
	failing = 1000000;
	began = seconds();
	run();
	assert_int_equal(totals.unreadable, PAGES);
	assert_true(seconds() - began < 30);
	unmake();
	kind = BACKEND_EXT4;
	failure = EIO;
}

/* Only what is in the file is read. */
static void test_reads_written_pages_only(void **state)
{
	unsigned char zeros[PAGE_BYTES] = { 0 };

	make(CHECK_XXH3);
	for (uint64_t i = 0; i < PAGES; i += 2)
		assert_int_equal(store_rw(f.store, NULL, RW_WRITE, i * PAGE_BYTES, PAGE_BYTES, zeros, NULL), 0);
	run();
	assert_int_equal(totals.bytes, 0);
	assert_int_equal(totals.verified, 0);
	put(9, 1);
	put(10, 1);
	put(200, 1);
	assert_int_equal(store_rw(f.store, NULL, RW_DISCARD, 10 * PAGE_BYTES, PAGE_BYTES, NULL, NULL), 0);
	run();
	assert_int_equal(totals.bytes, 2 * PAGE_BYTES);
	assert_int_equal(totals.verified, 2);
	unmake();
}

static void test_without_check(void **state)
{
	make(CHECK_NONE);
	for (uint64_t i = 0; i < 10; i++)
		put(i, 3);
	corrupt(4);
	run();
	assert_int_equal(totals.unchecked, 10);
	assert_int_equal(totals.bytes, 0);
	assert_int_equal(totals.lost, 0);
	unmake();
}

/* 1 MiB at 1 MiB a second and at 4; upper limits are generous, the machine may be busy. */
static void test_rate(void **state)
{
	double t[2];

	make(CHECK_XXH3);
	for (uint64_t i = 0; i < PAGES; i++)
		put(i, 3);
	for (int i = 0; i < 2; i++) {
		atomic_store(&control.rate, (UINT64_C(1) << 20) << 2 * i);
		t[i] = seconds();
		run();
		t[i] = seconds() - t[i];
	}
	print_message("1 MiB took %.2f s at 1 MiB/s, %.2f s at 4 MiB/s\n", t[0], t[1]);
	assert_true(t[0] > 0.9 && t[0] < 10);
	assert_true(t[1] > 0.2 && t[1] < t[0]);
	unmake();
}

static void *cancel_soon(void *arg)
{
	while (atomic_load(&totals.bytes) == 0)
		usleep(1000);
	atomic_store(&control.cancel, true);
	return NULL;
}

static void test_cancel_and_go_on(void **state)
{
	struct errbuf e;
	pthread_t t;
	double began;

	make(CHECK_XXH3);
	for (uint64_t i = 0; i < PAGES; i++)
		put(i, 3);
	atomic_store(&control.rate, SCRUB_RATE_MIN / 16); /* 16 s, were it not cancelled */
	began = seconds();
	assert_int_equal(pthread_create(&t, NULL, cancel_soon, NULL), 0);
	assert_int_equal(scrub_run(scrub, &control, &totals, NULL, NULL, &e), -1);
	pthread_join(t, NULL);
	assert_int_equal(e.code, EINTR);
	assert_true(seconds() - began < 8);
	assert_in_range(totals.position, 1, PAGES - 1);
	atomic_store(&control.rate, SCRUB_RATE_MAX);
	atomic_store(&control.cancel, false);
	assert_int_equal(scrub_run(scrub, &control, &totals, NULL, NULL, &e), 0);
	assert_int_equal(totals.verified, PAGES);
	unmake();
}

/* ---- another process serves it ---- */

#define WRITERS 4

static _Atomic uint64_t *writes; /* shared */
static _Atomic bool *enough;

static void *write_at_random(void *arg)
{
	unsigned seed = (unsigned)(size_t)arg * 7919;
	unsigned char data[8 * PAGE_BYTES];

	while (!atomic_load(enough)) {
		uint64_t n = (uint64_t)rand_r(&seed) % 8 + 1, first = (uint64_t)rand_r(&seed) % (PAGES - n);
		enum rw_op op = rand_r(&seed) % 10 == 0 ? RW_DISCARD : RW_WRITE;

		fill_pages(data, n, (uint8_t)(rand_r(&seed) % 200 + 1));
		if (store_rw(f.store, NULL, op, first * PAGE_BYTES, n * PAGE_BYTES, op == RW_WRITE ? data : NULL, NULL) != 0)
			_exit(1);
		atomic_fetch_add(writes, 1);
	}
	return NULL;
}

static void serve(void)
{
	struct errbuf e;
	pthread_t t[WRITERS];
	struct table *mine = table_map(table_fd(f.table), true, &e);

	if (!mine)
		_exit(2);
	f.table = mine;
	f.store = store_create(&(struct store_options){ .name = "child", .fd = f.fd, .table = mine, .pool = f.pool }, &e);
	for (size_t i = 0; i < WRITERS; i++)
		if (pthread_create(&t[i], NULL, write_at_random, (void *)(i + 1)) != 0)
			_exit(3);
	for (size_t i = 0; i < WRITERS; i++)
		pthread_join(t[i], NULL);
	_exit(0);
}

static void test_no_false_positive_under_writes(void **state)
{
	uint64_t verified = 0, skipped = 0, rounds = 0;
	struct table_totals n;
	double began = seconds();
	int status;
	pid_t pid;

	make(CHECK_XXH3);
	writes = mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert_ptr_not_equal(writes, MAP_FAILED);
	enough = (_Atomic bool *)(writes + 1);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		serve();
	while ((verified < 100000 || atomic_load(writes) < 20000) && seconds() - began < 120) {
		run();
		rounds++;
		verified += totals.verified;
		skipped += totals.skipped;
		if (totals.mismatched || totals.lost)
			break;
	}
	atomic_store(enough, true);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	print_message("%lu rounds: %lu pages verified, %lu skipped, beside %lu requests\n", (unsigned long)rounds,
		      (unsigned long)verified, (unsigned long)skipped, (unsigned long)*writes);
	assert_int_equal(status, 0);
	assert_int_equal(totals.mismatched, 0);
	assert_int_equal(totals.lost, 0);
	assert_int_equal(table_counters(f.table)->checks_failed, 0);
	assert_true(verified >= 100000);
	table_count(f.table, &n);
	assert_int_equal(n.lost, 0);
	munmap((void *)writes, PAGE_BYTES);
	unmake();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_finds_exactly), cmocka_unit_test(test_second_look),
		cmocka_unit_test(test_overtaken_by_writes), cmocka_unit_test(test_errors_of_the_backend),
		cmocka_unit_test(test_waits_for_the_backend),
		cmocka_unit_test(test_reads_written_pages_only), cmocka_unit_test(test_without_check), cmocka_unit_test(test_rate),
		cmocka_unit_test(test_cancel_and_go_on), cmocka_unit_test(test_no_false_positive_under_writes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
