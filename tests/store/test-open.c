/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening a backing file: an administrator's links are followed and reported, a name below a directory never leaves it, and
 * what is neither file nor block device is refused without being touched.
 */
#include "config.h"

#include "tests/store/support.h"

#include "common/cleanup.h"
#include "store/open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static char *dir;
static int dirfd_;

static const char *in_dir(const char *name)
{
	static char text[2][512];
	static int turn;

	turn = !turn;
	snprintf(text[turn], sizeof(text[turn]), "%s/%s", dir, name);
	return text[turn];
}

static int setup(void **state)
{
	struct errbuf e;

	(void)state;
	umask(0);
	dir = scratch_dir();
	dirfd_ = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(create_backing(in_dir("file"), &e), 0);
	assert_int_equal(truncate(in_dir("file"), 8192), 0);
	assert_int_equal(mkdir(in_dir("sub"), 0700), 0);
	assert_int_equal(mkfifo(in_dir("fifo"), 0600), 0);
	assert_int_equal(symlink("file", in_dir("link")), 0);
	assert_int_equal(symlink("/etc", in_dir("away")), 0);
	assert_int_equal(symlink("loop", in_dir("loop")), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	close(dirfd_);
	scratch_remove(dir);
	return 0;
}

static void expect_opened(int at, const char *path)
{
	struct errbuf e = { .code = 0 };
	struct opened o;
	char *real = realpath(in_dir("file"), NULL);

	assert_int_equal(open_backing(at, path, true, &o, &e), 0);
	assert_int_equal(o.size, 8192);
	assert_string_equal(o.path, real);
	if (o.direct)
		assert_true(fcntl(o.fd, F_GETFL) & O_DIRECT);
	assert_true(fcntl(o.fd, F_GETFD) & FD_CLOEXEC);
	close(o.fd);
	free(real);
}

static void expect_refused(int at, const char *path, int code, const char *words)
{
	struct errbuf e = { .code = 0 };
	struct opened o;

	assert_int_equal(open_backing(at, path, true, &o, &e), -1);
	assert_int_equal(errno, code);
	assert_int_equal(e.code, code);
	if (!strstr(e.text, words) || !strstr(e.text, path))
		fail_msg("\"%s\" does not say \"%s\"", e.text, words);
}

static void files_and_links(void **state)
{
	(void)state;
	expect_opened(AT_FDCWD, in_dir("file"));
	expect_opened(AT_FDCWD, in_dir("link"));
	expect_opened(AT_FDCWD, in_dir("sub/../link"));
	expect_refused(AT_FDCWD, in_dir("loop"), ELOOP, "symbolic link");
	expect_refused(AT_FDCWD, in_dir("none"), ENOENT, "cannot open it: No such file");
}

static void other_types(void **state)
{
	(void)state;
	expect_refused(AT_FDCWD, in_dir("fifo"), EINVAL, "neither a regular file nor a block device");
	expect_refused(AT_FDCWD, dir, EINVAL, "neither a regular file nor a block device");
	expect_refused(AT_FDCWD, "/dev/null", EINVAL, "neither a regular file nor a block device");
	expect_refused(dirfd_, "fifo", EINVAL, "neither a regular file nor a block device");
	expect_refused(dirfd_, "sub", EINVAL, "neither a regular file nor a block device");
}

static void below_a_directory(void **state)
{
	char up[300];

	(void)state;
	expect_opened(dirfd_, "file");
	expect_refused(dirfd_, "link", ELOOP, "links are not followed");
	expect_refused(dirfd_, "away/passwd", ELOOP, "links are not followed");
	expect_refused(dirfd_, in_dir("file"), EXDEV, "leaves the directory");
	snprintf(up, sizeof(up), "../%s/file", strrchr(dir, '/') + 1);
	expect_refused(dirfd_, up, EXDEV, "leaves the directory");
	expect_refused(dirfd_, "../x", EXDEV, "leaves the directory");
	expect_refused(dirfd_, "none", ENOENT, "cannot open it");
}

static void creation(void **state)
{
	struct errbuf e = { .code = 0 };
	struct stat st;

	(void)state;
	assert_int_equal(stat(in_dir("file"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600); /* the umask is 0 here */
	assert_int_equal(create_backing(in_dir("file"), &e), -1);
	assert_int_equal(e.code, EEXIST);
	assert_int_equal(create_backing(in_dir("link"), &e), -1);
	assert_int_equal(e.code, EEXIST);
	umask(0777);
	assert_int_equal(create_backing(in_dir("masked"), &e), 0);
	umask(0);
	assert_int_equal(stat(in_dir("masked"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

static void buffered_is_read_only(void **state)
{
	struct errbuf e;
	struct opened o;
	int fd;

	(void)state;
	assert_int_equal(open_backing(AT_FDCWD, in_dir("file"), true, &o, &e), 0);
	fd = reopen_buffered(o.fd);
	assert_true(fd >= 0);
	assert_false(fcntl(fd, F_GETFL) & O_DIRECT);
	assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
	close(fd);
	close(o.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(files_and_links),   cmocka_unit_test(other_types), cmocka_unit_test(below_a_directory),
		cmocka_unit_test(creation),	     cmocka_unit_test(buffered_is_read_only),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
