/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/faults/life.h"

#include "store/fault.h"
#include "store/store.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define SIZE (LIFE_PAGES * (uint64_t)PAGE_BYTES)
#define FILE_MOST (SIZE + 64 * PAGE_BYTES)

static char *dir, path[300], key_file[300];
static bool sealed;
static struct life_told *told;
static struct fault_counters *shared;

/* The file as it was staged once, and what was promised of it then. */
static struct staged {
	unsigned char content[FILE_MOST];
	size_t size;
	struct life_told told;
} *staged[START_COUNT];

static bool served_below(const char *base)
{
	struct backend b;
	bool served;
	int fd;

	setenv("TMPDIR", base, 1);
	fd = scratch_file(PAGE_BYTES);
	served = backend_find(fd, "the scratch file", &b, NULL) == 0;
	close(fd);
	return served;
}

bool life_place(bool on_disk)
{
	static char tmpdir[200];

	if (!tmpdir[0])
		snprintf(tmpdir, sizeof(tmpdir), "%s", getenv("TMPDIR") && *getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	/* A file system in memory is as good, as nothing here cuts the power, and its syncs are fast. */
	return served_below(!on_disk && access("/dev/shm", W_OK) == 0 ? "/dev/shm" : tmpdir);
}

const struct life_told *life_told(void)
{
	return told;
}

const char *life_spec_name(const struct life_spec *spec)
{
	static const char *const starts[START_COUNT] = { "no file", "an empty file", "a fresh file", "a used file", "an unclean file",
							 "a file half allocated", "a file with a hole" };
	static const char *const provisions[] = { "never", "create", "rewrite", "renew" };
	static char name[100];

	snprintf(name, sizeof(name), "%s%s, provision %s%s", sealed ? "sealed, " : "", starts[spec->start], provisions[spec->provision],
		 spec->loses ? ", given up" : "");
	return name;
}

/* ---- a life ---- */

static struct backing_options options(enum provision provision)
{
	return (struct backing_options){
		.size = SIZE, .provision = provision, .dirfd = AT_FDCWD, .allow_unlocked = true,
		.seal = sealed ? PAGE_SEAL_AES_256_GCM : PAGE_SEAL_NONE, .key_file = sealed ? key_file : NULL,
	};
}

/* Is the error one that a person can do something with? */
static void check_error(const char *what, const struct errbuf *e)
{
	told->said = true;
	if (e->code == 0 || !strstr(e->text, path))
		snprintf(told->unnamed, sizeof(told->unnamed), "%s: (%d) %s", what, e->code, e->text);
}

static void write_pages(struct store *s, unsigned first, unsigned n, uint8_t value)
{
	static unsigned char data[4 * PAGE_BYTES];
	int error;

	memset(data, value, n * PAGE_BYTES);
	for (unsigned i = first; i < first + n; i++) {
		/* Pages differ within themselves and from each other, so that none is answered from the table. */
		memcpy(data + (i - first) * PAGE_BYTES, &i, sizeof(i));
		told->page[i].tried = value;
		told->page[i].trying = true;
	}
	error = store_rw(s, NULL, RW_WRITE, first * PAGE_BYTES, n * PAGE_BYTES, data, NULL);
	for (unsigned i = first; i < first + n; i++) {
		told->page[i].trying = false;
		told->page[i].lost_only = error != 0;
		if (!error)
			told->page[i].value = value;
	}
}

static void discard_page(struct store *s, unsigned page)
{
	told->page[page].tried = 0;
	told->page[page].trying = true;
	if (store_rw(s, NULL, RW_DISCARD, page * PAGE_BYTES, PAGE_BYTES, NULL, NULL) == 0) {
		told->page[page].value = 0;
		told->page[page].lost_only = false;
	}
	told->page[page].trying = false;
}

/* NULL when it is a page that was written with this value, or zeros for 0. */
static const char *page_is_not(const unsigned char *data, unsigned page, uint8_t value)
{
	unsigned char want[PAGE_BYTES];

	memset(want, value, sizeof(want));
	if (value)
		memcpy(want, &page, sizeof(page));
	return memcmp(data, want, sizeof(want)) == 0 ? NULL : "something else";
}

/* Counts it in *lost when it cannot be read and no one had said so. */
static void read_page(struct store *s, unsigned page, char *wrong, size_t room, unsigned *lost)
{
	unsigned char data[PAGE_BYTES];

	if (store_rw(s, NULL, RW_READ, page * PAGE_BYTES, PAGE_BYTES, data, NULL) != 0) {
		*lost += !told->page[page].lost_only;
		return;
	}
	if (told->anew && !page_is_not(data, page, 0))
		return; /* it was through, only the word of it was not */
	if (told->page[page].lost_only)
		snprintf(wrong, room, "page %u reads, but its write had failed", page);
	else if (page_is_not(data, page, told->page[page].value) &&
		 !(told->page[page].trying && !page_is_not(data, page, told->page[page].tried)))
		snprintf(wrong, room, "page %u reads as 0x%02x.., promised was 0x%02x", page, data[PAGE_BYTES - 1],
			 told->page[page].value);
}

static struct store *make_store(struct backing *b, struct table *t, struct pool **pool)
{
	struct errbuf e;
	struct store *s;

	*pool = pool_create(16, true, &e);
	if (!*pool)
		abort();
	s = store_create(&(struct store_options){ .name = "life", .fd = backing_fd(b), .table = t, .pool = *pool,
						  .kind = backing_backend(b)->kind }, &e);
	if (!s)
		abort();
	return s;
}

static void forget_pages(void)
{
	memset(told->page, 0, sizeof(told->page));
}

/* After an unclean end every page is lost, and none may be read. */
static void lose_pages(void)
{
	for (unsigned page = 0; page < LIFE_PAGES; page++)
		told->page[page].lost_only = true;
}

static bool progress(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	(void)done;
	(void)total;
	told->filled = true;
	forget_pages();
	return true;
}

/* Gives the content up, as the daemon does when a dead worker's writes cannot be waited for. */
static void give_up(struct backing *b, struct table *t)
{
	struct errbuf e = { .code = 0 };
	struct pool *pool;
	struct store *s;
	unsigned lost = 0;

	if (backing_lost(b, t, &e) < 0)
		check_error("lost", &e);
	else
		told->generation = backing_activation(b);
	lose_pages();
	s = make_store(b, t, &pool);
	for (unsigned page = 0; page < LIFE_PAGES; page++)
		read_page(s, page, told->wrong, sizeof(told->wrong), &lost);
	write_pages(s, 3, 2, 200);
	store_drain(s, 1000);
	store_free(s);
	pool_free(pool);
}

/* Uses it from begin to end.  half: it is left in use. */
static int use(struct backing *b, uint8_t value, bool half, bool loses)
{
	struct errbuf e = { .code = 0 };
	struct table *t;
	struct pool *pool;
	struct store *s;
	unsigned lost = 0;
	int r;

	if (backing_begin(b, &t, &e) < 0) {
		check_error("begin", &e);
		return -1;
	}
	told->began = true;
	told->generation = backing_activation(b);
	if (backing_was_unclean(b))
		lose_pages();
	s = make_store(b, t, &pool);
	for (unsigned page = 0; page < LIFE_PAGES; page += 3)
		read_page(s, page, told->wrong, sizeof(told->wrong), &lost);
	for (unsigned page = 0; page + 3 <= LIFE_PAGES; page += 5) {
		write_pages(s, page, 3, (uint8_t)(value + page));
		discard_page(s, page + 2);
	}
	for (unsigned page = 0; page < LIFE_PAGES; page++)
		read_page(s, page, told->wrong, sizeof(told->wrong), &lost);
	store_drain(s, 1000);
	store_free(s);
	pool_free(pool);
	if (loses)
		give_up(b, t);
	if (half) {
		table_free(t);
		return 0;
	}
	r = backing_end(b, t, &e);
	table_free(t);
	if (r < 0)
		check_error("end", &e);
	else
		told->ended = true;
	return r;
}

static int live(enum provision provision, uint8_t value, bool half, bool loses)
{
	struct backing_options opt = options(provision);
	struct errbuf e = { .code = 0 };
	struct backing *b;
	int r;

	opt.progress = progress;
	told->anew = provision == PROVISION_RENEW;
	if (backing_activate(path, &opt, &b, NULL, &e) < 0) {
		check_error("activate", &e);
		return -1;
	}
	told->activated = true;
	if (told->filled)
		forget_pages();
	told->anew = false;
	r = use(b, value, half, loses);
	backing_close(b);
	return r;
}

static int count_descriptors(void)
{
	CLEANUP_CLOSEDIR DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (d && readdir(d))
		n++;
	return n;
}

bool life_live(const struct life_spec *spec, const char *rules)
{
	int status;
	pid_t pid;

	memset(shared, 0, sizeof(*shared));
	pid = fork();
	if (pid == 0) {
		struct errbuf e;
		int before = count_descriptors();

		alarm(60); /* nothing here waits for anything */
		if (fault_configure(rules, &e) < 0) {
			fprintf(stderr, "%s\n", e.text);
			_exit(2);
		}
		live(spec->provision, 100, false, spec->loses);
		told->descriptors_left = count_descriptors() - before;
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFEXITED(status))
		assert_int_equal(WEXITSTATUS(status), 0);
	else if (WTERMSIG(status) != SIGKILL || fault_hits(FAULT_KILL) == 0)
		fail_msg("%s, %s: ended by signal %d", life_spec_name(spec), rules, WTERMSIG(status));
	for (int k = 0; k < FAULT_DONE; k++)
		if (fault_hits((enum fault_kind)k))
			return true;
	return false;
}

/* ---- before it ---- */

static void keep(enum life_start start)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = pread(fd, staged[start]->content, FILE_MOST, 0);

	assert_true(n > 0 && n < (ssize_t)FILE_MOST);
	close(fd);
	staged[start]->size = (size_t)n;
	staged[start]->told = *told;
}

