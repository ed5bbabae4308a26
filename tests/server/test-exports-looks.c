/* SPDX-License-Identifier: BSD-3-Clause */
/* What looks at an export while it is there: re-checks, counts and scrubs, beside a worker's death and a release; and an activation that is interrupted. */
#include "config.h"

#include "tests/server/exportworld.h"

#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

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

static void test_interrupted(void **state)
{
	struct conf_export conf = { .name = "a", .size = 64 << 20 };
	struct export *x;

	begin();
	snprintf(conf.file, sizeof(conf.file), "%s", export_file());
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
		cmocka_unit_test(test_recheck),
		cmocka_unit_test(test_count),
		cmocka_unit_test(test_scrub_pauses),
		cmocka_unit_test(test_release_stops_scrub),
		cmocka_unit_test(test_interrupted),
	};

	return EXPORT_TESTS_RUN(tests);
}
