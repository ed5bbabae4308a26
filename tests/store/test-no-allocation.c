/* SPDX-License-Identifier: BSD-3-Clause */
/* After warm-up 100,000 requests ask the system for no memory: malloc and its kin, mmap, brk are counted, and so are page faults. */
#include "config.h"

#include "tests/countmalloc.h"
#include "tests/store/support.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define PAGES 4096
#define REQUESTS 100000

static _Atomic unsigned long calls;
static _Atomic int counting;

static void count(void)
{
	if (counting)
		atomic_fetch_add(&calls, 1);
}

void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
	static void *(*real)(void *, size_t, int, int, int, off_t);

	count();
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "mmap");
	return real(at, n, prot, flags, fd, offset);
}

int brk(void *end)
{
	static int (*real)(void *);

	count();
	if (!real)
		*(void **)&real = dlsym(RTLD_NEXT, "brk");
	return real(end);
}

/* data: what is written, 40 pages; behind it as many for what is read. */
static void requests(struct store *s, unsigned char *data, unsigned long n, unsigned *seed)
{
	while (n--) {
		uint64_t count_pages = 1 + (uint64_t)rand_r(seed) % 40, page = (uint64_t)rand_r(seed) % (PAGES - 40);
		enum rw_op op = (enum rw_op)((unsigned)rand_r(seed) % 3);
		int cause;

		assert_int_equal(store_rw(s, NULL, op, page * PAGE_BYTES, count_pages * PAGE_BYTES,
					  data + (op == RW_READ ? 40 * PAGE_BYTES : 0), &cause), 0);
	}
}

static void nothing_is_allocated(void **state)
{
	struct fixture f;
	struct rusage before, after;
	unsigned char *data = malloc(80 * PAGE_BYTES);
	unsigned seed = 5;
	void *end;

	(void)state;
	fixture_make(&f, PAGES, 64, PAGE_FRESH);
	fill_pages(data, 80, 1);
	memset(data + 7 * PAGE_BYTES, 1, PAGE_BYTES); /* one that is only an entry */
	requests(f.store, data, 2000, &seed);
	end = sbrk(0);
	getrusage(RUSAGE_SELF, &before);
	calls = 0;
	counting = 1;
	requests(f.store, data, REQUESTS, &seed);
	counting = 0;
	getrusage(RUSAGE_SELF, &after);
	assert_int_equal(calls, 0);
	assert_ptr_equal(sbrk(0), end);
	/* All ways were gone. */
	assert_true(table_counters(f.table)->same_pages > REQUESTS / 10);
	assert_true(table_counters(f.table)->written_pages > table_counters(f.table)->same_pages * 2);
	/* No fault of either kind: what is used is there.  (A few may come from the system's own housekeeping.) */
	print_message("page faults in %d requests: %ld minor, %ld major\n", REQUESTS, after.ru_minflt - before.ru_minflt,
		      after.ru_majflt - before.ru_majflt);
	assert_int_equal(after.ru_majflt - before.ru_majflt, 0);
	assert_true(after.ru_minflt - before.ru_minflt < 100);
	fixture_free(&f);
	free(data);
}

/* The counter counts: otherwise the test above says nothing. */
static void counter_counts(void **state)
{
	void *p;

	(void)state;
	calls = 0;
	counting = 1;
	p = malloc(10);
	free(realloc(p, 5000));
	p = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	counting = 0;
	munmap(p, 4096);
	assert_int_equal(calls, 3);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counter_counts),
		cmocka_unit_test(nothing_is_allocated),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	failed += cmocka_run_group_tests_name("kept", tests, unit_keep, unit_keep_not);
	failed += cmocka_run_group_tests(tests, unit_seal, NULL);
	return failed + cmocka_run_group_tests_name("sealed and kept", tests, unit_keep, unit_keep_not);
}
