/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/lease.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const struct lease_clock at0 = { .ms = 1000, .wall = 1000000000 };

static void test_holder_names(void **state)
{
	static const char *const cases[][3] = {
		{ "boot-1", "10.0.0.5:33", "boot-1" }, { "", "10.0.0.5:33", "10.0.0.5" }, { "", "[fe80::1]:33", "fe80::1" },
		{ "", "unix", "unix" },
	};
	static const char *const bad[] = { "", ":33", "[]:33", "[fe80::1", "10.0.0.5" };
	char out[LEASE_HOLDER_MAX];
	struct errbuf e;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		assert_int_equal(lease_holder(cases[i][0], cases[i][1], out, &e), 0);
		assert_string_equal(out, cases[i][2]);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(lease_holder("", bad[i], out, &e), -1);
}

static void test_second_client_refused(void **state)
{
	struct lease l = { .sessions = 0 };
	struct errbuf e;

	assert_false(lease_held(&l, &at0));
	assert_int_equal(lease_open(&l, "ws1", "A", "10.0.0.1:5", &at0, &e), 0);
	assert_int_equal(lease_open(&l, "ws1", "A", "10.0.0.1:6", &at0, &e), 0);
	assert_int_equal(lease_open(&l, "ws1", "B", "10.0.0.2:5", &at0, &e), -1);
	assert_int_equal(e.code, EBUSY);
	assert_string_equal(e.text, "export \"ws1\" is in use by client A (10.0.0.1:6) since 2001-09-09 01:46:40 UTC; it must"
				    " detach first");
	lease_close(&l, &at0);
	assert_int_equal(lease_open(&l, "ws1", "B", "10.0.0.2:5", &at0, &e), -1); /* one of two sessions is left */
	lease_close(&l, &at0);
	assert_int_equal(lease_open(&l, "ws1", "B", "10.0.0.2:5", &at0, &e), 0);
	assert_string_equal(l.holder, "B");
}

static void test_kept_after_worker_death(void **state)
{
	const struct lease_clock soon = { .ms = 1000 + 14999, .wall = 1000000015 }, later = { .ms = 1000 + 15000 };
	struct lease l = { .sessions = 0 };
	struct errbuf e;

	assert_int_equal(lease_open(&l, "ws1", "A", "10.0.0.1:5", &at0, &e), 0);
	assert_int_equal(lease_open(&l, "ws1", "A", "10.0.0.1:5", &at0, &e), 0);
	lease_lose(&l, &at0, 15000);
	assert_int_equal(l.sessions, 1);
	lease_lose(&l, &at0, 15000);
	assert_int_equal(l.sessions, 0);
	assert_true(lease_held(&l, &soon));
	assert_int_equal(lease_open(&l, "ws1", "B", "10.0.0.2:5", &soon, &e), -1);
	assert_string_equal(e.text, "export \"ws1\" is kept for client A (10.0.0.1:5), which held it since 2001-09-09 01:46:40 UTC"
				    " and lost its connection; it is free in 1 s if that client does not come back");
	/* Its own client comes back, and holds it as before. */
	assert_int_equal(lease_open(&l, "ws1", "A", "10.0.0.1:9", &soon, &e), 0);
	lease_returned(&l);
	assert_int_equal(l.since, at0.wall);
	assert_int_equal(l.sessions, 1);
	assert_true(lease_held(&l, &later));
	lease_close(&l, &soon);
	assert_false(lease_held(&l, &soon));
	/* It does not come back. */
	assert_int_equal(lease_open(&l, "ws1", "A", "10.0.0.1:5", &at0, &e), 0);
	lease_lose(&l, &at0, 15000);
	assert_false(lease_held(&l, &later));
	assert_int_equal(lease_open(&l, "ws1", "B", "10.0.0.2:5", &later, &e), 0);
	/* Not kept. */
	lease_lose(&l, &later, 0);
	assert_false(lease_held(&l, &later));
	/* Ending what nobody holds does nothing. */
	lease_lose(&l, &later, 15000);
	lease_close(&l, &later);
	assert_false(lease_held(&l, &later));
}

/* A look at the export, between the loss of a connection and its return, takes nothing from who is expected back; nor does one that was there before. */
static void test_kept_over_a_probe(void **state)
{
	const struct lease_clock soon = { .ms = 1000 + 14999 }, later = { .ms = 1000 + 15000 };
	struct lease l = { .sessions = 0 };
	struct errbuf e;

	(void)state;
	for (int before = 0; before < 2; before++) {
		assert_int_equal(lease_open(&l, "ws1", "A", "10.0.0.1:5", &at0, &e), 0);
		if (before)
			assert_int_equal(lease_open(&l, "ws1", "A", "10.0.0.1:6", &at0, &e), 0);
		lease_lose(&l, &at0, 15000);
		if (!before)
			assert_int_equal(lease_open(&l, "ws1", "A", "10.0.0.1:6", &soon, &e), 0);
		lease_close(&l, &soon);
		assert_int_equal(l.sessions, 0);
		assert_int_equal(lease_open(&l, "ws1", "B", "10.0.0.2:5", &soon, &e), -1);
		assert_non_null(strstr(e.text, "is kept for client A"));
		assert_false(lease_held(&l, &later));
		lease_expire(&l, &later);
	}
}

