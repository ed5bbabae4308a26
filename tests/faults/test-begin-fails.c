/* SPDX-License-Identifier: BSD-3-Clause */
/* A use that could not begin, because its mark could not be written whole: no page was written in it, so what the last use left is
 * there for the next.
 */
#include "config.h"

#include "tests/store/support.h"

#include "store/backing.h"
#include "store/fault.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#define PAGES 64

static char *dir, *file;
static struct errbuf e;

static struct backing *activate(void)
{
	struct backing_options opt = { .size = PAGES * PAGE_BYTES, .provision = PROVISION_CREATE, .dirfd = AT_FDCWD, .allow_unlocked = true };
	struct backing *b;

	if (backing_activate(file, &opt, &b, NULL, &e) < 0)
		fail_msg("%s", e.text);
	return b;
}

static void rw(const struct backing *b, struct table *t, enum rw_op op, void *page)
{
	struct pool *pool = pool_create(64, true, &e);
	struct store *s = store_create(&(struct store_options){ .name = "u", .fd = backing_fd(b), .table = t, .pool = pool }, &e);

	assert_non_null(s);
	assert_int_equal(store_rw(s, NULL, op, 3 * PAGE_BYTES, PAGE_BYTES, page, NULL), 0);
	store_free(s);
	pool_free(pool);
}

/* A whole use, with the page as the one before left it (0: it is the first), and as the next is to find it. */
static uint64_t use(uint8_t before, uint8_t after)
{
	unsigned char page[PAGE_BYTES];
	struct backing *b = activate();
	uint64_t activation;
	struct table *t;

	assert_false(backing_was_unclean(b));
	assert_int_equal(backing_begin(b, &t, &e), 0);
	if (before) {
		rw(b, t, RW_READ, page);
		expect_pages(page, 1, before);
	}
	fill_pages(page, 1, after);
	rw(b, t, RW_WRITE, page);
	activation = backing_activation(b);
	assert_int_equal(backing_end(b, t, &e), 0);
	table_free(t);
	backing_close(b);
	return activation;
}

static void nothing_is_lost(void **state)
{
	static const char *const rules[] = {
		"trailer.write:errno=ETIMEDOUT,nth=1", "trailer.write:errno=ETIMEDOUT,done,nth=1", "trailer.write:errno=ETIMEDOUT,torn,nth=1",
		"trailer.write:errno=ETIMEDOUT,nth=2", "trailer.write:errno=ETIMEDOUT,done,nth=2", "trailer.write:errno=ETIMEDOUT,torn,nth=2",
		"trailer.sync:errno=EIO,nth=1",	       "trailer.sync:errno=EIO,done,nth=2",
	};
	uint64_t activation;

	(void)state;
	activation = use(0, 1);
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		struct backing *b = activate();
		struct table *t;

		assert_int_equal(fault_configure(rules[i], &e), 0);
		assert_int_equal(backing_begin(b, &t, &e), -1);
		assert_int_equal(fault_configure(NULL, &e), 0);
		backing_close(b);
		assert_true(use((uint8_t)(i + 1), (uint8_t)(i + 2)) == activation);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(nothing_is_lost) };
	int rc;

	dir = scratch_dir();
	if (asprintf(&file, "%s/swap", dir) < 0)
		return 1;
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	free(file);
	scratch_remove(dir);
	return rc;
}
