/* SPDX-License-Identifier: BSD-3-Clause */
/* A backing file opened anew while it is in use: only the very same file, as it was left, is taken back; everything else is
 * lost and not written to any more.
 */
#include "config.h"

#include "store/fullio.h"
#include "store/lock.h"
#include "store/reopen.h"
#include "store/trailer.h"
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
	char *dir, path[512], other[512];
	struct backing *b;
	struct table *table;
	struct errbuf e;
} f;

static int setup(void **state)
{
	struct backing_options opt = { .size = SIZE, .provision = PROVISION_CREATE, .dirfd = AT_FDCWD, .allow_unlocked = true };

	(void)state;
	f.dir = scratch_dir();
	snprintf(f.path, sizeof(f.path), "%s/swap", f.dir);
	snprintf(f.other, sizeof(f.other), "%s/other", f.dir);
	if (backing_activate(f.path, &opt, &f.b, NULL, &f.e) < 0 || backing_begin(f.b, &f.table, &f.e) < 0)
		fail_msg("%s", f.e.text);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	table_free(f.table);
	backing_close(f.b);
	scratch_remove(f.dir);
	return 0;
}

/* A second description of the file at path, or -1. */
static int look(const char *path)
{
	return open(path, O_RDWR | O_CLOEXEC);
}

static void copy_file(const char *from, const char *to)
{
	char command[1200];

	snprintf(command, sizeof(command), "cp --preserve=all %s %s", from, to);
	assert_int_equal(system(command), 0);
}

/* The file as it stands at path, to be compared later. */
static unsigned char *content(const char *path, size_t *size)
{
	int fd = look(path);
	struct stat st;
	unsigned char *p;

	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	*size = (size_t)st.st_size;
	p = malloc(*size);
	assert_int_equal(full_pread(POINT_TRAILER_READ, fd, p, *size, 0), 0);
	close(fd);
	return p;
}

/* Lost it must be, and from then on nothing is written to what is there now. */
static void expect_lost(uint32_t patience, const char *why)
{
	bool there = access(f.path, F_OK) == 0;
	size_t before_size, after_size;
	unsigned char *before = there ? content(f.path, &before_size) : NULL, *after;

	assert_int_equal(backing_reopen(f.b, patience, &f.e), REOPEN_LOST);
	if (!strstr(f.e.text, why))
		fail_msg("\"%s\" does not say \"%s\"", f.e.text, why);
	assert_int_equal(backing_reopen(f.b, 1000, &f.e), REOPEN_LOST); /* for good */
	assert_int_equal(backing_lost(f.b, f.table, &f.e), -1);
	assert_int_equal(backing_end(f.b, f.table, &f.e), -1);
	assert_int_equal(f.e.code, ESTALE);
	if (!there)
		return;
	after = content(f.path, &after_size);
	assert_int_equal(before_size, after_size);
	assert_memory_equal(before, after, before_size);
	free(before);
	free(after);
}

static void the_same_file(void **state)
{
	int fd = backing_fd(f.b), old = dup(fd), third = look(f.path);
	struct stat a, b;

	(void)state;
	assert_int_equal(fstat(fd, &a), 0);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(backing_reopen(f.b, 0, &f.e), REOPEN_SAME);
		assert_int_equal(backing_fd(f.b), fd);
		assert_int_equal(fstat(fd, &b), 0);
		assert_int_equal(a.st_ino, b.st_ino);
		assert_int_equal(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
		assert_int_equal(lock_held(third), 1);
	}
	/* The lock is on the new description: the end of the old one does not take it away. */
	assert_int_equal(lock_held(old), 1);
	close(old);
	assert_int_equal(lock_held(third), 1);
	assert_int_equal(lock_take(third, 1), -1);
	assert_int_equal(errno, EBUSY);
	close(third);
	assert_int_equal(backing_end(f.b, f.table, &f.e), 0);
}

static void replaced_by_a_copy(void **state)
{
	(void)state;
	copy_file(f.path, f.other);
	assert_int_equal(rename(f.other, f.path), 0);
	expect_lost(1000, "another file");
}

static void of_another_size(void **state)
{
	(void)state;
	assert_int_equal(truncate(f.path, (off_t)SIZE), 0);
	expect_lost(1000, "bytes now");
}

/* The same inode and size, but somebody has begun a use of it, or put an older copy of its content back. */
static void used_by_another(void **state)
{
	struct stat st;
	struct trailer t;
	int fd = look(f.path);

	(void)state;
	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(trailer_read(fd, f.path, (uint64_t)st.st_size, &t, NULL), 1);
	assert_int_equal(trailer_write(fd, f.path, &t, NULL), 0); /* the sequence alone differs */
	close(fd);
	expect_lost(1000, "activated by");
}

static void without_a_trailer(void **state)
{
	static const char zeros[TRAILER_SLOTS * PAGE_BYTES];
	int fd = look(f.path);

	(void)state;
	assert_int_equal(full_pwrite(POINT_TRAILER_WRITE, fd, zeros, sizeof(zeros), lseek(fd, 0, SEEK_END) - (off_t)sizeof(zeros)), 0);
	close(fd);
	expect_lost(1000, "its trailer is not");
}

/* A server that was restarted may not have its disk yet: the file is waited for, but not for ever. */
static void away_for_a_while(void **state)
{
	(void)state;
	assert_int_equal(rename(f.path, f.other), 0);
	assert_int_equal(backing_reopen(f.b, 1000, &f.e), REOPEN_LATER);
	assert_int_equal(f.e.code, ENOENT);
	assert_int_equal(rename(f.other, f.path), 0);
	assert_int_equal(backing_reopen(f.b, 0, &f.e), REOPEN_SAME);
	assert_int_equal(unlink(f.path), 0);
	assert_int_equal(backing_reopen(f.b, 1000, &f.e), REOPEN_LATER);
	expect_lost(0, "cannot open it");
}

static void locked_by_another(void **state)
{
	int other = look(f.path);

	(void)state;
	lock_release(backing_fd(f.b)); /* the server forgot it */
	assert_int_equal(lock_take(other, lock_range(SIZE)), 0);
	assert_int_equal(backing_reopen(f.b, 1000, &f.e), REOPEN_LATER);
	expect_lost(0, "is locked by another");
	close(other);
}

/* Not a matter of opening it anew, but of the same kind: the file was changed behind our back, and the end must not hide it. */
static void cut_while_in_use(void **state)
{
	struct stat st;

	(void)state;
	assert_int_equal(truncate(f.path, SIZE / 2), 0);
	assert_int_equal(backing_end(f.b, f.table, &f.e), -1);
	assert_non_null(strstr(f.e.text, "has 131072 now"));
	assert_int_equal(backing_lost(f.b, f.table, &f.e), -1);
	assert_int_equal(stat(f.path, &st), 0);
	assert_int_equal(st.st_size, SIZE / 2);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(the_same_file),     T(replaced_by_a_copy), T(of_another_size),   T(used_by_another),
		T(without_a_trailer), T(away_for_a_while),   T(locked_by_another), T(cut_while_in_use),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
