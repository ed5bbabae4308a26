/* SPDX-License-Identifier: BSD-3-Clause */
/* A whole life (made, used, stopped, used again, made anew) is ended at each of its writes and syncs in turn, in four ways:
 *
 *   kill        the process dies, what it wrote stays
 *   cut         the power fails: of what was written since the last sync nothing is left
 *   cut, mixed  the same, and of these writes every other one is left, the last one half
 *   cut, last   the same, and only the last of them is left (a disk may write in any order)
 *
 * After each the file is activated as a successor would.  Then every page must read as its last acknowledged value,
 * zeros if it was never written, or as lost; after the loss of the table as lost only; never anything else.
 */
#include "config.h"

#include "tests/store/support.h"

#include "store/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 24
#define SIZE (PAGES * (uint64_t)PAGE_BYTES)
#define MOST_UNDO 64

/* ---- the failing disk: every write and sync of the store comes through here ---- */

enum way { KILL, CUT, CUT_MIXED, CUT_LAST, WAYS };

static long calls_left = -1; /* -1: never fails */
static enum way way;
static struct undo {
	int fd;
	off_t at;
	size_t n;
	unsigned char *old;
} undo[MOST_UNDO];
static unsigned undos;

extern ssize_t __real_pwrite(int fd, const void *p, size_t n, off_t at);
extern ssize_t __real_pwritev(int fd, const struct iovec *iov, int count, off_t at);
extern int __real_fsync(int fd);
ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t at);
ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int count, off_t at);
int __wrap_fsync(int fd);

static void take_back(const struct undo *u, size_t from)
{
	int fd;
	char self[40];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", u->fd);
	fd = open(self, O_RDWR | O_CLOEXEC);
	if (fd < 0 || (u->n > from && __real_pwrite(fd, u->old + from, u->n - from, u->at + (off_t)from) < 0))
		abort();
	close(fd);
}

static void crash(void)
{
	for (unsigned i = undos; way != KILL && i-- > 0;) {
		bool last = i == undos - 1;

		if (way == CUT || (way == CUT_LAST && !last))
			take_back(&undo[i], 0);
		else if (way == CUT_MIXED && last)
			take_back(&undo[i], undo[i].n / 2 + 256); /* torn, and not between sectors */
		else if (way == CUT_MIXED && i % 2)
			take_back(&undo[i], 0);
	}
	_exit(42);
}

static void remember(int fd, size_t n, off_t at)
{
	struct undo *u = &undo[undos++];
	char self[40];
	int plain;

	if (undos == MOST_UNDO)
		abort();
	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	plain = open(self, O_RDONLY | O_CLOEXEC);
	*u = (struct undo){ .fd = fd, .at = at, .n = n, .old = calloc(1, n) };
	if (pread(plain, u->old, n, at) < 0)
		abort();
	close(plain);
}

static void forget(void)
{
	while (undos > 0)
		free(undo[--undos].old);
}

static void instant(void)
{
	if (calls_left == 0)
		crash();
	if (calls_left > 0)
		calls_left--;
}

ssize_t __wrap_pwrite(int fd, const void *p, size_t n, off_t at)
{
	ssize_t r;

	instant();
	remember(fd, n, at);
	r = __real_pwrite(fd, p, n, at);
	instant();
	return r;
}

ssize_t __wrap_pwritev(int fd, const struct iovec *iov, int count, off_t at)
{
	size_t n = 0;
	ssize_t r;

	for (int i = 0; i < count; i++)
		n += iov[i].iov_len;
	instant();
	remember(fd, n, at);
	r = __real_pwritev(fd, iov, count, at);
	instant();
	return r;
}

int __wrap_fsync(int fd)
{
	int r;

	instant();
	r = __real_fsync(fd);
	forget();
	instant();
	return r;
}

/* ---- what was promised, in memory that outlives the process ---- */

struct promise {
	uint8_t value[PAGES];  /* last acknowledged; 0: zeros */
	bool anew;	       /* being made anew: it is as it was, or fresh, or refused */
	uint64_t generation;
};

static struct promise *told;

static void use(const char *path, const struct backing_options *opt, uint8_t first)
{
	struct backing *b;
	struct table *t;
	struct pool *p;
	struct store *s;
	struct errbuf e;
	unsigned char data[3 * PAGE_BYTES];

	if (opt->provision == PROVISION_RENEW)
		told->anew = true;
	if (backing_activate(path, opt, &b, NULL, &e) < 0 || !(p = pool_create(16, true, &e))) {
		fprintf(stderr, "%s\n", e.text);
		_exit(1);
	}
	if (told->anew) {
		told->anew = false;
		memset(told->value, 0, sizeof(told->value));
	}
	if (backing_begin(b, &t, &e) < 0 || !(s = store_create(&(struct store_options){ .name = "x", .fd = backing_fd(b), .table = t, .pool = p }, &e))) {
		fprintf(stderr, "%s\n", e.text);
		_exit(1);
	}
	told->generation = backing_activation(b);
	for (uint64_t page = 0; page + 3 <= PAGES; page += 5) {
		uint8_t value = (uint8_t)(first + page);

		fill_pages(data, 3, value);
		store_rw(s, NULL, RW_WRITE, page * PAGE_BYTES, 3 * PAGE_BYTES, data, NULL);
		memset(told->value + page, value, 3);
		store_rw(s, NULL, RW_DISCARD, (page + 2) * PAGE_BYTES, PAGE_BYTES, NULL, NULL);
		told->value[page + 2] = 0;
	}
	store_drain(s, 1000);
	store_free(s);
	if (backing_end(b, t, &e) < 0)
		_exit(1);
	table_free(t);
	pool_free(p);
	backing_close(b);
}

