/* SPDX-License-Identifier: BSD-3-Clause */
/* A backing in use passes to another process: what its successor finds decides whether the pages are still there. */
#include "config.h"

#include "store/adopt.h"
#include "store/barrier.h"
#include "store/lock.h"
#include "store/table.h"
#include "store/trailer.h"
#include "tests/setpage.h"
#include "tests/store/support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SIZE (64 * (uint64_t)PAGE_BYTES)

static struct {
	char *dir, path[512];
	struct backing *b, *next;
	struct table *table, *next_table;
	struct adoption a;
	struct errbuf e;
} f;

static void activate(void)
{
	struct backing_options opt = { .size = SIZE, .provision = PROVISION_CREATE, .dirfd = AT_FDCWD, .allow_unlocked = true };

	if (backing_activate(f.path, &opt, &f.b, NULL, &f.e) < 0)
		fail_msg("%s", f.e.text);
}

/* A file with one page written, given back. */
static int setup(void **state)
{
	(void)state;
	f.dir = scratch_dir();
	snprintf(f.path, sizeof(f.path), "%s/swap", f.dir);
	activate();
	if (backing_begin(f.b, &f.table, &f.e) < 0)
		fail_msg("%s", f.e.text);
	set_page(f.table, 3, PAGE_WRITTEN, false);
	atomic_fetch_add(&table_counters(f.table)->writes, 1);
	assert_int_equal(backing_end(f.b, f.table, &f.e), 0);
	backing_close(f.b);
	table_free(f.table);
	f.b = f.next = NULL;
	f.table = f.next_table = NULL;
	activate();
	if (backing_load(f.b, &f.table, &f.e) < 0)
		fail_msg("%s", f.e.text);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	table_free(f.next_table);
	backing_close(f.next);
	table_free(f.table);
	backing_close(f.b);
	scratch_remove(f.dir);
	return 0;
}

/* What its predecessor keeps at this instant. */
static void keep(void)
{
	struct backing_parts p;

	backing_parts(f.b, &p);
	f.a = (struct adoption){ .file = fcntl(p.file, F_DUPFD_CLOEXEC, 3), .master = -1, .backend = *p.backend, .trailer = *p.trailer,
				 .path = f.path, .allow_unlocked = true, .patience_s = 5 };
	assert_true(f.a.file >= 0);
	f.next_table = table_map(table_fd(f.table), true, &f.e);
	assert_non_null(f.next_table);
}

static void expect(enum adopted wanted)
{
	enum adopted r = backing_adopt(&f.a, f.next_table, &f.next, &f.e);

	if (r != wanted || f.e.code)
		fail_msg("%d: %s", (int)r, f.e.code ? f.e.text : "");
	if (backing_is_lost(f.next))
		fail_msg("it is lost");
}

static void not_marked(void **state)
{
	(void)state;
	keep();
	f.a.marking = true;
	expect(ADOPT_ENDED);
	backing_close(f.next);
	f.next = NULL;
	backing_close(f.b);
	table_free(f.table);
	activate();
	assert_int_equal(backing_begin(f.b, &f.table, &f.e), 0);
	assert_int_equal(table_page(f.table, 3).state, PAGE_WRITTEN);
}

static void marked(void **state)
{
	(void)state;
	keep();
	f.a.marking = true;
	assert_int_equal(backing_mark(f.b, f.table, &f.e), 0);
	expect(ADOPT_DONE);
	assert_int_equal(table_page(f.next_table, 3).state, PAGE_WRITTEN);
	assert_int_equal(backing_end(f.next, f.next_table, &f.e), 0);
}

/* Killed between the two headers: were the one damaged later, the other would say that it is clean. */
static void half_marked(void **state)
{
	struct trailer t, left;
	char page[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES))) = { 0 };

	(void)state;
	keep();
	f.a.marking = true;
	t = f.a.trailer;
	assert_int_equal(trailer_write(f.a.file, f.path, &t, &f.e), 0);
	expect(ADOPT_DONE);
	/* Now the newest is damaged. */
	assert_int_equal(trailer_read(f.a.file, f.path, t.file_size, &t, &f.e), 1);
	assert_int_equal(pwrite(f.a.file, page, PAGE_BYTES,
				(off_t)(t.file_size - (TRAILER_SLOTS - t.sequence % TRAILER_SLOTS) * PAGE_BYTES)), PAGE_BYTES);
	assert_int_equal(trailer_read(f.a.file, f.path, t.file_size, &left, &f.e), 1);
	assert_int_equal(left.state, TRAILER_IN_USE);
}

