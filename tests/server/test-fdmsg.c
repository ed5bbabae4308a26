/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/fdmsg.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char text[FDMSG_MAX + 1], big[FDMSG_MAX + 2];

static void make_pair(int s[2])
{
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, s), 0);
}

static int open_fds(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void test_round_trip(void **state)
{
	int s[2], fds[FDMSG_FDS], pipe_fds[2];
	struct stat a, b;
	struct errbuf e;
	size_t n;

	make_pair(s);
	assert_int_equal(pipe(pipe_fds), 0);
	assert_int_equal(fdmsg_send(s[0], "{}", 2, pipe_fds, 2, &e), 0);
	assert_int_equal(fdmsg_send(s[0], "second", 6, NULL, 0, &e), 0);
	assert_int_equal(fdmsg_recv(s[1], text, fds, &n, &e), 2);
	assert_string_equal(text, "{}");
	assert_int_equal(n, 2);
	assert_int_equal(fcntl(fds[1], F_GETFD), FD_CLOEXEC);
	assert_int_equal(fstat(fds[1], &a) | fstat(pipe_fds[1], &b), 0);
	assert_int_equal(a.st_ino, b.st_ino);
	close(fds[0]);
	close(fds[1]);
	/* Messages keep their borders. */
	assert_int_equal(fdmsg_recv(s[1], text, fds, &n, &e), 6);
	assert_int_equal(n, 0);
	assert_int_equal(fdmsg_recv(s[1], text, fds, &n, &e), -1);
	assert_int_equal(e.code, EAGAIN);
	close(s[0]);
	assert_int_equal(fdmsg_recv(s[1], text, fds, &n, &e), 0);
	assert_int_equal(fdmsg_send(s[1], "x", 1, NULL, 0, &e), -1);
	assert_int_equal(e.code, EPIPE);
	close(s[1]);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

static void test_limits(void **state)
{
	int s[2], fds[FDMSG_FDS], many[FDMSG_FDS + 1] = { 0 };
	struct errbuf e;
	size_t n;

	make_pair(s);
	memset(big, 'x', sizeof(big));
	assert_int_equal(fdmsg_send(s[0], big, FDMSG_MAX, NULL, 0, &e), 0);
	assert_int_equal(fdmsg_recv(s[1], text, fds, &n, &e), FDMSG_MAX);
	assert_int_equal(fdmsg_send(s[0], big, FDMSG_MAX + 1, NULL, 0, &e), -1);
	assert_int_equal(e.code, EMSGSIZE);
	assert_int_equal(fdmsg_send(s[0], "", 0, NULL, 0, &e), -1);
	assert_int_equal(fdmsg_send(s[0], "x", 1, many, FDMSG_FDS + 1, &e), -1);
	close(s[0]);
	close(s[1]);
}

/* What a hostile or broken other end sends must leave no descriptor behind. */
static void send_raw(int sock, size_t len, int nfds)
{
	union {
		struct cmsghdr align;
		char space[CMSG_SPACE(sizeof(int) * 16)];
	} control = { .space = { 0 } };
	struct iovec iov = { .iov_base = big, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space,
			      .msg_controllen = CMSG_SPACE(sizeof(int) * (size_t)nfds) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int) * (size_t)nfds);
	for (int i = 0; i < nfds; i++)
		((int *)(void *)CMSG_DATA(c))[i] = STDIN_FILENO;
	assert_int_equal(sendmsg(sock, &msg, 0), len);
}

static void test_too_much_received(void **state)
{
	int s[2], fds[FDMSG_FDS], before;
	struct errbuf e;
	size_t n;

	make_pair(s);
	before = open_fds();
	send_raw(s[0], FDMSG_MAX + 1, 2);
	assert_int_equal(fdmsg_recv(s[1], text, fds, &n, &e), -1);
	assert_int_equal(e.code, EMSGSIZE);
	assert_int_equal(n, 0);
	send_raw(s[0], 10, FDMSG_FDS + 3);
	assert_int_equal(fdmsg_recv(s[1], text, fds, &n, &e), -1);
	assert_int_equal(e.code, EMSGSIZE);
	assert_int_equal(open_fds(), before);
	/* The next message is whole. */
	assert_int_equal(fdmsg_send(s[0], "ok", 2, NULL, 0, &e), 0);
	assert_int_equal(fdmsg_recv(s[1], text, fds, &n, &e), 2);
	close(s[0]);
	close(s[1]);
}

/* Where there is no room for the descriptors the words come all the same, or who asked would wait for ever. */
static void test_no_room(void **state)
{
	struct rlimit old, limit;
	int s[2], fds[FDMSG_FDS], before, first;
	struct errbuf e;
	size_t n;

	(void)state;
	make_pair(s);
	first = dup(STDIN_FILENO); /* the lowest that is free */
	close(first);
	before = open_fds();
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	limit = old;
	for (rlim_t room = 0; room < 3; room++) {
		limit.rlim_cur = (rlim_t)first + room;
		send_raw(s[0], 10, 3);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
		n = 9;
		assert_int_equal(fdmsg_recv(s[1], text, fds, &n, &e), 10);
		assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
		assert_int_equal(n, 0);
		assert_int_equal(open_fds(), before);
	}
	send_raw(s[0], 10, 3);
	assert_int_equal(fdmsg_recv(s[1], text, fds, &n, &e), 10);
	assert_int_equal(n, 3);
	close(s[0]);
	close(s[1]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_limits), cmocka_unit_test(test_too_much_received),
		cmocka_unit_test(test_no_room),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
