/* SPDX-License-Identifier: BSD-3-Clause */
/* How a dead worker's I/O is waited for, as far as it does not take a slow backend (tests/vm/test-orphans.sh): what holds a worker's
 * description is waited for, and what a server says of the wait is not taken for more than it is.
 */
#include "config.h"

#include "store/barrier.h"
#include "store/fault.h"
#include "tests/store/support.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

static struct errbuf e;

static struct backend backend(enum backend_kind kind)
{
	return (struct backend){ .kind = kind, .name = "unit" };
}

static int pass(enum backend_kind kind, int fd)
{
	struct backend b = backend(kind);
	int worker_fd = -1;

	e.code = 0;
	return backend_barrier(&b, fd, &worker_fd, "f", &e);
}

static int file(void)
{
	static const char page[PAGE_BYTES];
	int fd = scratch_file(0);

	assert_int_equal(write(fd, page, sizeof(page)), sizeof(page));
	return fd;
}

static void none_is_said(void **state)
{
	int fd = file();

	(void)state;
	/* The kernel's SMB client knows no such file. */
	assert_int_equal(pass(BACKEND_SMB, fd), -1);
	assert_int_equal(e.code, ENOTSUP);
	/* Without a description of the worker's own nothing is known. */
	assert_int_equal(pass(BACKEND_BTRFS, fd), -1);
	assert_int_equal(e.code, ENOTSUP);
	assert_int_equal(pass(BACKEND_BLOCKDEV, fd), -1);
	assert_int_equal(e.code, ENOTSUP);
	assert_int_equal(pass(BACKEND_TMPFS, fd), 0);
	close(fd);
}

/* A server that is full may refuse to allocate what is allocated; so it is not asked. */
static void a_full_server(void **state)
{
	static const char *const refused[] = { "EOPNOTSUPP", "ENOSPC", "EDQUOT" };
	int fd = file();
	char rules[64];

	(void)state;
	for (size_t i = 0; i < sizeof(refused) / sizeof(refused[0]); i++) {
		snprintf(rules, sizeof(rules), "barrier.allocate:errno=%s", refused[i]);
		assert_int_equal(fault_configure(rules, &e), 0);
		assert_int_equal(pass(BACKEND_NFS, fd), 0);
		assert_int_equal(pass(BACKEND_EXT4, fd), -1);
		assert_int_equal(pass(BACKEND_XFS, fd), i == 0 ? -1 : 0); /* which has waited by then */
	}
	assert_int_equal(fault_configure("barrier:errno=EIO", &e), 0);
	assert_int_equal(pass(BACKEND_NFS, fd), -1);
	assert_int_equal(e.code, EIO);
	assert_int_equal(fault_configure(NULL, &e), 0);
	close(fd);
}

struct waiter {
	struct backend b;
	int fd, worker_fd, result, done[2];
};

static void *wait_for_worker(void *arg)
{
	struct waiter *w = arg;

	w->result = backend_barrier(&w->b, w->fd, &w->worker_fd, "f", NULL);
	assert_int_equal(write(w->done[1], "", 1), 1);
	return NULL;
}

static bool ended(const struct waiter *w, int ms)
{
	struct pollfd p = { .fd = w->done[0], .events = POLLIN };

	return poll(&p, 1, ms) == 1;
}

/* The barrier does not return before orphan, the last that refers to the dead worker's description, is closed. */
static void waits_for(struct waiter *w, int orphan)
{
	pthread_t thread;

	assert_int_equal(pthread_create(&thread, NULL, wait_for_worker, w), 0);
	assert_false(ended(w, 300));
	close(orphan);
	assert_true(ended(w, 30000));
	pthread_join(thread, NULL);
	assert_int_equal(w->result, 0);
}

