/* SPDX-License-Identifier: BSD-3-Clause */
/* An export's pages, when a worker dies and when it is released. */
#include "config.h"

#include "tests/server/exportworld.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void test_worker_death(void **state)
{
	struct table_totals n;
	struct export *x;

	begin();
	x = activate(NULL);
	write_two(x);
	export_settle(x);
	assert_int_equal(x->state, EXPORT_SETTLING);
	assert_int_not_equal(export_refusal(x, NULL), 0); /* nobody gets it before it is settled */
	ev_run(set.arg, 0);
	assert_ptr_equal(last_settled, x);
	assert_int_equal(x->state, EXPORT_READY);
	assert_int_equal(barriers, 1);
	table_count(x->table, &n);
	assert_int_equal(n.lost, 1);
	assert_int_equal(n.written, 1);
	assert_int_equal(table_page(x->table, 2).state, PAGE_LOST);
	release(x);
	assert_int_equal(barriers, 1); /* it was settled already */
	end(x);
}

static void test_no_barrier_loses_all(void **state)
{
	struct table_totals n;
	uint64_t before;
	struct export *x;

	begin();
	x = activate(NULL);
	write_two(x);
	before = backing_activation(x->backing);
	barrier_error = ENOTSUP;
	export_settle(x);
	ev_run(set.arg, 0);
	table_count(x->table, &n);
	assert_int_equal(n.lost, PAGES);
	assert_true(backing_activation(x->backing) > before); /* a new generation: nobody resumes onto it */
	assert_non_null(strstr(x->note, "EVERY PAGE IS LOST"));
	release(x);
	end(x);
}

/* A backend that is away for a moment says nothing of the pages: it is asked again. */
static void test_barrier_that_fails_in_passing(void **state)
{
	static const int codes[] = { ETIMEDOUT, ENOMEM, ESTALE };

	(void)state;
	for (size_t i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		struct table_totals n;
		struct export *x;

		begin();
		x = activate(NULL);
		table_set_retry_time(x->table, 300);
		write_two(x);
		barrier_error = codes[i];
		barrier_errors = 2;
		export_settle(x);
		ev_run(set.arg, 0);
		assert_int_equal(barriers, 3);
		table_count(x->table, &n);
		assert_int_equal(n.written, 1);
		assert_int_equal(n.lost, 1); /* the one in flight, which has no mark to be known by */
		barrier_error = barrier_errors = 0;
		release(x);
		end(x);
	}
}

/* Nor does it when the export has been taken out of the configuration meanwhile: its client may come back after that. */
static void test_removed_while_settling(void **state)
{
	struct table_totals n;
	struct export *x;

	(void)state;
	begin();
	x = activate(NULL);
	table_set_retry_time(x->table, 300);
	write_two(x);
	barrier_error = ETIMEDOUT;
	barrier_errors = 2;
	export_settle(x);
	export_unwanted(x);
	ev_run(set.arg, 0);
	assert_int_equal(barriers, 3);
	table_count(x->table, &n);
	assert_int_equal(n.written, 1);
	barrier_error = barrier_errors = 0;
	release(x);
	end(x);
}

