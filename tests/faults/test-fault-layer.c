/* SPDX-License-Identifier: BSD-3-Clause */
/* Each fault does what its word says, when its rule says, and nothing else. */
#include "config.h"

#include "tests/store/support.h"

#include "store/fault.h"
#include "store/page.h"
#include "store/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#define PAGES 16
#define SIZE (PAGES * PAGE_BYTES)

static int fd;
static unsigned char data[4 * PAGE_BYTES], file[SIZE];

static void set(const char *rules)
{
	struct errbuf e = { .code = 0 };

	if (fault_configure(rules, &e) < 0)
		fail_msg("%s: %s", rules, e.text);
}

static int setup(void **state)
{
	(void)state;
	fd = scratch_file(SIZE);
	memset(data, 0xbb, sizeof(data));
	memset(file, 0xaa, sizeof(file));
	set("");
	assert_int_equal(pwrite(fd, file, SIZE, 0), SIZE);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	set("");
	close(fd);
	return 0;
}

/* Four pages at the fourth, in two pieces. */
static ssize_t write_four(void)
{
	struct iovec iov[2] = { { data, PAGE_BYTES }, { data + PAGE_BYTES, 3 * PAGE_BYTES } };

	return sys_pwritev(POINT_RW_WRITE, fd, iov, 2, 4 * PAGE_BYTES);
}

static ssize_t read_four(unsigned char *into)
{
	struct iovec iov[2] = { { into, 3 * PAGE_BYTES }, { into + 3 * PAGE_BYTES, PAGE_BYTES } };

	return sys_preadv(POINT_RW_READ, fd, iov, 2, 4 * PAGE_BYTES);
}

static void look(void)
{
	assert_int_equal(pread(fd, file, SIZE, 0), SIZE);
}

/* How many bytes of the file have this value, and where the first of them is. */
static size_t count(unsigned char value, size_t *first)
{
	size_t n = 0;

	look();
	for (size_t i = 0; i < SIZE; i++)
		if (file[i] == value && n++ == 0 && first)
			*first = i;
	return n;
}

static void an_error_leaves_the_file_alone(void **state)
{
	(void)state;
	set("rw.write:errno=ESTALE");
	errno = 0;
	assert_int_equal(write_four(), -1);
	assert_int_equal(errno, ESTALE);
	assert_int_equal(count(0xbb, NULL), 0);
	set("rw.write:errno=EIO,done");
	assert_int_equal(write_four(), -1);
	assert_int_equal(errno, EIO);
	assert_int_equal(count(0xbb, NULL), sizeof(data));
}

static void other_points_are_left_alone(void **state)
{
	(void)state;
	set("trailer.*:errno=EIO");
	assert_int_equal(write_four(), sizeof(data));
	assert_int_equal(sys_pwrite(POINT_TRAILER_WRITE, fd, data, PAGE_BYTES, 0), -1);
	assert_int_equal(sys_fsync(POINT_TRAILER_SYNC, fd), -1);
	assert_int_equal(sys_fsync(POINT_ALLOC_SYNC, fd), 0);
}

static void a_lost_write_is_acknowledged(void **state)
{
	(void)state;
	set("rw.write:lost;alloc.sync:lost");
	assert_int_equal(write_four(), sizeof(data));
	assert_int_equal(sys_fsync(POINT_ALLOC_SYNC, fd), 0);
	assert_int_equal(count(0xbb, NULL), 0);
}

static void a_torn_write_ends_in_a_sector(void **state)
{
	size_t n, first = 0;

	(void)state;
	for (int seed = 0; seed < 200; seed++) {
		char rule[80];

		memset(file, 0xaa, sizeof(file));
		assert_int_equal(pwrite(fd, file, SIZE, 0), SIZE);
		snprintf(rule, sizeof(rule), "rw.write:torn,seed=%d", seed);
		set(rule);
		assert_int_equal(write_four(), sizeof(data));
		n = count(0xbb, &first);
		assert_int_equal(first, 4 * PAGE_BYTES);
		assert_true(n >= 512 && n < sizeof(data) && n % 512 == 0);
	}
}

