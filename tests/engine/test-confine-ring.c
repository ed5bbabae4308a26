/* SPDX-License-Identifier: BSD-3-Clause */
/* A confined ring does what it was made for, on fixed files, and refuses everything else. */
#include "config.h"

#include "server/engine/confine_ring.h"

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

enum { FILE_INDEX, NEAR, FAR, LATER, FILES };

static const uint8_t ops[] = { IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED, IORING_OP_READ,	 IORING_OP_WRITE,
			       IORING_OP_READV,	     IORING_OP_WRITEV,	    IORING_OP_FSYNC,	 IORING_OP_RECV,
			       IORING_OP_SEND,	     IORING_OP_SENDMSG,	    IORING_OP_POLL_ADD,	 IORING_OP_ASYNC_CANCEL,
			       IORING_OP_TIMEOUT,    IORING_OP_NOP };

static struct io_uring ring;
static int disk, pair[2];
static unsigned char *buffer;
static struct errbuf e;

/* With the entry that prep() filled: what it completes with. */
static int result(struct io_uring_sqe *sqe, unsigned flags)
{
	struct io_uring_cqe *cqe;
	int res;

	sqe->flags |= flags;
	assert_int_equal(1, io_uring_submit_and_wait(&ring, 1));
	assert_int_equal(0, io_uring_wait_cqe(&ring, &cqe));
	res = cqe->res;
	io_uring_cqe_seen(&ring, cqe);
	return res;
}

