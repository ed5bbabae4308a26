/* SPDX-License-Identifier: BSD-3-Clause */
/* Exports where no thread or no memory is to be had for them, or other exports' backends have all threads: nothing of theirs is lost for it, and they wait
 * for nobody else's.
 */
#include "config.h"

#include "tests/server/exportworld.h"

#include <errno.h>
#include <pthread.h>
#include <unistd.h>

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
	until_idle();
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
	until_idle();
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

static ev_timer limit; /* of what does not wait for them */

static void too_late(struct ev_loop *loop, ev_timer *timer, int revents)
{
	(void)timer;
	(void)revents;
	ev_break(loop, EVBREAK_ALL);
}

/* So many threads of a runner are at backends that do not answer, until unstick(). */
static void stick(struct job_runner *r, int threads)
{
	struct errbuf e;

	assert_int_equal(pipe(stuck), 0);
	for (int i = 0; i < threads; i++)
		assert_int_equal(job_start(r, &stuck_ops, NULL, &e), 0);
	ev_timer_init(&limit, too_late, 20., 0.);
	ev_timer_start(set.arg, &limit);
}

static void unstick(int threads)
{
	for (int i = 0; i < threads; i++)
		assert_int_equal(write(stuck[1], "x", 1), 1);
	until_idle();
	ev_timer_stop(set.arg, &limit);
	close(stuck[0]);
	close(stuck[1]);
}

/* All threads for re-checks are at backends of other exports that do not answer.  One that waits for such a thread keeps its export
 * neither from being settled nor from being released.
 */
static void test_recheck_behind_others(void **state)
{
	struct export *x;

	(void)state;
	begin();
	x = activate(NULL);
	stick(set.checks, 4);
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
	unstick(4);
	end(x);
}

/* There is no thread, and the only one that runs is at the backend of another export, which does not answer: once there is one, nobody waits for that. */
static void test_no_thread_behind_another(void **state)
{
	struct export *x;

	(void)state;
	begin();
	x = activate(NULL);
	stick(set.backends, 1);
	no_threads = 1;
	export_settle(x);
	ev_run(set.arg, EVRUN_NOWAIT);
	ev_run(set.arg, EVRUN_NOWAIT);
	assert_int_equal(x->state, EXPORT_SETTLING);
	no_threads = 0;
	exports_try_again(&set);
	ev_run(set.arg, 0);
	assert_int_equal(x->state, EXPORT_READY);
	assert_int_equal(barriers, 1);
	release(x);
	unstick(1);
	end(x);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_thread),
		cmocka_unit_test(test_no_thread_to_release),
		cmocka_unit_test(test_no_memory_to_settle),
		cmocka_unit_test(test_recheck_behind_others),
		cmocka_unit_test(test_no_thread_behind_another),
	};

	return EXPORT_TESTS_RUN(tests);
}
