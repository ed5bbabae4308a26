/* SPDX-License-Identifier: BSD-3-Clause */
/* A worker's death at every instant of its requests.  A child is single-stepped through writes, writes of one value and discards; whenever
 * the table has changed, it is settled as if the child had died there, with the file as it is, and with pages torn that were in
 * flight.  A page then reads as before the request or after it; torn ones may be lost; nothing is ever anything else, and what was
 * acknowledged stays.
 */
#include "config.h"

#include "tests/store/support.h"

#include "store/settle.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 8
#define LOST (-1)

/* What each page holds after each step; 0: zeros, else the byte of fill_pages, negative: a page of that one (positive) byte. */
static const struct step {
	enum rw_op op;
	uint64_t first, count;
	int value;
} steps[] = {
	{ RW_WRITE, 0, 4, 11 },	  /* over fresh pages */
	{ RW_WRITE, 0, 3, 22 },	  /* over written ones */
	{ RW_WRITE, 2, 3, -33 },  /* one value, over written and fresh ones */
	{ RW_WRITE, 3, 3, 44 },	  /* over pages of one value */
	{ RW_DISCARD, 1, 3, 0 },
	{ RW_WRITE, 0, 3, 55 },	  /* over written and discarded ones */
	{ RW_WRITE, 0, 2, -66 },
	{ RW_WRITE, 0, 2, -77 },
};
#define STEPS (sizeof(steps) / sizeof(steps[0]))

static struct fixture f;
static volatile int *begun, *ended; /* steps, as the child tells */
static unsigned long looks, lost_seen, new_seen, old_seen;

static void content(int value, unsigned char *page)
{
	if (value < 0)
		memset(page, -value, PAGE_BYTES);
	else
		fill_pages(page, 1, (uint8_t)value);
}

static int model(uint64_t page, int after)
{
	int value = 0;

	for (int i = 0; i < after; i++)
		if (page >= steps[i].first && page < steps[i].first + steps[i].count)
			value = steps[i].value;
	return value;
}

static void child(void)
{
	unsigned char data[PAGES * PAGE_BYTES];

	for (size_t i = 0; i < STEPS; i++) {
		const struct step *s = &steps[i];

		for (uint64_t k = 0; k < s->count; k++)
			content(s->value, data + k * PAGE_BYTES);
		*begun = (int)i + 1;
		if (store_rw(f.store, NULL, s->op, s->first * PAGE_BYTES, s->count * PAGE_BYTES, data, NULL) != 0)
			_exit(1);
		*ended = (int)i + 1;
	}
	_exit(0);
}

