/* SPDX-License-Identifier: BSD-3-Clause */
/* The pool: an export's reserve is its own, half of it only for reads; nobody takes more than half of what is common. */
#include "config.h"

#include "tests/store/support.h"

#include "store/page.h"
#include "store/pool.h"

#include <stdint.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define HALF (POOL_RESERVE_PAGES / 2)

static struct pool *make(size_t pages)
{
	struct errbuf e;
	struct pool *p = pool_create(pages, true, &e);

	assert_non_null(p);
	return p;
}

static struct pool_share *join(struct pool *p)
{
	struct errbuf e;
	struct pool_share *s = pool_join(p, &e);

	assert_non_null(s);
	return s;
}

static void pages_are_aligned_and_distinct(void **state)
{
	struct pool *p = make(8);
	struct pool_share *s = join(p);
	void *a[HALF], *b[HALF];

	(void)state;
	assert_true(pool_take(s, true, HALF, a));
	assert_true(pool_take(s, true, HALF, b));
	for (int i = 0; i < HALF; i++) {
		assert_int_equal((uintptr_t)a[i] % PAGE_BYTES, 0);
		memset(a[i], 1, PAGE_BYTES);
		memset(b[i], 2, PAGE_BYTES);
		for (int k = 0; k < HALF; k++) {
			assert_ptr_not_equal(a[i], b[k]);
			assert_true(i == k || a[i] != a[k]);
		}
	}
	pool_give(s, HALF, a);
	pool_give(s, HALF, b);
	pool_leave(s);
	pool_free(p);
}

/* With nothing in common: writes get half of the reserve, reads all of it; all or nothing; given back it is there again. */
static void reads_have_a_reserve(void **state)
{
	struct pool *p = make(1);
	struct pool_share *s = join(p);
	void *w[HALF], *r[HALF], *x[HALF];

	(void)state;
	for (int round = 0; round < 3; round++) {
		assert_true(pool_take(s, false, HALF, w));
		assert_false(pool_take(s, false, 1, x)); /* the one common page is more than half of one */
		assert_true(pool_take(s, true, HALF, r));
		assert_false(pool_take(s, true, 1, x));
		pool_give(s, HALF, w);
		assert_true(pool_take(s, true, HALF, x));
		assert_false(pool_take(s, false, 1, w));
		pool_give(s, HALF, x);
		/* 32 free of 64 and all of them kept for reads. */
		assert_false(pool_take(s, false, 1, x));
		pool_give(s, 2, r);
		assert_true(pool_take(s, false, 2, x));
		assert_false(pool_take(s, false, 1, w));
		pool_give(s, 2, x);
		pool_give(s, HALF - 2, r + 2);
	}
	pool_leave(s);
	pool_free(p);
}

static void half_of_the_common_part(void **state)
{
	struct pool *p = make(40);
	struct pool_share *a = join(p), *b = join(p);
	void *own[HALF], *held[20], *x[HALF], *y[20];

	(void)state;
	assert_true(pool_take(a, false, HALF, own)); /* its own part that writes may use */
	assert_false(pool_take(a, false, 21, held)); /* all or nothing */
	assert_true(pool_take(a, false, 20, held));
	assert_false(pool_take(a, false, 1, x));
	/* The other one is untouched: its reserve and its half. */
	assert_true(pool_take(b, false, HALF, x));
	assert_true(pool_take(b, false, 20, y));
	assert_false(pool_take(b, false, 1, own));
	pool_give(a, 20, held);
	assert_true(pool_take(a, false, 20, held));
	pool_give(a, 20, held);
	pool_give(b, 20, y);
	pool_give(b, HALF, x);
	pool_give(a, HALF, own);
	pool_leave(b);
	pool_leave(a);
	pool_free(p);
}

/* A page from the common part goes back there, not into the reserve of who had it. */
static void pages_return_where_they_came_from(void **state)
{
	struct pool *p = make(4);
	struct pool_share *a = join(p);
	void *own[HALF], *mixed[2];

	(void)state;
	for (int round = 0; round < 100; round++) {
		assert_true(pool_take(a, false, HALF - 1, own));
		assert_true(pool_take(a, false, 2, mixed)); /* one of each */
		pool_give(a, 2, mixed);
		pool_give(a, HALF - 1, own);
	}
	assert_true(pool_take(a, false, HALF, own));
	assert_true(pool_take(a, false, 2, mixed));
	assert_false(pool_take(a, false, 1, own));
	pool_give(a, 2, mixed);
	pool_give(a, HALF, own);
	pool_leave(a);
	pool_free(p);
}

/* A fork must not make the buffers copy-on-write: the next use of each would fault, and allocate. */
static void a_fork_changes_nothing(void **state)
{
	struct pool *p = make(4);
	struct pool_share *s = join(p);
	struct rusage before, after;
	void *a[HALF];
	int hold[2], status;
	pid_t pid;

	(void)state;
	assert_true(pool_take(s, true, HALF, a));
	assert_int_equal(pipe(hold), 0);
	pid = fork();
	if (pid == 0) {
		char c;

		close(hold[1]);
		_exit(read(hold[0], &c, 1) != 0);
	}
	memset(&after, 0, sizeof(after));
	getrusage(RUSAGE_SELF, &before);
	for (int i = 0; i < HALF; i++)
		memset(a[i], i, PAGE_BYTES);
	getrusage(RUSAGE_SELF, &after);
	assert_true(after.ru_minflt - before.ru_minflt < HALF / 2);
	close(hold[1]);
	close(hold[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	pool_give(s, HALF, a);
	pool_leave(s);
	pool_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(pages_are_aligned_and_distinct),
		cmocka_unit_test(reads_have_a_reserve),
		cmocka_unit_test(half_of_the_common_part),
		cmocka_unit_test(pages_return_where_they_came_from),
		cmocka_unit_test(a_fork_changes_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
