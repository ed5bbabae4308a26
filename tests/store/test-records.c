/* SPDX-License-Identifier: BSD-3-Clause */
/* Records in the file: what they tell when they are read again, and what is lost when they are damaged.  Run plain and sealed (unit_seal). */
#include "config.h"

#include "store/page.h"
#include "store/records.h"
#include "tests/setpage.h"
#include "tests/store/support.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGES 700u
#define AT PAGE_BYTES /* of the records in the file */

static struct {
	int fd;
	struct table *t;
	uint32_t group; /* pages of one */
	uint64_t blocks;
} w;

/* Pages fresh, same, written and lost in turn, with marks of their own. */
static void write_them(bool in_flight)
{
	const struct entries *x;
	struct errbuf e;

	w.t = unit_table(PAGES, PAGE_FRESH);
	x = table_entries(w.t);
	for (uint64_t i = 0; i < PAGES; i++) {
		static const enum page_state states[] = { PAGE_FRESH, PAGE_SAME, PAGE_WRITTEN, PAGE_LOST };
		struct page_mark m = { .value = entry_mix(i + 1), .more = { x->stride == ENTRY_BYTES_SEALED ? i : 0, 7 * (x->stride == ENTRY_BYTES_SEALED) } };

		entry_store_mark(x, i, &m);
		set_page(w.t, i, states[i % 4], in_flight && i % 3 == 0);
	}
	w.group = RECORD_ENTRIES_BYTES / x->stride;
	w.blocks = records_blocks(PAGES, x->stride);
	w.fd = scratch_file(AT + w.blocks * PAGE_BYTES);
	assert_int_equal(records_write(w.t, true, w.fd, AT, "f", &e), 0);
}

static struct table *read_them(void)
{
	struct table *t = unit_table(PAGES, PAGE_FRESH);
	struct errbuf e;

	assert_int_equal(records_load(t, w.fd, AT, "f", &e), 0);
	return t;
}

static void end(struct table *t)
{
	table_free(t);
	table_free(w.t);
	close(w.fd);
}

static void expect_same(const struct table *t, uint64_t page)
{
	struct page_mark a, b;
	struct page_view va = entry_read(table_entries(w.t), page, &a), vb = entry_read(table_entries(t), page, &b);

	assert_true(vb.valid && !vb.in_flight);
	assert_int_equal(va.state, vb.state);
	if (va.state == PAGE_WRITTEN || va.state == PAGE_SAME)
		assert_memory_equal(&a, &b, va.state == PAGE_SAME ? sizeof(a.value) : sizeof(a));
}

static void come_back(void **state)
{
	struct table *t;

	(void)state;
	write_them(false);
	t = read_them();
	for (uint64_t i = 0; i < PAGES; i++)
		expect_same(t, i);
	end(t);
}

/* Whatever the mark of a page says whose write was at the backend, also one of long ago. */
static void in_flight_is_lost(void **state)
{
	struct table *t;

	(void)state;
	write_them(true);
	t = read_them();
	for (uint64_t i = 0; i < PAGES; i++)
		if (i % 3)
			expect_same(t, i);
		else
			assert_int_equal(table_page(t, i).state, i % 4 == 0 ? PAGE_FRESH : PAGE_LOST);
	end(t);
}

/* Those of one sector are lost, and no others. */
static void damage_costs_a_sector(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 40; n++) {
		unsigned char byte;
		struct table *t;
		uint64_t group, at;

		write_them(false);
		group = (uint64_t)rand() % ((PAGES + w.group - 1) / w.group);
		at = AT + group * RECORD_GROUP_BYTES + (uint64_t)rand() % (RECORD_GROUP_BYTES - 8); /* 8 are unused */
		if (table_spec(w.t)->seal == PAGE_SEAL_NONE && at % RECORD_GROUP_BYTES >= 8 && at % RECORD_GROUP_BYTES < 24)
			at += 16; /* nonce and tag of a sealed one */
		assert_int_equal(pread(w.fd, &byte, 1, (off_t)at), 1);
		byte ^= 1 << n % 8;
		assert_int_equal(pwrite(w.fd, &byte, 1, (off_t)at), 1);
		t = read_them();
		for (uint64_t i = 0; i < PAGES; i++)
			if (i / w.group == group)
				assert_int_equal(table_page(t, i).state, PAGE_LOST);
			else
				expect_same(t, i);
		end(t);
	}
}

static void at_another_place(void **state)
{
	unsigned char a[RECORD_GROUP_BYTES];
	struct table *t;

	(void)state;
	write_them(false);
	assert_int_equal(pread(w.fd, a, sizeof(a), AT + RECORD_GROUP_BYTES), sizeof(a));
	assert_int_equal(pwrite(w.fd, a, sizeof(a), AT), sizeof(a));
	t = read_them();
	for (uint64_t i = 0; i < PAGES; i++)
		if (i < w.group)
			assert_int_equal(table_page(t, i).state, PAGE_LOST);
		else
			expect_same(t, i);
	end(t);
}

/* Only what is not durable is written, and no more after that. */
static void only_what_is_pending(void **state)
{
	uint64_t per_block;
	struct errbuf e;

	(void)state;
	write_them(false);
	per_block = records_per_block(table_entries(w.t)->stride);
	assert_int_equal(ftruncate(w.fd, 0), 0);
	records_touch(w.t, per_block, 1);
	assert_int_equal(records_write(w.t, false, w.fd, AT, "f", &e), 0);
	assert_int_equal(lseek(w.fd, 0, SEEK_END), AT + 2 * PAGE_BYTES);
	assert_int_equal(ftruncate(w.fd, 0), 0);
	assert_int_equal(records_write(w.t, false, w.fd, AT, "f", &e), 0);
	assert_int_equal(lseek(w.fd, 0, SEEK_END), 0);
	end(NULL);
}

static const struct CMUnitTest tests[] = {
	cmocka_unit_test(come_back),
	cmocka_unit_test(in_flight_is_lost),
	cmocka_unit_test(damage_costs_a_sector),
	cmocka_unit_test(at_another_place),
	cmocka_unit_test(only_what_is_pending),
};

int main(void)
{
	int failed = cmocka_run_group_tests_name("plain", tests, unit_keep, NULL);

	return failed + cmocka_run_group_tests_name("sealed", tests, unit_seal, NULL);
}