/* The file has become another one when the handle is found to be stale. */
static void test_lost_while_settling(void **state)
{
	struct export *x;

	(void)state;
	begin();
	x = activate(NULL);
	write_two(x);
	assert_int_equal(unlink(export_file()), 0);
	close(open(export_file(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_int_equal(truncate(export_file(), (off_t)PAGES * 2 * PAGE_BYTES), 0);
	barrier_error = ESTALE;
	table_set_retry_time(x->table, 300);
	export_settle(x);
	ev_run(set.arg, 0);
	assert_int_equal(x->state, EXPORT_READY);
	assert_non_null(strstr(x->file_lost, "another file"));
	assert_int_not_equal(export_refusal(x, NULL), 0);
	barrier_error = 0;
	release(x);
	end(x);
}

static void test_release_after_unsettled_death(void **state)
{
	struct table_totals n;
	struct export *x;

	begin();
	x = activate(NULL);
	write_two(x);
	x->dirty = true; /* the worker died when the daemon was stopping */
	release(x);
	assert_int_equal(barriers, 1);
	activate(x);
	table_count(x->table, &n);
	assert_int_equal(n.written, 1);
	assert_int_equal(n.lost, 1);
	release(x);
	end(x);
}

static pthread_t loops_thread;
static unsigned closed_on_loop;

void __real_backing_close(struct backing *b);
void __wrap_backing_close(struct backing *b);
void __wrap_backing_close(struct backing *b)
{
	closed_on_loop += b && pthread_equal(pthread_self(), loops_thread);
	__real_backing_close(b);
}

/* To close the file is to give its lock back, and a server that is away may not answer that: not on the thread that serves everybody. */
static void test_release_closes_elsewhere(void **state)
{
	struct export *x;

	(void)state;
	loops_thread = pthread_self();
	begin();
	x = activate(NULL);
	closed_on_loop = 0;
	release(x);
	assert_int_equal(closed_on_loop, 0);
	end(x);
}

static void test_release_keeps_pages(void **state)
{
	struct table_totals n;
	struct export *x;

	begin();
	x = activate(NULL);
	write_one(x);
	release(x);
	assert_int_equal(barriers, 0);
	activate(x);
	table_count(x->table, &n);
	assert_int_equal(n.fresh, PAGES - 1);
	assert_int_equal(n.written, 1);
	release(x);
	end(x);
}

/* What a dead worker left could not be waited for, and pages have no checks: nobody gets the file while it may still come, which is as long as the
 * description that the worker had is there.
 */
static void test_orphans_keep_the_lock(void **state)
{
	for (int check = CHECK_XXH3; check <= CHECK_NONE; check++) {
		struct export *x;
		int orphan;

		begin();
		x = activate(NULL);
		release(x);
		x->conf.check = (uint64_t)check;
		x = activate(x);
		write_two(x);
		orphan = dup(backing_fd(x->backing));
		x->dirty = true;
		barrier_error = EIO;
		release(x);
		assert_true(x->orphans);
		x->orphans = false;
		export_activate(x, PROVISION_NEVER, false);
		ev_run(set.arg, 0);
		assert_int_equal(x->state, check == CHECK_NONE ? EXPORT_DOWN : EXPORT_READY);
		if (check == CHECK_NONE)
			assert_int_equal(x->why.code, EBUSY);
		close(orphan);
		if (check == CHECK_NONE)
			activate(x);
		release(x);
		end(x);
	}
}

static void known(void *arg, struct export *x)
{
}

/* The table is of no use from then on: whoever takes over must not go by what was before. */
static void test_release_when_that_is_known(void **state)
{
	struct exports_ops ops;
	struct export *x;

	(void)state;
	begin();
	x = activate(NULL);
	ops = *set.ops;
	ops.loaded = known;
	set.ops = &ops;
	export_release(x);
	assert_true(exports_idle(&set));
	exports_known(&set);
	assert_false(exports_idle(&set));
	ev_run(set.arg, 0);
	assert_int_equal(x->state, EXPORT_DOWN);
	end(x);
}

/* A file that is not there yet is taken up when it is, but not made. */
static void test_tried_again(void **state)
{
	struct conf_export conf = { .name = "a", .size = PAGES * PAGE_BYTES, .create = 1, .survive = SURVIVE_HOST };
	struct backing_options opt = { .size = PAGES * PAGE_BYTES, .provision = PROVISION_CREATE, .dirfd = AT_FDCWD, .allow_unlocked = true };
	struct backing *b;
	struct export *x;
	struct errbuf e;

	(void)state;
	begin();
	snprintf(conf.file, sizeof(conf.file), "%s", export_file());
	x = exports_add(&set, &conf);
	export_activate(x, PROVISION_NEVER, false);
	ev_run(set.arg, 0);
	assert_int_equal(x->why.code, ENOENT);
	exports_retry(&set);
	assert_int_equal(x->state, EXPORT_DOWN); /* not at once */
	for (int i = 0; i < 2; i++) {
		assert_true(x->retry_ms > 0);
		x->retry_ms = 1;
		exports_retry(&set);
		assert_int_equal(x->state, EXPORT_ACTIVATING);
		ev_run(set.arg, 0);
		assert_int_equal(x->state, i ? EXPORT_READY : EXPORT_DOWN);
		if (i == 0)
			assert_int_equal(backing_activate(export_file(), &opt, &b, NULL, &e), 0);
		if (i == 0)
			backing_close(b);
	}
	release(x);
	exports_retry(&set);
	assert_int_equal(x->state, EXPORT_DOWN);
	end(x);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_worker_death),
		cmocka_unit_test(test_no_barrier_loses_all),
		cmocka_unit_test(test_barrier_that_fails_in_passing),
		cmocka_unit_test(test_removed_while_settling),
		cmocka_unit_test(test_lost_while_settling),
		cmocka_unit_test(test_release_after_unsettled_death),
		cmocka_unit_test(test_release_closes_elsewhere),
		cmocka_unit_test(test_release_keeps_pages),
		cmocka_unit_test(test_orphans_keep_the_lock),
		cmocka_unit_test(test_release_when_that_is_known),
		cmocka_unit_test(test_tried_again),
	};

	return EXPORT_TESTS_RUN(tests);
}