/* The worker is gone and something of it still refers to its description, as a direct I/O under way does. */
static void last_reference(void **state)
{
	static const enum backend_kind kinds[] = { BACKEND_BTRFS, BACKEND_BLOCKDEV };

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct waiter w = { .b = backend(kinds[i]), .fd = file() };
		int orphan;

		assert_int_equal(pipe(w.done), 0);
		assert_int_equal(barrier_worker_fd(&w.b, w.fd, "f", &w.worker_fd, &e), 0);
		assert_true(w.worker_fd >= 0);
		orphan = dup(w.worker_fd);
		waits_for(&w, orphan);

		/* And the next worker's. */
		assert_true(w.worker_fd >= 0);
		orphan = dup(w.worker_fd);
		assert_int_equal(read(w.done[0], &(char){ 0 }, 1), 1);
		waits_for(&w, orphan);
		close(w.worker_fd);
		close(w.fd);
		close(w.done[0]);
		close(w.done[1]);
	}
}

/* No room for the next worker's description, or no lock: said as what passes, and what was to be waited for still is. */
static void asked_again(void **state)
{
	static const char *const rules[] = { "open:errno=EMFILE", "barrier:errno=ENOMEM", "lock.take:errno=ENOMEM" };
	static const int codes[] = { EAGAIN, ENOMEM, ENOMEM };
	struct waiter w = { .b = backend(BACKEND_BLOCKDEV), .fd = file() };
	int orphan;

	(void)state;
	assert_int_equal(pipe(w.done), 0);
	assert_int_equal(fault_configure(rules[0], &e), 0);
	assert_int_equal(barrier_worker_fd(&w.b, w.fd, "f", &w.worker_fd, &e), -1);
	assert_int_equal(e.code, EAGAIN);
	assert_int_equal(fault_configure(NULL, &e), 0);
	assert_int_equal(barrier_worker_fd(&w.b, w.fd, "f", &w.worker_fd, &e), 0);
	orphan = dup(w.worker_fd);
	for (size_t i = 0; i < 2; i++) {
		assert_int_equal(fault_configure(rules[i], &e), 0);
		assert_int_equal(backend_barrier(&w.b, w.fd, &w.worker_fd, "f", &e), -1);
		assert_int_equal(e.code, codes[i]);
		assert_true(w.worker_fd >= 0);
		assert_int_equal(fault_configure(NULL, &e), 0);
	}
	waits_for(&w, orphan);

	assert_int_equal(fault_configure(rules[2], &e), 0);
	assert_int_equal(backend_barrier(&w.b, w.fd, &w.worker_fd, "f", &e), -1);
	assert_int_equal(e.code, codes[2]);
	assert_int_equal(fault_configure(NULL, &e), 0);
	assert_int_equal(backend_barrier(&w.b, w.fd, &w.worker_fd, "f", &e), 0);
	assert_int_equal(barrier_worker_there(&w.b, w.fd), 1); /* the next worker's */
	close(w.worker_fd);
	assert_int_equal(barrier_worker_there(&w.b, w.fd), 0);
	close(w.fd);
	close(w.done[0]);
	close(w.done[1]);
}

/* Too many files are open here: that says nothing of what the dead worker left, so it is what passes, and no reason to give pages up. */
static void no_descriptor_left(void **state)
{
	static const enum backend_kind kinds[] = { BACKEND_NFS, BACKEND_SMB };
	int fd = file(), last = dup(fd);
	struct rlimit limit, none;

	(void)state;
	close(last);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	none = limit;
	none.rlim_cur = (rlim_t)last; /* the lowest free one is one too many */
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		int r;

		assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
		r = pass(kinds[i], fd);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		assert_int_equal(r, -1);
		assert_int_equal(e.code, EAGAIN);
	}
	assert_int_equal(pass(BACKEND_NFS, fd), 0);
	close(fd);
}

/* An extra description is only where it is of use. */
static void others_have_none(void **state)
{
	static const enum backend_kind kinds[] = { BACKEND_EXT4, BACKEND_XFS, BACKEND_NFS, BACKEND_SMB, BACKEND_TMPFS };
	int fd = file();

	(void)state;
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		struct backend b = backend(kinds[i]);
		int own = 9;

		assert_int_equal(barrier_worker_fd(&b, fd, "f", &own, &e), 0);
		assert_int_equal(own, -1);
	}
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(none_is_said),
		cmocka_unit_test(a_full_server),
		cmocka_unit_test(last_reference),
		cmocka_unit_test(asked_again),
		cmocka_unit_test(no_descriptor_left),
		cmocka_unit_test(others_have_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
