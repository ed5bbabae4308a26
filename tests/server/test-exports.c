/* SPDX-License-Identifier: BSD-3-Clause */
/* An export's life with its backing file: what happens to pages when a worker dies, when it is released, and when somebody
 * punches a hole.  The barrier is replaced, to see that it is asked and to have it fail.
 */
#include "config.h"

#include "server/exports.h"
#include "store/page.h"
#include "store/store.h"
#include "tests/setpage.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <cmocka.h>

#define PAGES 256

static char dir[] = "/tmp/nbdswap-test-exports.XXXXXX";
static struct exports set;
static int barriers, barrier_error, barrier_errors; /* how many times it is an error; 0: always */
static const struct export *last_settled;

int __wrap_backend_barrier(const struct backend *b, int fd, int *worker_fd, const char *path, struct errbuf *e);

int __wrap_backend_barrier(const struct backend *b, int fd, int *worker_fd, const char *path, struct errbuf *e)
{
	barriers++;
	if (barrier_errors && barriers > barrier_errors)
		return 0;
	return barrier_error ? err_set(e, barrier_error, "no barrier here") : 0;
}

static void finished(void *arg, struct export *x)
{
	ev_break(arg, EVBREAK_ALL);
}

static void settled(void *arg, struct export *x)
{
	last_settled = x;
	finished(arg, x);
}

static void counted(void *arg)
{
	ev_break(arg, EVBREAK_ALL);
}

static void ignore(void *arg, struct export *x)
{
}

static unsigned scrubs_ended;

/* Nobody waits for the loop to end here but the test of scrubs. */
static void scrubbed(void *arg, struct export *x)
{
	scrubs_ended++;
	if (x->state == EXPORT_READY)
		finished(arg, x);
}

static const struct exports_ops ops = { ignore, finished, finished, settled, ignore, counted, ignore, scrubbed };

static struct export *activate(struct export *x)
{
	struct conf_export conf = { .name = "a", .size = PAGES * PAGE_BYTES, .create = 1 };

	snprintf(conf.file, sizeof(conf.file), "%s/a", dir);
	if (!x)
		x = exports_add(&set, &conf);
	export_activate(x, PROVISION_CREATE, false);
	assert_int_not_equal(export_refusal(x, NULL), 0);
	ev_run(set.arg, 0);
	if (x->state != EXPORT_READY)
		print_error("%s\n", x->why.text);
	assert_int_equal(x->state, EXPORT_READY);
	assert_int_equal(export_refusal(x, NULL), 0);
	return x;
}

static void release(struct export *x)
{
	export_release(x);
	assert_int_equal(x->state, EXPORT_RELEASING);
	ev_run(set.arg, 0);
	assert_int_equal(x->state, EXPORT_DOWN);
}

static void begin(void)
{
	struct errbuf e;
	char path[64];

	snprintf(path, sizeof(path), "%s/a", dir);
	unlink(path);
	barriers = barrier_error = 0;
	set = (struct exports){ .ops = &ops, .arg = ev_loop_new(EVFLAG_AUTO), .allow_unlocked = true };
	set.backends = job_runner_create(set.arg, 4, &e);
	set.checks = job_runner_create(set.arg, 4, &e);
	set.quick = job_runner_create(set.arg, 4, &e);
	scrubs_ended = 0;
}

static void end(struct export *x)
{
	assert_true(exports_idle(&set));
	exports_remove(&set, x);
	job_runner_free(set.backends);
	job_runner_free(set.checks);
	job_runner_free(set.quick);
	ev_loop_destroy(set.arg);
}

static void write_one(struct export *x)
{
	set_page(x->table, 1, PAGE_WRITTEN, false);
	atomic_fetch_add(&table_counters(x->table)->writes, 1); /* a table that was never written to is not kept */
}

/* Page 1 written, page 2 written and again in flight. */
static void write_two(struct export *x)
{
	write_one(x);
	set_page(x->table, 2, PAGE_WRITTEN, true);
}

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

static int no_threads, no_settling;

int __real_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg)
{
	return no_threads ? EAGAIN : __real_pthread_create(t, a, run, arg);
}