static void a_short_call_says_how_much(void **state)
{
	unsigned char got[4 * PAGE_BYTES];
	ssize_t r;

	(void)state;
	set("rw.[rw]*:short");
	r = write_four();
	assert_true(r >= 512 && r < (ssize_t)sizeof(data) && r % 512 == 0);
	assert_int_equal(count(0xbb, NULL), r);
	memset(got, 0xee, sizeof(got));
	r = read_four(got);
	assert_true(r >= 512 && r < (ssize_t)sizeof(got) && r % 512 == 0);
	assert_int_equal(got[r - 1] == 0xee, 0);
	assert_int_equal(got[r], 0xee);
}

static void a_misdirected_write_lands_on_another_page(void **state)
{
	size_t first = 0;

	(void)state;
	set("rw.write:misdirect");
	assert_int_equal(write_four(), sizeof(data));
	assert_int_equal(count(0xbb, &first), sizeof(data));
	assert_true(first < 4 * PAGE_BYTES && first % PAGE_BYTES == 0);
}

static unsigned bits_that_differ(const unsigned char *p, unsigned char value, size_t n)
{
	unsigned bits = 0;

	for (size_t i = 0; i < n; i++)
		bits += (unsigned)__builtin_popcount(p[i] ^ value);
	return bits;
}

static void a_flip_is_one_bit(void **state)
{
	unsigned char got[4 * PAGE_BYTES];

	(void)state;
	for (int seed = 0; seed < 200; seed++) {
		char rule[80];

		snprintf(rule, sizeof(rule), "rw.write:flip,seed=%d", seed);
		set(rule);
		assert_int_equal(write_four(), sizeof(data));
		look();
		assert_int_equal(bits_that_differ(file + 4 * PAGE_BYTES, 0xbb, sizeof(data)), 1);
		assert_int_equal(bits_that_differ(data, 0xbb, sizeof(data)), 0); /* the caller's own stay right */
	}
	set("rw.write:flip=3");
	assert_int_equal(write_four(), sizeof(data));
	look();
	assert_int_equal(bits_that_differ(file + 4 * PAGE_BYTES, 0xbb, 3), 1);
	set("");
	assert_int_equal(write_four(), sizeof(data));
	set("rw.read:flip");
	assert_int_equal(read_four(got), sizeof(got));
	assert_int_equal(bits_that_differ(got, 0xbb, sizeof(got)), 1);
}

static void nth_from_and_every_count(void **state)
{
	(void)state;
	set("rw.write:errno=EIO,nth=3");
	for (int i = 1; i <= 5; i++)
		assert_int_equal(write_four(), i == 3 ? -1 : (int)sizeof(data));
	set("rw.write:errno=EIO,every=3");
	for (int i = 1; i <= 7; i++)
		assert_int_equal(write_four(), i % 3 == 0 ? -1 : (int)sizeof(data));
	set("rw.write:errno=EIO,from=3");
	for (int i = 1; i <= 5; i++)
		assert_int_equal(write_four(), i >= 3 ? -1 : (int)sizeof(data));
}

static void a_rate_is_kept_and_told_by_the_seed(void **state)
{
	unsigned hits[3] = { 0, 0, 0 };
	bool same = true, other = true, first[2000];
	static const char *const rules[3] = { "rw.write:errno=EIO,rate=0.1,seed=5", "rw.write:errno=EIO,rate=0.1,seed=5",
					      "rw.write:errno=EIO,rate=0.1,seed=6" };

	(void)state;
	for (int run = 0; run < 3; run++) {
		set(rules[run]);
		for (int i = 0; i < 2000; i++) {
			bool hit = write_four() < 0;

			hits[run] += hit;
			if (run == 0)
				first[i] = hit;
			else if (run == 1)
				same &= first[i] == hit;
			else
				other &= first[i] == hit;
		}
	}
	assert_true(same && !other);
	assert_true(hits[0] > 120 && hits[0] < 280);
	set("rw.write:errno=EIO,rate=0");
	for (int i = 0; i < 100; i++)
		assert_true(write_four() > 0);
}

