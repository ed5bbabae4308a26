/* SPDX-License-Identifier: BSD-3-Clause */
/* The keeper's two pure parts: what it reads in a message, and its store. */
#include "config.h"

#include "server/keeper_message.h"
#include "server/keeper_store.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define ABOVE 300

static struct keeper_message m;
static struct keeper_store store;
static char names[KEEPER_NAMES_SIZE];

static bool reads(const char *text)
{
	return keeper_message_read(text, strlen(text), &m);
}

/* ---- messages ---- */

static void test_variables(void **state)
{
	(void)state;
	assert_true(reads("READY=1\nSTATUS=all is well\nMAINPID=1\n"));
	assert_true(m.ready && !m.stopping && !m.store && !m.remove && !m.barrier && m.poll);
	assert_string_equal(m.name, "");
	assert_true(reads("STOPPING=1"));
	assert_true(m.stopping && !m.ready);
	assert_true(reads("FDNAME=a b~\nFDPOLL=0\nFDSTORE=1"));
	assert_true(m.store && !m.poll && !m.remove);
	assert_string_equal(m.name, "a b~");
	assert_true(reads("FDSTOREREMOVE=1\n\nFDNAME=x\nFDNAME=y\n"));
	assert_true(m.remove && !m.store);
	assert_string_equal(m.name, "x");
	assert_true(reads("BARRIER=1"));
	assert_true(m.barrier);
}

static void test_lookalikes(void **state)
{
	static const char *const none[] = { "READY=0", "READY=11", " READY=1", "ready=1", "READY=1\r", "XREADY=1", "FDSTORE=", "FDSTORE", "FDPOLL=1",
					    "STATUS=READY=1", "X\tFDSTORE=1", "FDNAME", "=", "FDSTOREREMOVE=10", "BARRIER=0" };

	(void)state;
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++) {
		assert_true(reads(none[i]));
		assert_false(m.ready || m.stopping || m.store || m.remove || m.barrier || !m.poll || *m.name);
	}
}

static void test_names(void **state)
{
	static const char *const bad[] = { "FDNAME=a:b", "FDNAME=a\tb", "FDNAME=\x7f", "FDNAME=\xc3\xa4", "FDNAME=", "FDNAME=a:b\nFDNAME=good" };
	char text[7 + 256 + 1] = "FDNAME=";

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		assert_true(reads(bad[i]));
		assert_string_equal(m.name, "");
	}
	memset(text + 7, 'n', 256);
	assert_true(keeper_message_read(text, 7 + 255, &m));
	assert_int_equal(strlen(m.name), 255);
	assert_true(keeper_message_read(text, 7 + 256, &m));
	assert_string_equal(m.name, "");
}

static void test_no_messages(void **state)
{
	static char text[KEEPER_MESSAGE_MAX + 1];

	(void)state;
	assert_false(reads(""));
	assert_false(reads("\n\n"));
	assert_false(keeper_message_read("\0", 1, &m));
	assert_false(keeper_message_read("READY=1\0FDSTORE=1", 17, &m));
	assert_false(keeper_message_read("READY=1\0", 9, &m));
	assert_true(keeper_message_read("READY=1", 8, &m)); /* one NUL at the end */
	assert_true(m.ready);
	assert_false(reads("BARRIER=1\nREADY=1"));
	assert_false(reads("FDSTORE=1\nBARRIER=1"));
	assert_true(reads("BARRIER=1\n"));
	memset(text, 'x', sizeof(text));
	assert_true(keeper_message_read(text, KEEPER_MESSAGE_MAX, &m));
	assert_false(keeper_message_read(text, KEEPER_MESSAGE_MAX + 1, &m));
}

