/* SPDX-License-Identifier: BSD-3-Clause */
/* The worker's life, step by step, without a process. */
#include "config.h"

#include "server/supervisor.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define IT WORKER_SPAWN | WORKER_ARM_START

static unsigned step(struct supervisor *s, enum worker_event ev, enum worker_state expected)
{
	unsigned actions = supervisor_event(s, ev, 0);

	assert_string_equal(worker_state_name(s->state), worker_state_name(expected));
	assert_int_equal(s->state, expected);
	return actions;
}

static void test_serve_and_stop(void **state)
{
	struct supervisor s = { .state = WORKER_DOWN };

	assert_int_equal(step(&s, WORKER_EV_START, WORKER_STARTING), IT);
	assert_int_equal(step(&s, WORKER_EV_READY, WORKER_READY), WORKER_DISARM);
	assert_int_equal(step(&s, WORKER_EV_STOP, WORKER_DRAINING), WORKER_DRAIN | WORKER_ARM_DRAIN);
	assert_int_equal(step(&s, WORKER_EV_DRAINED, WORKER_STOPPING), WORKER_KILL | WORKER_DISARM);
	assert_int_equal(step(&s, WORKER_EV_STOP, WORKER_STOPPING), 0);
	assert_int_equal(step(&s, WORKER_EV_EXIT, WORKER_DOWN), WORKER_DISARM | WORKER_GONE);
	assert_int_equal(s.restarts, 0);
}

static void test_stop_hurried(void **state)
{
	struct supervisor s = { .state = WORKER_READY };

	step(&s, WORKER_EV_STOP, WORKER_DRAINING);
	assert_int_equal(step(&s, WORKER_EV_STOP, WORKER_STOPPING), WORKER_KILL | WORKER_DISARM);
	s.state = WORKER_DRAINING;
	assert_int_equal(step(&s, WORKER_EV_TIMER, WORKER_STOPPING), WORKER_KILL | WORKER_LATE);
	s.state = WORKER_DRAINING; /* it dies instead */
	assert_int_equal(step(&s, WORKER_EV_EXIT, WORKER_DOWN), WORKER_DIED | WORKER_DISARM | WORKER_GONE);
}

static void test_never_ready(void **state)
{
	struct supervisor s = { .state = WORKER_STARTING };

	assert_int_equal(step(&s, WORKER_EV_TIMER, WORKER_STARTING), WORKER_LATE | WORKER_KILL);
	assert_int_equal(step(&s, WORKER_EV_EXIT, WORKER_BACKOFF), WORKER_DIED | WORKER_ARM_BACKOFF);
	assert_int_equal(step(&s, WORKER_EV_TIMER, WORKER_STARTING), IT);
	assert_int_equal(step(&s, WORKER_EV_STOP, WORKER_STOPPING), WORKER_KILL | WORKER_DISARM);
}

static void test_renew(void **state)
{
	struct supervisor s = { .state = WORKER_READY };

	assert_int_equal(step(&s, WORKER_EV_RENEW, WORKER_RENEWING), WORKER_DRAIN | WORKER_ARM_DRAIN);
	assert_int_equal(step(&s, WORKER_EV_DRAINED, WORKER_KILLED), WORKER_KILL | WORKER_DISARM);
	assert_int_equal(step(&s, WORKER_EV_EXIT, WORKER_STARTING), IT);
	assert_int_equal(s.restarts, 0); /* it was asked for */
	/* Stopping in between takes no second drain. */
	s.state = WORKER_RENEWING;
	assert_int_equal(step(&s, WORKER_EV_STOP, WORKER_DRAINING), WORKER_ARM_DRAIN);
	s.state = WORKER_KILLED;
	step(&s, WORKER_EV_STOP, WORKER_STOPPING);
	assert_true(step(&s, WORKER_EV_EXIT, WORKER_DOWN) & WORKER_GONE);
}

static void test_stop_when_not_there(void **state)
{
	struct supervisor s = { .state = WORKER_DOWN };

	assert_true(step(&s, WORKER_EV_STOP, WORKER_DOWN) & WORKER_GONE);
	s.state = WORKER_BACKOFF;
	assert_true(step(&s, WORKER_EV_STOP, WORKER_DOWN) & WORKER_GONE);
}