static void *mapped(int fd, size_t *bytes)
{
	struct stat st;
	void *p;

	assert_int_equal(fstat(fd, &st), 0);
	*bytes = (size_t)st.st_size;
	p = mmap(NULL, *bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(p != MAP_FAILED);
	return p;
}

static bool may_be(const unsigned char *page, int value)
{
	unsigned char want[PAGE_BYTES];

	content(value, want);
	return memcmp(page, want, PAGE_BYTES) == 0;
}

/* What a successor reads. */
static void judge(struct table *t, int fd, int was_ended, int was_begun, bool torn, unsigned in_flight)
{
	struct errbuf e = { .code = 0 };
	struct pool *pool = pool_create(8, true, &e);
	struct store *s = store_create(&(struct store_options){ .name = "next", .fd = fd, .table = t, .pool = pool }, &e);
	unsigned char page[PAGE_BYTES];

	assert_non_null(s);
	for (uint64_t i = 0; i < PAGES; i++) {
		int error = store_rw(s, NULL, RW_READ, i * PAGE_BYTES, PAGE_BYTES, page, NULL);
		bool old = may_be(page, model(i, was_ended)), new = may_be(page, model(i, was_begun));

		looks++;
		if (error) {
			lost_seen++;
			if (!torn || !(in_flight & 1u << i))
				fail_msg("after step %d (begun %d): page %d is lost, and need not be", was_ended, was_begun, (int)i);
			continue;
		}
		new_seen += new && !old;
		old_seen += old && !new;
		if (!old && !new)
			fail_msg("after step %d (begun %d): page %d is neither old nor new", was_ended, was_begun, (int)i);
	}
	assert_true(store_drain(s, 1000));
	store_free(s);
	pool_free(pool);
}

static void die_here(const void *table, size_t bytes, bool torn)
{
	struct errbuf e = { .code = 0 };
	int copy = memfd_create("copy", MFD_CLOEXEC), file = scratch_file(PAGES * PAGE_BYTES);
	unsigned char data[PAGES * PAGE_BYTES];
	unsigned in_flight = 0;
	struct settled n = { 0 };
	struct table *t;

	assert_int_equal(write(copy, table, bytes), bytes);
	t = table_map(copy, true, &e);
	assert_non_null(t);
	unit_unlock(t);
	assert_int_equal(pread(f.fd, data, sizeof(data), 0), sizeof(data));
	for (uint64_t i = 0; i < PAGES; i++)
		if (table_page(t, i).in_flight && steps[*begun - 1].op == RW_WRITE && steps[*begun - 1].value > 0) {
			in_flight |= 1u << i;
			if (torn) /* half of what is to come */
				memset(data + i * PAGE_BYTES, 0xa7, PAGE_BYTES / 2);
		}
	assert_int_equal(pwrite(file, data, sizeof(data), 0), sizeof(data));
	if (!torn || in_flight) {
		assert_int_equal(table_settle(t, file, &n, &e), 0);
		judge(t, file, *ended, *begun, torn, in_flight);
		assert_int_equal(table_settle(t, file, &n, &e), 0); /* nothing is left to do */
	}
	table_free(t);
	close(copy);
	close(file);
}

static void every_instant(void **state)
{
	volatile int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned long instants = 0, instructions = 0;
	size_t bytes, from;
	unsigned char *now, *seen;
	int status;
	pid_t pid;

	(void)state;
	begun = shared;
	ended = shared + 1;
	fixture_make(&f, PAGES, 64, PAGE_FRESH);
	now = mapped(table_fd(f.table), &bytes);
	seen = malloc(bytes);
	assert_non_null(seen);
	memcpy(seen, now, bytes);
	/* A store alone in its table takes the last slot each time; what lies before does not change. */
	from = (size_t)((unsigned char *)table_slot(f.table, SLOTS - 1) - (unsigned char *)table_slot(f.table, 0)) + PAGE_BYTES;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
			_exit(2);
		raise(SIGSTOP);
		child();
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status)) {
		free(seen);
		skip(); /* this machine does not allow ptrace */
	}
	while (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL) == 0 && waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
		instructions++;
		if (memcmp(seen + from, now + from, bytes - from) == 0)
			continue;
		memcpy(seen, now, bytes);
		instants++;
		die_here(seen, bytes, false);
		die_here(seen, bytes, true);
	}
	assert_true(WIFEXITED(status));
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(*ended, STEPS);
	memcpy(seen, now, bytes);
	die_here(seen, bytes, false);
	print_message("%lu instructions, %lu instants: %lu pages read; %lu old, %lu new, %lu lost (torn)\n", instructions, instants, looks,
		      old_seen, new_seen, lost_seen);
	assert_true(instants > 50 && old_seen && new_seen && lost_seen);
	free(seen);
	munmap(now, bytes);
	fixture_free(&f);
}

/* A commit after the settling, as of a request that was thought dead, changes nothing. */
static void come_too_late(struct rw *rw)
{
	assert_int_equal(rw_complete(rw, (ssize_t)rw->io_pages * PAGE_BYTES), RW_DONE);
	assert_true(store_drain(f.store, 0));
}

/* Without checks the file cannot be asked; what was answered from the table before still can be gone back to. */
static void without_checks(void **state)
{
	struct table_spec spec = { .pages = 4, .activation = 1, .check = CHECK_NONE };
	struct errbuf e = { .code = 0 };
	struct settled n = { 0 };
	unsigned char data[4 * PAGE_BYTES];
	struct rw rw;

	(void)state;
	fixture_make(&f, 4, 64, PAGE_FRESH);
	store_free(f.store);
	table_free(f.table);
	f.table = table_create(&spec, PAGE_FRESH, true, &e);
	f.store = store_create(&(struct store_options){ .name = "u", .fd = f.fd, .table = f.table, .pool = f.pool }, &e);
	fill_pages(data, 4, 1);
	assert_int_equal(store_rw(f.store, NULL, RW_WRITE, 0, 2 * PAGE_BYTES, data, NULL), 0);
	rw_init(&rw, f.store, RW_WRITE, 0, 4 * PAGE_BYTES, data, NULL);
	assert_int_equal(rw_begin(&rw), RW_IO);
	assert_int_equal(table_settle(f.table, f.fd, &n, &e), 0);
	assert_int_equal(n.lost, 2);
	assert_int_equal(n.kept_old, 2);
	assert_int_equal(table_page(f.table, 1).state, PAGE_LOST);
	assert_int_equal(table_page(f.table, 2).state, PAGE_FRESH);
	assert_int_equal(table_counters(f.table)->lost_pages, 2);
	come_too_late(&rw);
	assert_int_equal(table_page(f.table, 1).state, PAGE_LOST);
	assert_int_equal(table_page(f.table, 2).state, PAGE_FRESH);
	fixture_free(&f);
}