/* Whatever comes: read within its bytes (a copy of its very size, for the sanitizers), a name that can be handed on. */
static void test_noise(void **state)
{
	static const char *const pieces[] = { "FDNAME=", "FDSTORE=1", "FDSTOREREMOVE=1", "\n", "\n\n", "a", ":", "FDPOLL=0", "=", "\x80", "BARRIER=1" };

	(void)state;
	srand(5);
	for (int round = 0; round < 20000; round++) {
		char text[256] = "";
		size_t len = 0;
		char *copy;

		for (int n = rand() % 12; n >= 0; n--) {
			const char *piece = pieces[(size_t)rand() % (sizeof(pieces) / sizeof(pieces[0]))];

			memcpy(text + len, piece, strlen(piece));
			len += strlen(piece);
		}
		if (rand() % 4 == 0)
			text[(size_t)rand() % len] = (char)rand();
		copy = malloc(len);
		assert_non_null(copy);
		memcpy(copy, text, len);
		if (keeper_message_read(copy, len, &m) && m.barrier)
			assert_true(len <= 9 + 24 && !memchr(copy, 'F', len)); /* it is alone */
		assert_null(strpbrk(m.name, ":\n\x80"));
		free(copy);
	}
}

/* ---- the store ---- */

static int begin(size_t max)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);

	assert_true(epoll >= 0);
	keeper_store_init(&store, epoll, ABOVE, max);
	return epoll;
}

static void finish(int epoll)
{
	while (store.count > 0)
		assert_true(keeper_store_ended(&store, store.entry[store.count - 1].fd));
	assert_int_equal(store.used, 0);
	close(epoll);
}

static void has_names(const char *expected)
{
	keeper_store_names(&store, names);
	assert_string_equal(names, expected);
}

static int memory(const char *text)
{
	int fd = memfd_create("test", MFD_CLOEXEC);

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	return fd;
}

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void holds(size_t i, const char *text)
{
	char got[64] = "";

	assert_true(store.entry[i].fd >= ABOVE);
	assert_int_equal(fcntl(store.entry[i].fd, F_GETFD), FD_CLOEXEC);
	assert_int_equal(pread(store.entry[i].fd, got, sizeof(got) - 1, 0), (ssize_t)strlen(text));
	assert_string_equal(got, text);
}

static void test_kept_in_order(void **state)
{
	struct errbuf e;
	int epoll = begin(8), fd;

	(void)state;
	has_names("LISTEN_FDNAMES=");
	fd = memory("one");
	assert_int_equal(keeper_store_add(&store, fd, "a", true, &e), 1);
	assert_false(is_open(fd)); /* it was taken over */
	assert_int_equal(keeper_store_add(&store, memory("two"), "bb", false, &e), 1);
	assert_int_equal(keeper_store_add(&store, memory("three"), "a", true, &e), 1);
	assert_int_equal(keeper_store_add(&store, memory("four"), "ccc", true, &e), 1);
	has_names("LISTEN_FDNAMES=a:bb:a:ccc");
	holds(0, "one");
	holds(1, "two");
	holds(2, "three");
	holds(3, "four");
	assert_int_equal(keeper_store_remove(&store, "nobody"), 0);
	assert_int_equal(keeper_store_remove(&store, "b"), 0);
	fd = store.entry[2].fd;
	assert_int_equal(keeper_store_remove(&store, "a"), 2);
	assert_false(is_open(fd));
	has_names("LISTEN_FDNAMES=bb:ccc");
	holds(0, "two");
	holds(1, "four");
	assert_int_equal(keeper_store_remove(&store, "ccc"), 1);
	has_names("LISTEN_FDNAMES=bb");
	finish(epoll);
}

static void test_once(void **state)
{
	struct errbuf e;
	int epoll = begin(8), one = memory("one"), again, path;
	char proc[64];

	(void)state;
	again = dup(one);
	snprintf(proc, sizeof(proc), "/proc/self/fd/%d", one);
	path = open(proc, O_RDWR | O_CLOEXEC); /* of the same inode, opened alike, but another description */
	assert_true(path >= 0);
	assert_int_equal(keeper_store_add(&store, one, "a", true, &e), 1);
	assert_int_equal(keeper_store_add(&store, dup(again), "a", true, &e), 0);
	assert_int_equal(keeper_store_add(&store, again, "other", true, &e), 0);
	assert_false(is_open(again));
	has_names("LISTEN_FDNAMES=a");
	assert_int_equal(keeper_store_add(&store, path, "other", true, &e), 1);
	has_names("LISTEN_FDNAMES=a:other");
	finish(epoll);
}

