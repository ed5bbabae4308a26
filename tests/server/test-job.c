/* SPDX-License-Identifier: BSD-3-Clause */
/* Helper threads: limits, order, progress and completion on the loop's thread. */
#include "config.h"

#include "server/job.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

#define JOBS 50

static _Atomic int running, most, ran;
static int done, progress;
static pthread_t loop_thread;

static void run(struct job *job, void *arg)
{
	int now = atomic_fetch_add(&running, 1) + 1, seen = atomic_load(&most);

	assert_false(pthread_equal(pthread_self(), loop_thread));
	while (now > seen && !atomic_compare_exchange_weak(&most, &seen, now))
		;
	job_poke(job);
	usleep(2000);
	atomic_fetch_add(&ran, 1);
	atomic_fetch_sub(&running, 1);
}

static void on_done(void *arg)
{
	assert_true(pthread_equal(pthread_self(), loop_thread));
	if (++done == JOBS)
		ev_break(arg, EVBREAK_ALL);
}

static void on_progress(void *arg)
{
	assert_true(pthread_equal(pthread_self(), loop_thread));
	progress++;
}

static void test_jobs(void **state)
{
	static const struct job_ops ops = { run, on_done, on_progress };
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
	struct job_runner *r;
	struct errbuf e;

	loop_thread = pthread_self();
	r = job_runner_create(loop, 3, &e);
	assert_non_null(r);
	assert_true(job_runner_idle(r));
	for (int i = 0; i < JOBS; i++)
		assert_int_equal(job_start(r, &ops, loop, &e), 0);
	assert_false(job_runner_idle(r));
	ev_run(loop, 0);
	assert_int_equal(ran, JOBS);
	assert_int_equal(done, JOBS);
	assert_true(progress > 0);
	assert_in_range(most, 2, 3);
	assert_true(job_runner_idle(r));
	job_runner_free(r);
	ev_loop_destroy(loop);
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(test_jobs) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