static int bad_looks, look_error; /* the next that many reads fail so; 0: give a page with a bit turned over */

ssize_t __real_pread(int fd, void *buf, size_t n, off_t at);
ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t at);

ssize_t __wrap_pread(int fd, void *buf, size_t n, off_t at)
{
	ssize_t r = __real_pread(fd, buf, n, at);

	if (bad_looks == 0)
		return r;
	bad_looks--;
	if (look_error) {
		errno = look_error;
		return -1;
	}
	*(unsigned char *)buf ^= 1;
	return r;
}

/* An acknowledged page whose next write never arrived, looked at through a backend that errs: once, or in passing, is not enough to lose
 * it; twice the same is.
 */
static void looks_that_err(void **state)
{
	static const struct {
		int error, looks;
		bool lost;
	} cases[] = { { 0, 1, false }, { EIO, 1, false }, { ETIMEDOUT, 4, false }, { EAGAIN, 1, false }, { 0, 2, true }, { EIO, 2, true } };

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct errbuf e = { .code = 0 };
		struct settled n = { 0 };
		unsigned char data[PAGE_BYTES];
		struct rw rw;

		fixture_make(&f, 4, 64, PAGE_FRESH);
		fill_pages(data, 1, 1);
		assert_int_equal(store_rw(f.store, NULL, RW_WRITE, PAGE_BYTES, PAGE_BYTES, data, NULL), 0);
		fill_pages(data, 1, 2);
		rw_init(&rw, f.store, RW_WRITE, PAGE_BYTES, PAGE_BYTES, data, NULL);
		assert_int_equal(rw_begin(&rw), RW_IO);
		look_error = cases[i].error;
		bad_looks = cases[i].looks;
		assert_int_equal(table_settle(f.table, f.fd, &n, &e), 0);
		assert_int_equal(bad_looks, 0);
		assert_int_equal(n.kept_old, !cases[i].lost);
		assert_int_equal(n.lost, cases[i].lost);
		assert_int_equal(table_page(f.table, 1).state, cases[i].lost ? PAGE_LOST : PAGE_WRITTEN);
		come_too_late(&rw);
		fixture_free(&f);
	}
}

/* A slot that was scribbled itself. */
static void without_a_slot(void **state)
{
	struct errbuf e = { .code = 0 };
	struct settled n = { 0 };
	unsigned char data[4 * PAGE_BYTES];
	struct rw rw;

	(void)state;
	fixture_make(&f, 4, 64, PAGE_FRESH);
	fill_pages(data, 4, 1);
	rw_init(&rw, f.store, RW_WRITE, 0, 4 * PAGE_BYTES, data, NULL);
	assert_int_equal(rw_begin(&rw), RW_IO);
	assert_null(store_create(&(struct store_options){ .name = "u", .fd = f.fd, .table = f.table, .pool = f.pool }, &e));
	assert_int_equal(e.code, EBUSY);
	rw.slot->pages = 4000000000u;
	assert_int_equal(table_settle(f.table, f.fd, &n, &e), 0);
	assert_int_equal(n.lost, 4);
	for (int i = 0; i < 4; i++)
		assert_false(table_page(f.table, (uint64_t)i).in_flight);
	rw.slot->pages = 4;
	come_too_late(&rw);
	for (int i = 0; i < 4; i++)
		assert_int_equal(table_page(f.table, (uint64_t)i).state, PAGE_LOST);
	fixture_free(&f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_instant),
		cmocka_unit_test(looks_that_err),
		cmocka_unit_test(without_checks),
		cmocka_unit_test(without_a_slot),
	};
	const struct CMUnitTest sealed[] = {
		cmocka_unit_test(every_instant),
		cmocka_unit_test(without_a_slot),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	return failed + cmocka_run_group_tests(sealed, unit_seal, NULL);
}