/* In a child, which loses the call for good. */
static void test_without_kcmp(void **state)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kcmp, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = 4, .filter = filter };
	char name[] = "/tmp/nbdswap-test-store.XXXXXX";
	int status, one = mkstemp(name), anew = open(name, O_RDWR | O_CLOEXEC);
	pid_t pid;

	(void)state;
	assert_true(one >= 0 && anew >= 0 && fcntl(one, F_SETFL, fcntl(anew, F_GETFL)) == 0);
	unlink(name);
	pid = fork();
	if (pid == 0) {
		struct errbuf e;
		int epoll = begin(8);

		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
			_exit(77);
		if (keeper_store_add(&store, one, "f1", false, &e) != 1 || keeper_store_add(&store, anew, "f2", false, &e) != 1)
			_exit(1);
		close(epoll);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	close(one);
	close(anew);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
		skip();
	assert_int_equal(status, 0);
}

static void test_full(void **state)
{
	static char longest[KEEPER_NAME_MAX + 1];
	struct errbuf e;
	int epoll = begin(3), fd;

	(void)state;
	for (int i = 0; i < 3; i++)
		assert_int_equal(keeper_store_add(&store, memory("x"), "a", true, &e), 1);
	fd = memory("y");
	assert_int_equal(keeper_store_add(&store, fd, "b", true, &e), -1);
	assert_int_equal(e.code, ENOSPC);
	assert_false(is_open(fd));
	has_names("LISTEN_FDNAMES=a:a:a");
	assert_int_equal(keeper_store_remove(&store, "a"), 3);
	assert_int_equal(keeper_store_add(&store, memory("z"), "b", true, &e), 1);
	finish(epoll);

	/* Names of 256 bytes with their NUL: one fewer than 512 of them fit beside the variable's own. */
	epoll = begin(KEEPER_FDS_MAX);
	memset(longest, 'n', KEEPER_NAME_MAX);
	for (int i = 0; i < 511; i++)
		assert_int_equal(keeper_store_add(&store, memory("x"), longest, true, &e), 1);
	assert_int_equal(keeper_store_add(&store, memory("x"), longest, true, &e), -1);
	assert_int_equal(e.code, ENOSPC);
	assert_int_equal(keeper_store_add(&store, memory("x"), "short", true, &e), 1);
	keeper_store_names(&store, names);
	assert_true(strlen(names) < sizeof(names));
	assert_string_equal(names + strlen(names) - 7, "n:short");
	finish(epoll);
}

/* The number of a descriptor that has ended, or -1. */
static int ended(int epoll)
{
	struct epoll_event event;
	int n = epoll_wait(epoll, &event, 1, 0);

	return n == 1 && (event.events & (EPOLLHUP | EPOLLERR)) ? event.data.fd : -1;
}

static void test_polled(void **state)
{
	int epoll = begin(8), kept[2], polled[2];
	struct errbuf e;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, kept), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, polled), 0);
	assert_int_equal(keeper_store_add(&store, kept[0], "kept", false, &e), 1);
	assert_int_equal(keeper_store_add(&store, dup(polled[0]), "polled", true, &e), 1);
	assert_int_equal(keeper_store_add(&store, memory("file"), "file", true, &e), 1);
	assert_int_equal(write(polled[1], "data", 4), 4);
	assert_int_equal(ended(epoll), -1); /* what can be read is no end */
	close(kept[1]);
	close(polled[1]);
	assert_int_equal(ended(epoll), store.entry[1].fd);
	assert_true(keeper_store_ended(&store, store.entry[1].fd));
	assert_false(keeper_store_ended(&store, epoll));
	/* Although another descriptor of the same description (polled[0]) is still open. */
	assert_int_equal(ended(epoll), -1);
	has_names("LISTEN_FDNAMES=kept:file");
	close(polled[0]);
	finish(epoll);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_variables),
		cmocka_unit_test(test_lookalikes),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_no_messages),
		cmocka_unit_test(test_noise),
		cmocka_unit_test(test_kept_in_order),
		cmocka_unit_test(test_once),
		cmocka_unit_test(test_without_kcmp),
		cmocka_unit_test(test_full),
		cmocka_unit_test(test_polled),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