static void test_backoff_doubles(void **state)
{
	static const uint32_t waits[] = { 100, 200, 400, 800, 1600, 3200, 6400, 10000, 10000 };
	struct supervisor s = { .state = WORKER_DOWN };

	supervisor_event(&s, WORKER_EV_START, 0);
	for (size_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++) {
		supervisor_event(&s, WORKER_EV_READY, 0);
		assert_true(supervisor_event(&s, WORKER_EV_EXIT, BACKOFF_NONE_MS - 1) & WORKER_ARM_BACKOFF);
		assert_int_equal(s.backoff_ms, waits[i]);
		supervisor_event(&s, WORKER_EV_TIMER, 0);
	}
	assert_int_equal(s.restarts, sizeof(waits) / sizeof(waits[0]));
	/* Served for a while: no pause, and the next quick death is a first one. */
	supervisor_event(&s, WORKER_EV_READY, 1000);
	assert_true(supervisor_event(&s, WORKER_EV_EXIT, 1000 + BACKOFF_NONE_MS) & WORKER_ARM_BACKOFF);
	assert_int_equal(s.backoff_ms, 0);
	supervisor_event(&s, WORKER_EV_TIMER, 0);
	supervisor_event(&s, WORKER_EV_READY, 0);
	supervisor_event(&s, WORKER_EV_EXIT, BACKOFF_NONE_MS - 1);
	assert_int_equal(s.backoff_ms, BACKOFF_FIRST_MS);
	/* A start that never became ready does not count as service. */
	supervisor_event(&s, WORKER_EV_TIMER, 0);
	supervisor_event(&s, WORKER_EV_EXIT, 60 * BACKOFF_NONE_MS);
	assert_int_equal(s.backoff_ms, 2 * BACKOFF_FIRST_MS);
}

/* Clients wait for the next one: no pause, unless it has served for less than a second. */
static void test_at_once(void **state)
{
	struct supervisor s = { .state = WORKER_DOWN };

	(void)state;
	supervisor_event(&s, WORKER_EV_START, 0);
	for (int i = 0; i < 3; i++) {
		supervisor_event(&s, WORKER_EV_READY, 0);
		assert_int_equal(supervisor_event(&s, WORKER_EV_EXIT, BACKOFF_NONE_MS), WORKER_DIED | WORKER_ARM_BACKOFF);
		assert_int_equal(s.backoff_ms, 0);
		assert_int_equal(step(&s, WORKER_EV_TIMER, WORKER_STARTING), IT);
	}
	/* Quick deaths, before and after it was ready. */
	supervisor_event(&s, WORKER_EV_EXIT, 60 * BACKOFF_NONE_MS);
	assert_int_equal(s.backoff_ms, BACKOFF_FIRST_MS);
	supervisor_event(&s, WORKER_EV_TIMER, 0);
	supervisor_event(&s, WORKER_EV_READY, 0);
	supervisor_event(&s, WORKER_EV_EXIT, BACKOFF_NONE_MS - 1);
	assert_int_equal(s.backoff_ms, 2 * BACKOFF_FIRST_MS);
	supervisor_event(&s, WORKER_EV_TIMER, 0);
	supervisor_event(&s, WORKER_EV_READY, 0);
	supervisor_event(&s, WORKER_EV_EXIT, BACKOFF_NONE_MS);
	assert_int_equal(s.backoff_ms, 0);
	/* The next quick death is a first one again. */
	supervisor_event(&s, WORKER_EV_TIMER, 0);
	supervisor_event(&s, WORKER_EV_EXIT, 0);
	assert_int_equal(s.backoff_ms, BACKOFF_FIRST_MS);
}

/* Whatever the order of events: a stop always ends in gone once the process has ended, and no state starts a second
 * process beside one that lives.
 */
static void test_every_pair(void **state)
{
	for (int st = 0; st < WORKER_STATES; st++)
		for (int ev = 0; ev < WORKER_EVENTS; ev++) {
			struct supervisor s = { .state = (enum worker_state)st };
			bool alive = st != WORKER_DOWN && st != WORKER_BACKOFF;
			unsigned a = supervisor_event(&s, (enum worker_event)ev, 0);

			if (alive && ev != WORKER_EV_EXIT)
				assert_false(a & WORKER_SPAWN);
			if (alive && ev == WORKER_EV_EXIT)
				assert_int_not_equal(a, 0);
			if (a & WORKER_GONE)
				assert_int_equal(s.state, WORKER_DOWN);
			for (int i = 0; i < 3 && s.state != WORKER_DOWN; i++) {
				supervisor_event(&s, WORKER_EV_STOP, 0);
				supervisor_event(&s, WORKER_EV_DRAINED, 0);
				supervisor_event(&s, WORKER_EV_EXIT, 0);
			}
			assert_int_equal(s.state, WORKER_DOWN);
		}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_serve_and_stop), cmocka_unit_test(test_stop_hurried), cmocka_unit_test(test_never_ready),
		cmocka_unit_test(test_renew), cmocka_unit_test(test_stop_when_not_there), cmocka_unit_test(test_backoff_doubles),
		cmocka_unit_test(test_at_once),
		cmocka_unit_test(test_every_pair),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