static void a_trigger_file_switches(void **state)
{
	char *dir = scratch_dir(), trigger[300], rule[400];
	uint64_t before = fault_hits_at(POINT_RW_WRITE);

	(void)state;
	snprintf(trigger, sizeof(trigger), "%s/on", dir);
	snprintf(rule, sizeof(rule), "rw.write:errno=EIO,trigger=%s", trigger);
	set(rule);
	assert_true(write_four() > 0);
	close(open(trigger, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_true(write_four() < 0);
	unlink(trigger);
	assert_true(write_four() > 0);
	assert_int_equal(fault_hits_at(POINT_RW_WRITE), before + 1);
	scratch_remove(dir);
}

static void *take_away(void *trigger)
{
	usleep(50000);
	unlink(trigger);
	return NULL;
}

static void a_hang_ends_with_its_trigger(void **state)
{
	char *dir = scratch_dir(), trigger[300], rule[400];
	pthread_t t;

	(void)state;
	snprintf(trigger, sizeof(trigger), "%s/on", dir);
	snprintf(rule, sizeof(rule), "rw.write:hang,trigger=%s", trigger);
	set(rule);
	close(open(trigger, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	assert_int_equal(pthread_create(&t, NULL, take_away, trigger), 0);
	assert_int_equal(write_four(), sizeof(data));
	assert_int_equal(access(trigger, F_OK), -1); /* not before */
	pthread_join(t, NULL);
	assert_int_equal(count(0xbb, NULL), sizeof(data));
	scratch_remove(dir);
}

/* Before the call, or after it. */
static void a_kill_kills_at_the_call(void **state)
{
	struct fault_counters *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	(void)state;
	fault_count_in(shared);
	for (int after = 0; after < 2; after++) {
		int status;
		pid_t pid = fork();

		if (pid == 0) {
			set(after ? "rw.write:kill,done,nth=2" : "rw.write:kill,nth=2");
			sys_pwrite(POINT_RW_WRITE, fd, data, PAGE_BYTES, 0);
			sys_pwrite(POINT_RW_WRITE, fd, data, PAGE_BYTES, PAGE_BYTES);
			_exit(0);
		}
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
		assert_int_equal(count(0xbb, NULL), (after ? 2 : 1) * PAGE_BYTES);
		assert_int_equal(fault_hits(FAULT_KILL), after + 1); /* the count outlives it */
	}
	assert_int_equal(fault_calls(), 4);
	fault_count_in(NULL);
	munmap(shared, sizeof(*shared));
}

static void wrong_rules_are_refused(void **state)
{
	static const char *const wrong[] = {
		"rw.write", "rw.write:", "rw.write:what", "rw.write:errno=ENOTHING", "rw.wirte:errno=EIO", "rw.write:nth=3",
		"rw.write:errno=EIO,nth=0", "rw.write:errno=EIO,rate=2", "rw.write:hang", "rw.read:torn", "rw.read:lost", "lock.take:flip",
		"*:torn", "rw.write:delay=0", "rw.write:done", "rw.write:errno=EIO,seed=x", "rw.write:errno=EIO,trigger=",
	};
	struct errbuf e;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		if (fault_configure(wrong[i], &e) == 0)
			fail_msg("\"%s\" was taken", wrong[i]);
	assert_true(write_four() > 0);
	set("*:errno=EIO,nth=1");
	assert_true(fault_configure("nothing", &e) < 0); /* and what was there stays */
	assert_true(write_four() < 0);
}

int main(void)
{
#define EACH(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		EACH(an_error_leaves_the_file_alone),
		EACH(other_points_are_left_alone),
		EACH(a_lost_write_is_acknowledged),
		EACH(a_torn_write_ends_in_a_sector),
		EACH(a_short_call_says_how_much),
		EACH(a_misdirected_write_lands_on_another_page),
		EACH(a_flip_is_one_bit),
		EACH(nth_from_and_every_count),
		EACH(a_rate_is_kept_and_told_by_the_seed),
		EACH(a_trigger_file_switches),
		EACH(a_hang_ends_with_its_trigger),
		EACH(a_kill_kills_at_the_call),
		EACH(wrong_rules_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