static bool interrupt(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	(void)done;
	(void)total;
	return false;
}

/* Every state is made once, in one and the same inode, for a half allocated file is trusted only in its own. */
static void make_stages(void)
{
	struct backing_options opt = options(PROVISION_RENEW);
	struct errbuf e;
	struct backing *b;

	assert_int_equal(backing_activate(path, &opt, &b, NULL, &e), 0);
	backing_close(b);
	memset(told, 0, sizeof(*told));
	keep(START_FRESH);
	assert_int_equal(live(PROVISION_NEVER, 10, false, false), 0);
	assert_int_equal(told->wrong[0], 0);
	keep(START_USED);
	keep(START_HOLED);
	assert_int_equal(live(PROVISION_NEVER, 50, true, false), 0);
	keep(START_UNCLEAN);
	opt.progress = interrupt;
	assert_int_equal(backing_activate(path, &opt, &b, NULL, &e), -1);
	assert_int_equal(e.code, EINTR);
	memset(told, 0, sizeof(*told));
	keep(START_ALLOCATING);
}

static void make_key_file(void)
{
	int fd = open(key_file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	assert_int_equal(write(fd, "a key of 32 bytes, for this test", 32), 32);
	close(fd);
}

static int setup(void)
{
	dir = scratch_dir();
	snprintf(path, sizeof(path), "%s/file", dir);
	snprintf(key_file, sizeof(key_file), "%s/key", dir);
	make_key_file();
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	told = mmap(NULL, sizeof(*told), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	fault_count_in(shared);
	close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	for (int i = 0; i < START_COUNT; i++)
		staged[i] = calloc(1, sizeof(*staged[i]));
	make_stages();
	return 0;
}

int life_setup(void **state)
{
	(void)state;
	sealed = false;
	return setup();
}

int life_setup_sealed(void **state)
{
	(void)state;
	sealed = true;
	return setup();
}

int life_teardown(void **state)
{
	(void)state;
	for (int i = 0; i < START_COUNT; i++)
		free(staged[i]);
	munmap(told, sizeof(*told));
	fault_count_in(NULL);
	munmap(shared, sizeof(*shared));
	scratch_remove(dir);
	return 0;
}

void life_stage(const struct life_spec *spec)
{
	const struct staged *s = staged[spec->start];
	int fd;

	if (spec->start == START_NONE) {
		unlink(path);
		memset(told, 0, sizeof(*told));
		return;
	}
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(pwrite(fd, s->content, s->size, 0), s->size);
	if (spec->start == START_HOLED)
		assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 5 * PAGE_BYTES, PAGE_BYTES), 0);
	fsync(fd);
	close(fd);
	*told = s->told;
	told->activated = told->began = told->ended = told->said = false;
}