#define RESULT(flags, prep, ...)                            \
	__extension__({                                     \
		struct io_uring_sqe *s = io_uring_get_sqe(&ring); \
		prep(s, ##__VA_ARGS__);                     \
		result(s, flags);                           \
	})

static int ring_register(unsigned op, void *arg, unsigned n)
{
	return syscall(SYS_io_uring_register, ring.ring_fd, op, arg, n) < 0 ? -errno : 0;
}

static void make_ring(bool restricted)
{
	struct io_uring_params p = { .flags = IORING_SETUP_R_DISABLED | IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN };
	const struct ring_rules rules = { ops, sizeof(ops), 0 };
	int fds[] = { disk, pair[0], pair[1] };
	struct iovec v = { buffer, 4096 };

	assert_int_equal(0, io_uring_queue_init_params(8, &ring, &p));
	assert_int_equal(0, io_uring_register_files_sparse(&ring, FILES));
	assert_int_equal(3, io_uring_register_files_update(&ring, FILE_INDEX, fds, 3));
	assert_int_equal(0, io_uring_register_buffers_sparse(&ring, 2));
	assert_int_equal(1, io_uring_register_buffers_update_tag(&ring, 0, &v, NULL, 1));
	if (restricted)
		assert_int_equal(0, confine_ring(&ring, &rules, &e));
}

static void *make_restricted(void *arg)
{
	make_ring(true);
	return NULL;
}

/* As in the engine: one thread makes the ring, another one submits. */
static void restricted_ring_of_another_thread(void)
{
	pthread_t t;

	assert_int_equal(0, pthread_create(&t, NULL, make_restricted, NULL));
	assert_int_equal(0, pthread_join(t, NULL));
}

static void test_works(void **state)
{
	struct iovec v = { buffer, 4096 };
	struct iovec two = { buffer, 2 };
	struct msghdr m = { .msg_iov = &two, .msg_iovlen = 1 };
	struct __kernel_timespec soon = { .tv_nsec = 1000 };
	int fd = pair[0];

	restricted_ring_of_another_thread();
	assert_int_equal(1, io_uring_register_ring_fd(&ring));
	assert_int_equal(0, confine_ring_enable(&ring, &e));
	assert_int_equal(4096, RESULT(IOSQE_FIXED_FILE, io_uring_prep_write_fixed, FILE_INDEX, buffer, 4096, 0, 0));
	assert_int_equal(4096, RESULT(IOSQE_FIXED_FILE, io_uring_prep_read_fixed, FILE_INDEX, buffer, 4096, 0, 0));
	assert_int_equal(4096, RESULT(IOSQE_FIXED_FILE, io_uring_prep_writev, FILE_INDEX, &v, 1, 4096));
	assert_int_equal(4096, RESULT(IOSQE_FIXED_FILE, io_uring_prep_readv, FILE_INDEX, &v, 1, 4096));
	assert_int_equal(0, RESULT(IOSQE_FIXED_FILE, io_uring_prep_fsync, FILE_INDEX, IORING_FSYNC_DATASYNC));
	assert_int_equal(2, RESULT(IOSQE_FIXED_FILE, io_uring_prep_sendmsg, NEAR, &m, 0));
	assert_int_equal(1, RESULT(IOSQE_FIXED_FILE, io_uring_prep_recv, FAR, buffer, 1, 0));
	assert_int_equal(POLLIN, RESULT(IOSQE_FIXED_FILE, io_uring_prep_poll_add, FAR, POLLIN));
	assert_int_equal(-ETIME, RESULT(IOSQE_FIXED_FILE, io_uring_prep_timeout, &soon, 0, 0));
	assert_int_equal(-ENOENT, RESULT(IOSQE_FIXED_FILE, io_uring_prep_cancel, buffer, 0));
	assert_int_equal(0, RESULT(IOSQE_FIXED_FILE, io_uring_prep_nop));
	/* Sessions come and go, and so do their memory and sockets. */
	assert_int_equal(1, io_uring_register_files_update(&ring, LATER, &fd, 1));
	assert_int_equal(1, RESULT(IOSQE_FIXED_FILE, io_uring_prep_send, LATER, "c", 1, 0));
	fd = -1;
	assert_int_equal(1, io_uring_register_files_update(&ring, LATER, &fd, 1));
	assert_int_equal(1, io_uring_register_buffers_update_tag(&ring, 1, &v, NULL, 1));
	io_uring_queue_exit(&ring);
}

static void test_refuses(void **state)
{
	struct stat before, after;
	int fds[2] = { pair[0], pair[1] };
	struct iovec v = { buffer, 4096 };
	unsigned workers[2] = { 1, 1 };
	struct sockaddr sa = { .sa_family = AF_INET };
	struct statx stx;

	restricted_ring_of_another_thread();
	assert_int_equal(0, confine_ring_enable(&ring, &e));
	/* Operations that are allowed, on descriptors that are not fixed. */
	assert_int_equal(-EACCES, RESULT(0, io_uring_prep_read_fixed, disk, buffer, 4096, 0, 0));
	assert_int_equal(-EACCES, RESULT(0, io_uring_prep_writev, disk, &v, 1, 0));
	assert_int_equal(-EACCES, RESULT(0, io_uring_prep_send, pair[0], "x", 1, 0));
	assert_int_equal(-EACCES, RESULT(0, io_uring_prep_nop));
	/* Flags that were not asked for. */
	assert_int_equal(-EACCES, RESULT(IOSQE_FIXED_FILE | IOSQE_IO_LINK, io_uring_prep_nop));
	assert_int_equal(-EACCES, RESULT(IOSQE_FIXED_FILE | IOSQE_ASYNC, io_uring_prep_nop));
	/* Other operations, with the flag and without. */
	fstat(disk, &before);
	for (unsigned flag = 0; flag <= IOSQE_FIXED_FILE; flag += IOSQE_FIXED_FILE) {
		assert_int_equal(-EACCES, RESULT(flag, io_uring_prep_openat, AT_FDCWD, "/dev/null", O_RDONLY, 0));
		assert_int_equal(-EACCES, RESULT(flag, io_uring_prep_openat_direct, AT_FDCWD, "/dev/null", O_RDONLY, 0, LATER));
		assert_int_equal(-EACCES, RESULT(flag, io_uring_prep_connect, NEAR, &sa, sizeof(sa)));
		assert_int_equal(-EACCES, RESULT(flag, io_uring_prep_socket_direct, AF_UNIX, SOCK_STREAM, 0, LATER, 0));
		assert_int_equal(-EACCES, RESULT(flag, io_uring_prep_accept, NEAR, NULL, NULL, 0));
		assert_int_equal(-EACCES, RESULT(flag, io_uring_prep_recvmsg, FAR, NULL, 0));
		assert_int_equal(-EACCES, RESULT(flag, io_uring_prep_fallocate, FILE_INDEX, 0, 0, 1 << 20));
		assert_int_equal(-EACCES, RESULT(flag, io_uring_prep_statx, AT_FDCWD, "/", 0, STATX_SIZE, &stx));
		assert_int_equal(-EACCES, RESULT(flag, io_uring_prep_unlinkat, AT_FDCWD, "/nothing", 0));
		assert_int_equal(-EACCES, RESULT(flag, io_uring_prep_splice, FILE_INDEX, 0, NEAR, 0, 1, 0));
		assert_int_equal(-EACCES, RESULT(flag, io_uring_prep_close, pair[0]));
		assert_int_equal(-EACCES, RESULT(flag, io_uring_prep_files_update, fds, 2, 0));
		assert_int_equal(-EACCES, RESULT(flag, io_uring_prep_msg_ring, ring.ring_fd, 0, 0, 0));
		assert_int_equal(-EACCES, RESULT(flag, io_uring_prep_madvise, buffer, 4096, MADV_DONTNEED));
	}
	fstat(disk, &after);
	assert_int_equal(before.st_size, after.st_size);
	/* What else can be registered. */
	assert_int_equal(-EACCES, ring_register(IORING_UNREGISTER_FILES, NULL, 0));
	assert_int_equal(-EACCES, ring_register(IORING_REGISTER_FILES, fds, 2));
	assert_int_equal(-EACCES, ring_register(IORING_UNREGISTER_BUFFERS, NULL, 0));
	assert_int_equal(-EACCES, ring_register(IORING_REGISTER_EVENTFD, fds, 1));
	assert_int_equal(-EACCES, ring_register(IORING_REGISTER_PERSONALITY, NULL, 0));
	assert_int_equal(-EACCES, ring_register(IORING_REGISTER_IOWQ_MAX_WORKERS, workers, 2));
	assert_true(ring_register(IORING_REGISTER_RESTRICTIONS, NULL, 0) < 0);
	assert_true(ring_register(IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0);
	io_uring_queue_exit(&ring);
}

static void test_proof(void **state)
{
	make_ring(false);
	assert_int_equal(-1, confine_ring_enable(&ring, &e));
	assert_non_null(strstr(e.text, "did what it was to refuse"));
	io_uring_queue_exit(&ring);
}

static void test_too_late(void **state)
{
	const struct ring_rules rules = { ops, sizeof(ops), 0 };

	make_ring(false);
	assert_int_equal(0, ring_register(IORING_REGISTER_ENABLE_RINGS, NULL, 0));
	assert_int_equal(-1, confine_ring(&ring, &rules, &e));
	assert_non_null(strstr(e.text, "IORING_REGISTER_RESTRICTIONS"));
	io_uring_queue_exit(&ring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_works),
		cmocka_unit_test(test_refuses),
		cmocka_unit_test(test_proof),
		cmocka_unit_test(test_too_late),
	};
	char path[] = "/tmp/nbdswap-ring.XXXXXX";

	disk = mkstemp(path);
	unlink(path);
	if (disk < 0 || ftruncate(disk, 8192) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 ||
	    posix_memalign((void **)&buffer, 4096, 4096) != 0)
		return 1;
	memset(buffer, 0, 4096);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
