/* SPDX-License-Identifier: BSD-3-Clause */
/* The page table: made whole, handed down, settled after a death; nothing unknown is ever taken for fresh. */
#include "config.h"

#include "tests/store/support.h"

#include "store/table.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static void expect_count(const struct table *t, uint64_t fresh, uint64_t written, uint64_t lost)
{
	uint64_t f, w, l;

	table_count(t, &f, &w, &l);
	assert_int_equal(f, fresh);
	assert_int_equal(w, written);
	assert_int_equal(l, lost);
}

static void create_and_fill(void **state)
{
	struct errbuf e;
	struct table *t = table_create(1000, PAGE_FRESH, true, &e);
	uint32_t change;

	(void)state;
	assert_non_null(t);
	assert_int_equal(table_pages(t), 1000);
	expect_count(t, 1000, 0, 0);
	assert_int_equal(table_counters(t)->lost_pages, 0);
	table_entries(t)[5].state = PAGE_WRITTEN;
	table_entries(t)[6].state = 0; /* what was never a state is lost */
	table_entries(t)[7].state = PAGE_FRESH ^ 1;
	expect_count(t, 997, 1, 2);
	change = table_entries(t)[5].change;
	table_fill(t, PAGE_LOST);
	expect_count(t, 0, 0, 1000);
	assert_int_not_equal(table_entries(t)[5].change, change);
	assert_int_equal(table_counters(t)->lost_pages, 1000);
	table_free(t);
	table_free(NULL);
}

static void settle(void **state)
{
	struct errbuf e;
	struct table *t = table_create(8, PAGE_FRESH, true, &e);
	struct page_entry *x = table_entries(t);
	uint32_t change;

	(void)state;
	x[0].in_flight = 1; /* fresh: zeros are still right */
	x[1].in_flight = 1;
	x[1].state = PAGE_WRITTEN;
	x[2].state = PAGE_WRITTEN; /* not in flight: stays */
	x[3].state = PAGE_LOST;
	change = x[1].change;
	table_counters(t)->in_flight = 7;
	assert_int_equal(table_settle(t), 1);
	assert_int_equal(x[0].state, PAGE_FRESH);
	assert_int_equal(x[1].state, PAGE_LOST);
	assert_int_not_equal(x[1].change, change);
	assert_int_equal(x[2].state, PAGE_WRITTEN);
	for (int i = 0; i < 8; i++)
		assert_int_equal(x[i].in_flight, 0);
	assert_int_equal(table_counters(t)->in_flight, 0);
	assert_int_equal(table_counters(t)->lost_pages, 1);
	assert_int_equal(table_settle(t), 0);
	table_free(t);
}

/* What a child writes through its mapping is there after its death. */
static void outlives_a_process(void **state)
{
	struct errbuf e;
	struct table *t = table_create(300, PAGE_FRESH, true, &e);
	pid_t pid = fork();
	int status;

	(void)state;
	if (pid == 0) {
		struct table *mine = table_map(table_fd(t), true, &e);

		if (!mine || table_pages(mine) != 300)
			_exit(1);
		table_entries(mine)[299].state = PAGE_WRITTEN;
		atomic_fetch_add(&table_counters(mine)->writes, 3);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(table_entries(t)[299].state, PAGE_WRITTEN);
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
		{ 8, 2, 4 },			     /* version */
		{ 12, 32, 4 },			     /* entry size */
		{ 16, 0, 8 },			     /* pages: none */
		{ 16, 100000, 8 },		     /* more than the mapping has */
		{ 16, (UINT64_C(1) << 60) + 100, 8 }, /* so many that the size comes round again */
	};
	struct errbuf e;
	int empty = memfd_create("empty", MFD_CLOEXEC);

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct table *t = table_create(100, PAGE_FRESH, true, &e);

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
	struct table *t = table_create(4096, PAGE_FRESH, true, &e);
	volatile struct page_entry *x = table_entries(t);
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

		if (x[k * 256].check != last[k]) {
			shared[0] = 1;
			fail_msg("entry %u was changed by a process that only mapped it", k * 256);
		}
		x[k * 256].check = last[k] = n;
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
		cmocka_unit_test(create_and_fill),	   cmocka_unit_test(settle),
		cmocka_unit_test(outlives_a_process),	   cmocka_unit_test(wrong_layout_is_refused),
		cmocka_unit_test(mapping_does_not_write),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