/* Settling took longer than the lease was kept for: nobody could come in that time. */
static void test_kept_anew(void **state)
{
	const struct lease_clock settled = { .ms = 1000 + 60000 }, soon = { .ms = 1000 + 74999 }, later = { .ms = 1000 + 75000 };
	struct lease l = { .sessions = 0 };
	struct errbuf e;

	(void)state;
	lease_keep(&l, &at0, 15000);
	assert_false(lease_held(&l, &at0)); /* it was nobody's */
	assert_int_equal(lease_open(&l, "ws1", "A", "10.0.0.1:5", &at0, &e), 0);
	lease_lose(&l, &at0, 15000);
	assert_false(lease_held(&l, &settled));
	lease_keep(&l, &settled, 15000);
	assert_true(lease_held(&l, &soon));
	assert_int_equal(lease_open(&l, "ws1", "B", "10.0.0.2:5", &soon, &e), -1);
	assert_false(lease_held(&l, &later));
	assert_int_equal(lease_open(&l, "ws1", "A", "10.0.0.1:6", &soon, &e), 0);
	lease_returned(&l);
	lease_keep(&l, &soon, 15000); /* who is there needs no time */
	lease_close(&l, &soon);
	assert_false(lease_held(&l, &soon));
}

static int resumes(const struct lease *l, const char *holder, uint64_t activation, uint64_t lease, struct errbuf *e)
{
	return lease_resumes(l, "ws1", holder, 5, &(struct generation){ .activation = activation, .lease = lease }, e);
}

static void pass_to(struct lease *l, const char *holder, bool comes_back, time_t wall)
{
	const struct lease_clock now = { .ms = 1000, .wall = wall };
	struct errbuf e;

	assert_int_equal(lease_open(l, "ws1", holder, "10.0.0.1:5", &now, &e), 0);
	lease_pass(l, comes_back, &now);
}

/* Whoever had it before another never comes back to it. */
static void test_passes(void **state)
{
	struct lease l = { .sessions = 0 };
	struct errbuf e;
	uint64_t a, b;

	(void)state;
	pass_to(&l, "A", false, 1000);
	a = l.number;
	assert_int_equal(a, 1000);
	pass_to(&l, "A", false, 1100); /* another connection */
	assert_int_equal(l.number, a);
	assert_int_equal(resumes(&l, "A", 5, a, &e), 0);
	assert_int_equal(resumes(&l, "A", 4, a, &e), -1);
	assert_non_null(strstr(e.text, "generation 5, not 4"));
	assert_int_equal(resumes(&l, "B", 5, a, &e), -1);
	assert_non_null(strstr(e.text, "passed to another client, A"));
	lease_close(&l, &at0);
	lease_close(&l, &at0);
	pass_to(&l, "A", false, 1200); /* it is nobody else's because A was away */
	assert_int_equal(l.number, a);
	lease_close(&l, &at0);

	pass_to(&l, "B", false, 900); /* the clock was put back */
	b = l.number;
	assert_true(b > a);
	assert_int_equal(resumes(&l, "A", 5, a, &e), -1);
	assert_int_equal(resumes(&l, "A", 5, b, &e), -1);
	lease_close(&l, &at0);
	pass_to(&l, "A", false, 900);
	assert_true(l.number > b);
	assert_int_equal(resumes(&l, "A", 5, a, &e), -1);
}

/* A daemon that knows only the number, from the file: the client that has it comes back, with all its connections; any other is a pass. */
static void test_begins(void **state)
{
	struct lease l = { .sessions = 0 };
	struct errbuf e;

	(void)state;
	lease_begin(&l, 2000);
	assert_int_equal(resumes(&l, "A", 5, 1999, &e), -1);
	assert_int_equal(resumes(&l, "A", 5, 2000, &e), 0);
	pass_to(&l, "A", true, 1000);
	assert_int_equal(l.number, 2000);
	assert_int_equal(resumes(&l, "A", 5, 2000, &e), 0);
	assert_int_equal(resumes(&l, "B", 5, 2000, &e), -1);
	lease_begin(&l, 2000);
	lease_close(&l, &at0);
	pass_to(&l, "A", false, 1000);
	assert_int_equal(l.number, 2001);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_holder_names), cmocka_unit_test(test_second_client_refused),
		cmocka_unit_test(test_kept_after_worker_death), cmocka_unit_test(test_kept_over_a_probe), cmocka_unit_test(test_kept_anew),
		cmocka_unit_test(test_passes),
		cmocka_unit_test(test_begins),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