static unsigned stale; /* so many looks at the file say that its handle is */

int __real_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st);
int __wrap_fstat(int fd, struct stat *st)
{
	if (stale && fd == f.a.file) {
		stale--;
		errno = ESTALE;
		return -1;
	}
	return __real_fstat(fd, st);
}

/* And its trailer was written once more since its predecessor could say so. */
static void stale_handle(void **state)
{
	(void)state;
	assert_int_equal(backing_mark(f.b, f.table, &f.e), 0);
	keep();
	assert_int_equal(backing_keep_lease(f.b, 5, "somebody", &f.e), 0);
	f.a.trailer.sequence--;
	stale = 1;
	expect(ADOPT_DONE);
	assert_int_equal(stale, 0);
	assert_int_equal(backing_end(f.next, f.next_table, &f.e), 0);
}

static unsigned barriers;

int __real_backend_barrier(const struct backend *b, int fd, int *worker_fd, const char *path, struct errbuf *e);
int __wrap_backend_barrier(const struct backend *b, int fd, int *worker_fd, const char *path, struct errbuf *e);
int __wrap_backend_barrier(const struct backend *b, int fd, int *worker_fd, const char *path, struct errbuf *e)
{
	barriers++;
	return __real_backend_barrier(b, fd, worker_fd, path, e);
}

/* The predecessor's own last write may come after its end. */
static void waited_for_on_nfs(void **state)
{
	(void)state;
	assert_int_equal(backing_mark(f.b, f.table, &f.e), 0);
	keep();
	f.a.backend.kind = BACKEND_NFS;
	barriers = 0;
	expect(ADOPT_DONE);
	assert_int_equal(barriers, 1);
}

/* Another description has the lock, as a server may have it that has not heard of the end of the one before. */
static void locked(uint32_t patience, enum adopted wanted, bool lost)
{
	int other = open(f.path, O_RDWR | O_CLOEXEC);

	assert_int_equal(backing_mark(f.b, f.table, &f.e), 0);
	keep();
	lock_release(f.a.file);
	assert_int_equal(lock_take(other, lock_range(f.a.trailer.file_size)), 0);
	f.a.patience_s = patience;
	assert_int_equal(backing_adopt(&f.a, f.next_table, &f.next, &f.e), wanted);
	if (wanted != ADOPT_LATER) {
		assert_int_equal(backing_is_lost(f.next), lost);
		close(other);
		return;
	}
	assert_int_equal(f.e.code, EBUSY);
	close(other);
	expect(ADOPT_DONE);
}

static void locked_for_a_while(void **state)
{
	(void)state;
	locked(5, ADOPT_LATER, false);
}

static void locked_for_good(void **state)
{
	(void)state;
	locked(0, ADOPT_DONE, true);
}

/* Killed while it had waited for its worker's description to be gone, the predecessor has left the lock that it waited for. */
static void killed_in_the_barrier(void **state)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = INT64_MAX - 1, .l_len = 1 };

	(void)state;
	assert_int_equal(backing_mark(f.b, f.table, &f.e), 0);
	keep();
	f.a.backend.kind = BACKEND_BTRFS;
	assert_int_equal(fcntl(f.a.file, F_OFD_SETLK, &fl), 0);
	expect(ADOPT_DONE);
	assert_int_not_equal(backing_worker_fd(f.next), backing_fd(f.next));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(not_marked, setup, teardown),
		cmocka_unit_test_setup_teardown(marked, setup, teardown),
		cmocka_unit_test_setup_teardown(half_marked, setup, teardown),
		cmocka_unit_test_setup_teardown(stale_handle, setup, teardown),
		cmocka_unit_test_setup_teardown(waited_for_on_nfs, setup, teardown),
		cmocka_unit_test_setup_teardown(locked_for_a_while, setup, teardown),
		cmocka_unit_test_setup_teardown(locked_for_good, setup, teardown),
		cmocka_unit_test_setup_teardown(killed_in_the_barrier, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