/* ---- after it ---- */

static bool inspect(enum provision provision, struct life_found *found)
{
	struct backing_options opt = options(provision);
	struct errbuf e = { .code = 0 };
	struct backing *b;
	struct table *t;
	struct pool *pool;
	struct store *s;

	if (backing_activate(path, &opt, &b, NULL, &e) < 0)
		return false;
	if (backing_begin(b, &t, &e) < 0)
		fail_msg("begin without a fault: %s", e.text);
	found->activated = true;
	found->generation = backing_activation(b);
	s = make_store(b, t, &pool);
	for (unsigned page = 0; page < LIFE_PAGES; page++)
		read_page(s, page, found->wrong, sizeof(found->wrong), &found->lost);
	lose_pages();
	for (unsigned page = 0; backing_was_unclean(b) && page < LIFE_PAGES; page++)
		read_page(s, page, found->wrong, sizeof(found->wrong), &found->lost);
	store_drain(s, 1000);
	store_free(s);
	pool_free(pool);
	table_free(t);
	backing_close(b);
	return true;
}

void life_inspect(const struct life_spec *spec, struct life_found *found)
{
	struct life_found whole = { .lost = 0 };

	memset(found, 0, sizeof(*found));
	alarm(60);
	if (inspect(PROVISION_NEVER, found))
		return;
	/* Refused: not left so for good. */
	told->anew = true;
	forget_pages();
	if (!inspect(PROVISION_RENEW, &whole) || whole.lost || whole.wrong[0])
		snprintf(found->wrong, sizeof(found->wrong), "it cannot be made whole again");
}