static void life(const char *path)
{
	struct backing_options opt = { .size = SIZE, .provision = PROVISION_CREATE, .dirfd = AT_FDCWD, .allow_unlocked = true };

	use(path, &opt, 10);
	use(path, &opt, 90);
	opt.provision = PROVISION_RENEW;
	use(path, &opt, 170);
}

/* What a successor finds.  Returns false when it was refused (allowed only while nothing was ever finished, or while it is made anew). */
static bool inspect(const char *path, enum provision provision, const char *where)
{
	struct backing_options opt = { .size = SIZE, .provision = provision, .dirfd = AT_FDCWD, .allow_unlocked = true };
	struct errbuf e = { .code = 0 };
	struct backing *b;
	struct table *t;
	struct pool *p = pool_create(16, true, &e);
	struct store *s;
	unsigned char page[PAGE_BYTES];
	uint64_t lost = 0;

	if (backing_activate(path, &opt, &b, NULL, &e) < 0) {
		pool_free(p);
		if (told->generation && !told->anew)
			fail_msg("%s: refused: %s", where, e.text);
		return false;
	}
	assert_int_equal(backing_begin(b, &t, &e), 0);
	s = store_create(&(struct store_options){ .name = "x", .fd = backing_fd(b), .table = t, .pool = p }, &e);
	for (uint64_t i = 0; i < PAGES; i++) {
		int error = store_rw(s, NULL, RW_READ, i * PAGE_BYTES, PAGE_BYTES, page, NULL);

		if (error) {
			lost++;
			continue;
		}
		if (told->anew && page[0] == 0)
			expect_pages(page, 1, 0); /* it was through, only the word of it was not */
		else if (page[0] != told->value[i] || page[PAGE_BYTES - 1] != told->value[i])
			fail_msg("%s: page %d reads 0x%02x, promised was 0x%02x", where, (int)i, page[0], told->value[i]);
	}
	if (lost && told->generation && backing_activation(b) <= told->generation)
		fail_msg("%s: pages are lost under the generation of before", where);
	store_drain(s, 1000);
	store_free(s);
	table_free(t);
	pool_free(p);
	backing_close(b);
	return true;
}

static void every_instant(void **state)
{
	static const char *const names[WAYS] = { "kill", "cut", "cut, mixed", "cut, last" };
	char *dir = scratch_dir(), path[300], where[100];
	unsigned instants = 0, refused = 0;

	(void)state;
	snprintf(path, sizeof(path), "%s/file", dir);
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	for (int w = 0; w < WAYS; w++)
		for (long n = 0;; n++) {
			int status;
			pid_t pid;

			unlink(path);
			memset(told, 0, sizeof(*told));
			pid = fork();
			if (pid == 0) {
				calls_left = n;
				way = (enum way)w;
				life(path);
				_exit(0);
			}
			assert_int_equal(waitpid(pid, &status, 0), pid);
			assert_true(WIFEXITED(status));
			if (WEXITSTATUS(status) == 0)
				break; /* it lived to its end */
			assert_int_equal(WEXITSTATUS(status), 42);
			instants++;
			snprintf(where, sizeof(where), "%s at instant %ld", names[w], n);
			if (!inspect(path, PROVISION_NEVER, where)) {
				refused++;
				/* Refused, and then made whole. */
				if (!inspect(path, PROVISION_RENEW, where))
					fail_msg("%s: cannot be made whole again", where);
			}
			/* inspect() crashed too, in a way: it ended without an end.  So everything is lost now. */
			told->generation = 0;
			forget();
		}
	print_message("%u instants, at %u of them the file was refused\n", instants, refused);
	assert_true(instants > 100);
	munmap(told, sizeof(*told));
	scratch_remove(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(every_instant) };
	struct backend b;
	int fd;

	/* The power is cut by this program, so a file system in memory is as good, and its syncs are fast. */
	if (access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 1);
	fd = scratch_file(PAGE_BYTES);
	if (backend_find(fd, "the scratch file", &b, NULL) < 0) {
		puts("SKIP: TMPDIR is on a file system that is not served");
		return 77;
	}
	close(fd);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
