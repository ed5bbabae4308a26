/* SPDX-License-Identifier: BSD-3-Clause */
/* The lock holds against another process, and lives as long as any process has the open description. */
#include "config.h"

#include "tests/store/support.h"

#include "common/cleanup.h"
#include "store/lock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>

static char *dir;
static char path[256];

static int setup(void **state)
{
	(void)state;
	dir = scratch_dir();
	snprintf(path, sizeof(path), "%s/file", dir);
	close(open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600));
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	scratch_remove(dir);
	return 0;
}

static int open_it(void)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	assert_true(fd >= 0);
	return fd;
}

/* What another process finds: 0 got the lock (and gave it back), else errno. */
static int try_elsewhere(uint64_t length)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		int fd = open(path, O_RDWR | O_CLOEXEC);

		_exit(lock_take(fd, length) == 0 ? 0 : errno);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

static void two_processes(void **state)
{
	int fd = open_it(), other = open_it();

	(void)state;
	assert_int_equal(lock_held(fd), 0);
	assert_int_equal(lock_take(fd, 1 << 20), 0);
	assert_int_equal(try_elsewhere(1 << 20), EBUSY);
	assert_int_equal(try_elsewhere(4096), EBUSY); /* two activations with different ideas of the size meet too */
	assert_int_equal(try_elsewhere(UINT64_C(1) << 40), EBUSY);
	assert_int_equal(lock_held(other), 1);
	assert_int_equal(lock_held(fd), 0); /* not by somebody else */
	/* A second descriptor of the same process is another description and no way in; nor does closing it give the lock back,
	 * as it would with the older kind of record lock. */
	assert_int_equal(lock_take(other, 4096), -1);
	assert_int_equal(errno, EBUSY);
	close(other);
	assert_int_equal(try_elsewhere(4096), EBUSY);
	close(fd);
	assert_int_equal(try_elsewhere(4096), 0);
}

static void send_fd(int sock, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = { 0 } };
	char byte = 'x';
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };
	struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof(int));
	memcpy(CMSG_DATA(c), &fd, sizeof(int));
	if (sendmsg(sock, &msg, 0) != 1)
		_exit(9);
}

static int receive_fd(int sock)
{
	union {
		char bytes[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} control;
	char byte;
	int fd;
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
			      .msg_controllen = sizeof(control.bytes) };

	assert_int_equal(recvmsg(sock, &msg, MSG_CMSG_CLOEXEC), 1);
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof(int));
	return fd;
}

/* The process that took it dies; the lock stays with the one that was handed the descriptor. */
static void passes_on(void **state)
{
	int sock[2], fd, status;
	pid_t pid;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock), 0);
	pid = fork();
	if (pid == 0) {
		int mine = open(path, O_RDWR | O_CLOEXEC);

		if (lock_take(mine, 1 << 20) < 0)
			_exit(1);
		send_fd(sock[1], mine);
		_exit(0);
	}
	close(sock[1]);
	fd = receive_fd(sock[0]);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(try_elsewhere(4096), EBUSY);
	close(fd);
	assert_int_equal(try_elsewhere(4096), 0);
	close(sock[0]);
}

static void failure_keeps_its_errno(void **state)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(lock_take(fd, 4096), -1); /* a write lock needs a description that can write */
	assert_int_equal(errno, EBADF);
	assert_int_equal(lock_held(fd), 0); /* looking does not */
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_processes),
		cmocka_unit_test(passes_on),
		cmocka_unit_test(failure_keeps_its_errno),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
