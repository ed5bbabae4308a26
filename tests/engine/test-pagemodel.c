/* SPDX-License-Identifier: BSD-3-Clause */
/* The model that judges what is read: what may be found, and what may not. */
#include "config.h"

#include "tests/engine/pagemodel.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/page.h"

#include <string.h>

#define PAGE 3u

static struct pagemodel *m;
static char text[2000];
static unsigned char data[PAGE_BYTES];

static int make(void **state)
{
	(void)state;
	m = pagemodel_make(8);
	return 0;
}

static int unmake(void **state)
{
	(void)state;
	pagemodel_free(m);
	return 0;
}

struct act {
	uint64_t version, begun;
};

static struct act begin_write(void)
{
	struct act w = { pagemodel_version(m, 7), pagemodel_now(m) };

	assert_true(pagemodel_may_write(m, PAGE));
	pagemodel_write_begins(m, PAGE, w.version, w.begun);
	return w;
}

static void end_write(struct act w)
{
	pagemodel_write_ended(m, PAGE, w.version, w.begun, pagemodel_now(m));
}

static uint64_t begin_read(void)
{
	pagemodel_read_begins(m, PAGE);
	return pagemodel_now(m);
}

static bool found(uint64_t begun, uint64_t version)
{
	pagemodel_fill(PAGE, version, data);
	return pagemodel_read_ended(m, PAGE, data, begun, pagemodel_now(m), text, sizeof(text));
}

static bool reads(uint64_t version)
{
	return found(begin_read(), version);
}

static void one_after_the_other(void **state)
{
	struct act a, b;

	(void)state;
	assert_true(reads(VERSION_ZEROS));
	a = begin_write();
	assert_true(reads(VERSION_ZEROS));
	end_write(a);
	assert_false(reads(VERSION_ZEROS));
	assert_true(reads(a.version));
	b = begin_write();
	assert_true(reads(a.version));
	end_write(b);
	assert_false(reads(a.version));
	assert_true(reads(b.version));
}

static void what_was_read_stays(void **state)
{
	struct act a;

	(void)state;
	a = begin_write();
	assert_true(reads(VERSION_ZEROS));
	assert_true(reads(a.version));
	/* It has taken effect, though it is not answered yet. */
	assert_false(reads(VERSION_ZEROS));
	assert_true(reads(a.version));
	end_write(a);
	assert_true(reads(a.version));
}

static void a_read_may_find_what_there_was_while_it_was_under_way(void **state)
{
	struct act a, b;
	uint64_t r;

	(void)state;
	a = begin_write();
	end_write(a);
	r = begin_read();
	b = begin_write();
	end_write(b);
	assert_true(found(r, a.version));
	assert_false(reads(a.version));
	r = begin_read();
	a = begin_write();
	end_write(a);
	assert_true(found(r, a.version));
}

static void of_two_at_once_either_may_be_last_but_only_one(void **state)
{
	for (int which = 0; which < 2; which++) {
		struct act a, b;

		unmake(state);
		make(state);
		a = begin_write();
		b = begin_write();
		end_write(a);
		end_write(b);
		assert_true(reads(which ? a.version : b.version));
		assert_true(reads(which ? a.version : b.version));
		assert_false(reads(which ? b.version : a.version));
	}
}

static void what_was_replaced_does_not_come_back(void **state)
{
	struct act a, b;

	(void)state;
	/* A write that is done again after another was acknowledged. */
	a = begin_write();
	assert_true(reads(a.version));
	b = begin_write();
	end_write(b);
	assert_false(reads(a.version));
	assert_true(reads(b.version));
	end_write(a);
	assert_false(reads(a.version));
	assert_true(reads(b.version));
}

static void zeros_are_many(void **state)
{
	struct act a, z;

	(void)state;
	a = begin_write();
	end_write(a);
	assert_false(reads(VERSION_ZEROS));
	z = (struct act){ VERSION_ZEROS, pagemodel_now(m) };
	pagemodel_write_begins(m, PAGE, z.version, z.begun);
	assert_true(reads(a.version));
	assert_true(reads(VERSION_ZEROS));
	assert_false(reads(a.version));
	end_write(z);
	assert_true(reads(VERSION_ZEROS));
	a = begin_write();
	end_write(a);
	assert_false(reads(VERSION_ZEROS));
}

static void many_versions(void **state)
{
	struct act a[MODEL_VERSIONS];
	unsigned n = 0;
	uint64_t r = begin_read();

	(void)state;
	/* Those that the read could still find take up the room; once it is over there is some again. */
	for (; pagemodel_may_write(m, PAGE); n++) {
		a[n] = begin_write();
		end_write(a[n]);
	}
	assert_int_equal(n, MODEL_VERSIONS - 1);
	assert_true(found(r, a[1].version));
	assert_true(pagemodel_may_write(m, PAGE));
	assert_false(reads(a[1].version));
	assert_true(reads(a[n - 1].version));
}

static void wrong_contents_are_named(void **state)
{
	struct act a = begin_write(), b;
	uint64_t r;

	(void)state;
	end_write(a);
	b = begin_write();
	end_write(b);
	assert_false(reads(a.version));
	assert_non_null(strstr(text, "page 3, version 1 of connection 7"));
	/* Another page's. */
	pagemodel_fill(PAGE + 1, b.version, data);
	r = begin_read();
	assert_false(pagemodel_read_ended(m, PAGE, data, r, pagemodel_now(m), text, sizeof(text)));
	assert_non_null(strstr(text, "page 4, version 2"));
	/* Torn. */
	pagemodel_fill(PAGE, a.version, data);
	memset(data + 512, 0, 512);
	r = begin_read();
	assert_false(pagemodel_read_ended(m, PAGE, data, r, pagemodel_now(m), text, sizeof(text)));
	assert_non_null(strstr(text, "from byte 512 on zeros; from byte 1024 on page 3"));
	/* One bit. */
	for (size_t bit = 0; bit < PAGE_BYTES * 8; bit += 61) {
		pagemodel_fill(PAGE, b.version, data);
		data[bit / 8] ^= (unsigned char)(1u << bit % 8);
		r = begin_read();
		assert_false(pagemodel_read_ended(m, PAGE, data, r, pagemodel_now(m), text, sizeof(text)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(one_after_the_other, make, unmake),
		cmocka_unit_test_setup_teardown(what_was_read_stays, make, unmake),
		cmocka_unit_test_setup_teardown(a_read_may_find_what_there_was_while_it_was_under_way, make, unmake),
		cmocka_unit_test_setup_teardown(of_two_at_once_either_may_be_last_but_only_one, make, unmake),
		cmocka_unit_test_setup_teardown(what_was_replaced_does_not_come_back, make, unmake),
		cmocka_unit_test_setup_teardown(zeros_are_many, make, unmake),
		cmocka_unit_test_setup_teardown(many_versions, make, unmake),
		cmocka_unit_test_setup_teardown(wrong_contents_are_named, make, unmake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