int __real_table_settle(struct table *t, int fd, struct settled *out, struct errbuf *e);
int __wrap_table_settle(struct table *t, int fd, struct settled *out, struct errbuf *e);
int __wrap_table_settle(struct table *t, int fd, struct settled *out, struct errbuf *e)
{
	return no_settling ? err_set(e, ENOMEM, "no memory") : __real_table_settle(t, fd, out, e);
}

/* Without a thread nothing was waited for: nobody gets the export, nothing is lost for it, and it is tried again. */
static void test_no_thread(void **state)
{
	struct table_totals n;
	struct export *x;
	uint64_t before;

	(void)state;
	begin();
	x = activate(NULL);
	write_two(x);
	before = backing_activation(x->backing);
	no_threads = 1;
	export_settle(x);
	exports_try_again(&set);
	assert_int_equal(x->state, EXPORT_SETTLING);
	assert_int_not_equal(export_refusal(x, NULL), 0);
	assert_int_equal(barriers, 0);
	no_threads = 0;
	exports_try_again(&set);
	exports_try_again(&set); /* it is under way, perhaps for long */
	while (!exports_idle(&set))
		ev_run(set.arg, EVRUN_ONCE);
	assert_int_equal(x->state, EXPORT_READY);
	assert_int_equal(barriers, 1);
	table_count(x->table, &n);
	assert_int_equal(n.written, 1);
	assert_int_equal(n.lost, 1);
	assert_true(backing_activation(x->backing) == before);
	exports_try_again(&set); /* it is settled */
	assert_int_equal(x->state, EXPORT_READY);
	release(x);
	end(x);
}

/* Nor is anything lost of an export that is to be released: its table is written once there is one. */
static void test_no_thread_to_release(void **state)
{
	struct table_totals n;
	struct export *x;

	(void)state;
	begin();
	x = activate(NULL);
	write_one(x);
	no_threads = 1;
	export_release(x);
	exports_try_again(&set);
	assert_int_equal(x->state, EXPORT_RELEASING);
	no_threads = 0;
	exports_try_again(&set);
	exports_try_again(&set);
	while (!exports_idle(&set))
		ev_run(set.arg, EVRUN_ONCE);
	assert_int_equal(x->state, EXPORT_DOWN);
	activate(x);
	table_count(x->table, &n);
	assert_int_equal(n.written, 1);
	assert_int_equal(n.lost, 0);
	release(x);
	end(x);
}

/* What cannot be settled is lost, and nobody resumes onto that. */
static void test_no_memory_to_settle(void **state)
{
	struct table_totals n;
	struct export *x;
	uint64_t before;

	(void)state;
	begin();
	x = activate(NULL);
	write_two(x);
	before = backing_activation(x->backing);
	no_settling = 1;
	export_settle(x);
	ev_run(set.arg, 0);
	no_settling = 0;
	table_count(x->table, &n);
	assert_int_equal(n.lost, PAGES);
	assert_true(backing_activation(x->backing) > before);
	release(x);
	end(x);
}

