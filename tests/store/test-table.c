/* SPDX-License-Identifier: BSD-3-Clause */
/* The page table: made whole, handed down, settled after a death; nothing unknown is ever taken for fresh. */
#include "config.h"

#include "tests/store/support.h"

#include "store/table.h"
#include "tests/setpage.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void expect_count(const struct table *t, uint64_t fresh, uint64_t same, uint64_t written, uint64_t lost)
{
	struct table_totals n;

	table_count(t, &n);
	assert_int_equal(n.fresh, fresh);
	assert_int_equal(n.same, same);
	assert_int_equal(n.written, written);
	assert_int_equal(n.lost, lost);
}

static void create_and_fill(void **state)
{
	struct table *t = unit_table(1000, PAGE_FRESH);
	uint32_t change;

	(void)state;
	assert_int_equal(table_pages(t), 1000);
	expect_count(t, 1000, 0, 0, 0);
	assert_int_equal(table_counters(t)->lost_pages, 0);
	set_page(t, 5, PAGE_WRITTEN, false);
	set_page(t, 6, (enum page_state)0, false); /* what was never a state is lost */
	set_page(t, 7, (enum page_state)(PAGE_FRESH ^ 1), false);
	set_page(t, 8, PAGE_SAME, false);
	expect_count(t, 996, 1, 1, 2);
	change = table_page(t, 5).change;
	table_fill(t, PAGE_LOST);
	expect_count(t, 0, 0, 0, 1000);
	assert_int_not_equal(table_page(t, 5).change, change);
	assert_int_equal(table_counters(t)->lost_pages, 1000);
	table_free(t);
	table_free(NULL);
}

/* Any bit of an entry that means something, turned over, makes the page lost: never fresh, never another page's content. */
static void scribbled_entries_are_lost(void **state)
{
	static const enum page_state states[] = { PAGE_FRESH, PAGE_SAME, PAGE_WRITTEN };

	(void)state;
	for (unsigned sealed = 0; sealed < 2; sealed++) {
		struct table_spec spec = { .pages = 16, .activation = 1,
					   .seal = sealed ? PAGE_SEAL_AES_256_GCM : PAGE_SEAL_NONE };
		struct errbuf e;
		struct table *t = table_create(&spec, PAGE_FRESH, true, &e);
		const struct entries *x = table_entries(t);
		unsigned found = 0, tried = 0;

		for (unsigned k = 0; k < 3; k++) {
			unsigned words = states[k] == PAGE_FRESH ? 1 : states[k] == PAGE_WRITTEN && sealed ? 4 : 2;
			struct page_mark m = { .value = 77 };

			table_fill(t, PAGE_FRESH);
			entry_store_mark(x, 3, &m);
			set_page(t, 3, states[k], false);
			for (unsigned bit = 0; bit < words * 64; bit++, tried++) {
				_Atomic uint64_t *word = (_Atomic uint64_t *)entry_at(x, 3) + bit / 64;
				struct page_view v;

				*word ^= UINT64_C(1) << bit % 64;
				v = table_page(t, 3);
				found += !v.valid && v.state == PAGE_LOST && !v.in_flight;
				*word ^= UINT64_C(1) << bit % 64;
				assert_int_equal(table_page(t, 3).state, states[k]);
			}
		}
		/* 16 bits of check: one in 65,536 may slip through, of these few hundred none is expected to. */
		assert_int_equal(found, tried);
		table_free(t);
	}
}

/* An entry at another page's place, or in another table, is no entry. */
static void entries_know_their_place(void **state)
{
	struct table *t = unit_table(16, PAGE_FRESH);
	const struct entries *x = table_entries(t);
	uint64_t word;

	(void)state;
	set_page(t, 3, PAGE_WRITTEN, false);
	memcpy(entry_at(x, 4), entry_at(x, 3), x->stride);
	assert_int_equal(table_page(t, 4).state, PAGE_LOST);
	word = entry_at(x, 3)->word;
	table_set_activation(t, 2);
	assert_int_equal(table_page(t, 3).state, PAGE_LOST);
	table_fill(t, PAGE_FRESH);
	entry_at(x, 3)->word = word;
	assert_int_equal(table_page(t, 3).state, PAGE_LOST);
	table_free(t);
}

/* What a child writes through its mapping is there after its death. */
static void outlives_a_process(void **state)
{
	struct errbuf e;
	struct table *t = unit_table(300, PAGE_FRESH);
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0) {
		struct table *mine = table_map(table_fd(t), true, &e);

		if (!mine || table_pages(mine) != 300)
			_exit(1);
		set_page(mine, 299, PAGE_WRITTEN, false);
		atomic_fetch_add(&table_counters(mine)->writes, 3);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(table_page(t, 299).state, PAGE_WRITTEN);
	assert_int_equal(table_counters(t)->writes, 3);
	table_free(t);
}

static void refuse(int fd, int code)
{
	struct errbuf e = { .code = 0 };

	assert_null(table_map(fd, true, &e));
	assert_int_equal(e.code, code);
}

static void wrong_layout_is_refused(void **state)
{
	static const struct {
		off_t at;
		uint64_t value;
		size_t bytes;
	} wrong[] = {
		{ 0, 0x1234, 8 },		     /* magic */
		{ 8, 1, 4 },			     /* version */
		{ 12, 32, 4 },			     /* entry size */
		{ 16, 0, 8 },			     /* pages: none */
		{ 16, 100000, 8 },		     /* more than the mapping has */
		{ 16, (UINT64_C(1) << 60) + 100, 8 }, /* so many that the size comes round again */
	};
	int empty = memfd_create("empty", MFD_CLOEXEC);

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct table *t = unit_table(100, PAGE_FRESH);

		assert_int_equal(pwrite(table_fd(t), &wrong[i].value, wrong[i].bytes, wrong[i].at), wrong[i].bytes);
		refuse(table_fd(t), EPROTO);
		table_free(t);
	}
	refuse(empty, EPROTO);
	refuse(-1, EBADF);
	close(empty);
}

/* Mapping a table that another process works on must not write to it, not even what is there already. */
static void mapping_does_not_write(void **state)
{
	struct errbuf e;
	struct table *t = unit_table(4096, PAGE_FRESH);
	const struct entries *x = table_entries(t);
	volatile int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t last[16] = { 0 };
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0) {
		for (; !shared[0]; shared[1]++)
			table_free(table_map(table_fd(t), true, &e));
		_exit(0);
	}
	/* Entries at the start of a page are what touching a mapping would hit. */
	for (uint64_t n = 1; shared[1] < 20000; n++) {
		unsigned k = n % 16;

		if (entry_at(x, k * 256)->value != last[k]) {
			shared[0] = 1;
			fail_msg("entry %u was changed by a process that only mapped it", k * 256);
		}
		entry_at(x, k * 256)->value = last[k] = n;
	}
	shared[0] = 1;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	table_free(t);
	munmap((void *)shared, 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(create_and_fill),
		cmocka_unit_test(scribbled_entries_are_lost),
		cmocka_unit_test(entries_know_their_place),
		cmocka_unit_test(outlives_a_process),	   cmocka_unit_test(wrong_layout_is_refused),
		cmocka_unit_test(mapping_does_not_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