/* The file has become another one when the handle is found to be stale. */
static void test_lost_while_settling(void **state)
{
	struct export *x;
	char path[64];

	(void)state;
	begin();
	x = activate(NULL);
	write_two(x);
	snprintf(path, sizeof(path), "%s/a", dir);
	assert_int_equal(unlink(path), 0);
	close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_int_equal(truncate(path, (off_t)PAGES * 2 * PAGE_BYTES), 0);
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

/* A re-check under way when a worker dies: one after the other, and nothing is forgotten. */
static void test_recheck(void **state)
{
	struct export *x;

	begin();
	x = activate(NULL);
	export_recheck(x);
	export_settle(x);
	assert_true(x->waiting);
	ev_run(set.arg, 0);
	assert_int_equal(x->state, EXPORT_READY);
	assert_string_equal(x->alarm, "");
	assert_int_equal(fallocate(backing_fd(x->backing), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 8 * PAGE_BYTES,
				   PAGE_BYTES), 0);
	export_recheck(x);
	while (x->looking)
		ev_run(set.arg, EVRUN_ONCE);
	assert_non_null(strstr(x->alarm, "hole"));
	release(x);
	end(x);
}

static int stuck[2];

/* Another's re-check, at a backend that is away: until something can be read. */
static void stuck_run(struct job *job, void *arg)
{
	char c;

	(void)job;
	(void)arg;
	assert_int_equal(read(stuck[0], &c, 1), 1);
}

static void stuck_done(void *arg)
{
	(void)arg;
}

static const struct job_ops stuck_ops = { stuck_run, stuck_done, NULL };

static void too_late(struct ev_loop *loop, ev_timer *timer, int revents)
{
	(void)timer;
	(void)revents;
	ev_break(loop, EVBREAK_ALL);
}

/* All threads for re-checks are at backends of other exports that do not answer.  One that waits for such a thread keeps its export
 * neither from being settled nor from being released.
 */
static void test_recheck_behind_others(void **state)
{
	ev_timer limit;
	struct errbuf e;
	struct export *x;

	(void)state;
	begin();
	x = activate(NULL);
	assert_int_equal(pipe(stuck), 0);
	for (int i = 0; i < 4; i++)
		assert_int_equal(job_start(set.checks, &stuck_ops, NULL, &e), 0);
	ev_timer_init(&limit, too_late, 20., 0.);
	ev_timer_start(set.arg, &limit);
	export_recheck(x);
	export_settle(x);
	ev_run(set.arg, 0);
	assert_int_equal(x->state, EXPORT_READY);
	assert_string_equal(x->alarm, "");
	export_recheck(x);
	export_release(x);
	ev_run(set.arg, 0);
	assert_int_equal(x->state, EXPORT_DOWN);
	assert_false(x->looking);
	ev_timer_stop(set.arg, &limit);
	assert_int_equal(write(stuck[1], "four", 4), 4);
	while (!exports_idle(&set))
		ev_run(set.arg, EVRUN_ONCE);
	close(stuck[0]);
	close(stuck[1]);
	end(x);
}

/* There is no thread, and the only one that runs is at the backend of another export, which does not answer: once there is one, nobody waits for that. */
static void test_no_thread_behind_another(void **state)
{
	ev_timer limit;
	struct errbuf e;
	struct export *x;

	(void)state;
	begin();
	x = activate(NULL);
	assert_int_equal(pipe(stuck), 0);
	assert_int_equal(job_start(set.backends, &stuck_ops, NULL, &e), 0);
	no_threads = 1;
	export_settle(x);
	ev_run(set.arg, EVRUN_NOWAIT);
	ev_run(set.arg, EVRUN_NOWAIT);
	assert_int_equal(x->state, EXPORT_SETTLING);
	no_threads = 0;
	ev_timer_init(&limit, too_late, 20., 0.);
	ev_timer_start(set.arg, &limit);
	exports_try_again(&set);
	ev_run(set.arg, 0);
	assert_int_equal(x->state, EXPORT_READY);
	assert_int_equal(barriers, 1);
	ev_timer_stop(set.arg, &limit);
	release(x);
	assert_int_equal(write(stuck[1], "1", 1), 1);
	while (!exports_idle(&set))
		ev_run(set.arg, EVRUN_ONCE);
	close(stuck[0]);
	close(stuck[1]);
	end(x);
}

static void test_count(void **state)
{
	struct export *x;

	begin();
	x = activate(NULL);
	write_two(x);
	assert_true(export_count(x));
	assert_false(export_count(x)); /* one at a time */
	ev_run(set.arg, 0);
	assert_int_equal(x->totals.written, 2);
	assert_int_equal(x->totals.fresh, PAGES - 2);
	assert_int_equal(x->totals.lost, 0);
	release(x);
	assert_false(export_count(x));
	end(x);
}

/* Every page written by a store, so that there is something to verify. */
static void write_all(struct export *x)
{
	unsigned char data[PAGE_BYTES];
	struct pool *pool;
	struct store *store;
	struct errbuf e;

	pool = pool_create(64, true, &e);
	assert_non_null(pool);
	store = store_create(&(struct store_options){ .name = "a", .fd = backing_fd(x->backing), .table = x->table, .pool = pool }, &e);
	assert_non_null(store);
	for (uint64_t i = 0; i < PAGES; i++) {
		memset(data, 1, sizeof(data));
		data[i] = 2;
		assert_int_equal(store_rw(store, NULL, RW_WRITE, i * PAGE_BYTES, PAGE_BYTES, data, NULL), 0);
	}
	store_free(store);
	pool_free(pool);
}

static void until_verified(const struct export *x, uint64_t more_than)
{
	while (x->scrub.totals.verified <= more_than && x->scrub.state == SCRUB_RUNNING) {
		ev_run(set.arg, EVRUN_NOWAIT);
		usleep(1000);
	}
	assert_int_equal(x->scrub.state, SCRUB_RUNNING);
}

/* A scrub under way when a worker dies: settling does not wait for its end, and it goes on afterwards where it was. */
static void test_scrub_pauses(void **state)
{
	struct export *x;
	uint64_t before;

	begin();
	x = activate(NULL);
	write_all(x);
	assert_true(export_scrub(x, 256 << 10)); /* 4 s, if nothing else */
	until_verified(x, 0);
	export_recheck(x); /* which a scrub does not keep away */
	while (x->looking)
		ev_run(set.arg, EVRUN_ONCE);
	before = x->scrub.totals.verified;
	assert_true(before < PAGES);
	export_settle(x);
	assert_true(x->waiting);
	ev_run(set.arg, 0);
	assert_ptr_equal(last_settled, x);
	assert_int_equal(x->state, EXPORT_READY);
	assert_true(x->scrub.working);
	assert_int_equal(scrubs_ended, 0);
	assert_true(x->scrub.totals.verified >= before);
	until_verified(x, before + 31);
	assert_false(export_scrub(x, SCRUB_RATE_MAX));
	ev_run(set.arg, 0);
	assert_int_equal(scrubs_ended, 1);
	assert_int_equal(x->scrub.state, SCRUB_DONE);
	assert_int_equal(x->scrub.totals.verified, PAGES);
	assert_false(scrub_found_bad(&x->scrub));
	release(x);
	end(x);
}

/* Released under a scrub: that is stopped, not waited for. */
static void test_release_stops_scrub(void **state)
{
	struct export *x;

	begin();
	x = activate(NULL);
	write_all(x);
	export_scrub(x, 64 << 10);
	until_verified(x, 0);
	release(x);
	assert_int_equal(scrubs_ended, 1);
	assert_int_equal(x->scrub.state, SCRUB_STOPPED);
	assert_non_null(strstr(x->scrub.why.text, "released"));
	assert_true(x->scrub.totals.verified < PAGES);
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

static void test_interrupted(void **state)
{
	struct conf_export conf = { .name = "a", .size = 64 << 20 };
	struct export *x;

	begin();
	snprintf(conf.file, sizeof(conf.file), "%s/a", dir);
	x = exports_add(&set, &conf);
	exports_interrupt(&set);
	export_activate(x, PROVISION_CREATE, false);
	ev_run(set.arg, 0);
	assert_int_equal(x->state, EXPORT_DOWN);
	assert_int_equal(x->why.code, EINTR);
	end(x);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_worker_death), cmocka_unit_test(test_no_barrier_loses_all),
		cmocka_unit_test(test_barrier_that_fails_in_passing),
		cmocka_unit_test(test_removed_while_settling),
		cmocka_unit_test(test_no_thread),
		cmocka_unit_test(test_no_thread_to_release),
		cmocka_unit_test(test_no_memory_to_settle),
		cmocka_unit_test(test_lost_while_settling),
		cmocka_unit_test(test_release_after_unsettled_death), cmocka_unit_test(test_release_closes_elsewhere), cmocka_unit_test(test_release_keeps_pages),
		cmocka_unit_test(test_recheck), cmocka_unit_test(test_recheck_behind_others),
		cmocka_unit_test(test_no_thread_behind_another), cmocka_unit_test(test_count),
		cmocka_unit_test(test_scrub_pauses), cmocka_unit_test(test_release_stops_scrub),
		cmocka_unit_test(test_orphans_keep_the_lock), cmocka_unit_test(test_interrupted),
	};
	struct statfs fs;
	char path[64];
	int rc;

	if (!mkdtemp(dir))
		return 1;
	if (statfs(dir, &fs) < 0 || (fs.f_type != EXT4_SUPER_MAGIC && fs.f_type != XFS_SUPER_MAGIC)) {
		puts("skipped: /tmp is not on ext4 or xfs");
		rmdir(dir);
		return 77;
	}
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	snprintf(path, sizeof(path), "%s/a", dir);
	unlink(path);
	rmdir(dir);
	return rc;
}
