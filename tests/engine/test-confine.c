/* SPDX-License-Identifier: BSD-3-Clause */
/* A confined process cannot do what its work does not need: each forbidden thing is tried in a child, on the thread that confined and on one
 * that was there before, with each line of defence alone and with all of them.  What the work needs goes on.
 */
#include "config.h"

#include "server/engine/confine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/io_uring.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* Made before, as the worker's are. */
static int disk, pair[2], listening, epoll, event;
static void *page;

enum lines { RIGHTS = 1, CALLS = 2, BOTH = 3 };

/* Exit codes of children: 0 it was as wanted; else it was not, or */
#define NOT_CONFINED 100

typedef int attempt(void); /* 0, or an errno value */

static sem_t go, tried;
static attempt *to_try;
static int other_said;

static void *other_thread(void *arg)
{
	sem_wait(&go);
	other_said = to_try();
	sem_post(&tried);
	return NULL;
}

/* In a child: confined by these lines, tries; the answer of either thread, which must be the same. */
static int confined_try(enum lines lines, attempt *try)
{
	struct confined c;
	struct errbuf e;
	pthread_t t;
	int said;

	sem_init(&go, 0, 0);
	sem_init(&tried, 0, 0);
	to_try = try;
	if (pthread_create(&t, NULL, other_thread, NULL) != 0 || ((lines & RIGHTS) && confine_rights(&c, &e) < 0) ||
	    ((lines & CALLS) && confine_calls(&e) < 0))
		return NOT_CONFINED;
	sem_post(&go);
	while (sem_wait(&tried) < 0)
		;
	said = try();
	return said == other_said ? said : NOT_CONFINED + 1;
}

/* The wait status of a child that tried. */
static int status_of(enum lines lines, attempt *try)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(confined_try(lines, try));
	assert_true(pid > 0);
	assert_int_equal(pid, waitpid(pid, &status, 0));
	return status;
}

/* What it failed with, 0 when it did not, or -1 when the child was killed. */
static int error_of(enum lines lines, attempt *try)
{
	int status = status_of(lines, try);

	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

#define TRY(name, call)                       \
	static int try_##name(void)           \
	{                                     \
		errno = 0;                    \
		return (call) < 0 ? errno : 0; \
	}

/* ---- what nobody may ---- */

static const struct sockaddr_in somewhere = { .sin_family = AF_INET, .sin_port = 0x0900, .sin_addr = { 0x0100007f } };
static const struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "/nonexistent" };
static struct io_uring_params params;
static const struct rlimit rlimit = { 1, 1 };
static char byte;
static const struct iovec iov = { &byte, 1 };

TRY(open, open("/dev/null", O_RDONLY))
TRY(open_proc, open("/proc/self/mem", O_RDWR))
TRY(openat, syscall(SYS_openat, AT_FDCWD, "/etc/passwd", O_RDONLY, 0))
TRY(openat2, syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", NULL, 0))
TRY(creat, creat("/tmp/nbdswap-confined", 0600))
TRY(unlink, unlink("/tmp/nbdswap-no-such-file"))
TRY(mkdir, mkdir("/tmp/nbdswap-confined", 0700))
TRY(stat, syscall(SYS_newfstatat, AT_FDCWD, "/etc/passwd", &(struct stat){ 0 }, 0))
TRY(statx, statx(AT_FDCWD, "/etc/passwd", 0, STATX_SIZE, &(struct statx){ 0 }))
TRY(memfd, memfd_create("x", 0))
TRY(socket, socket(AF_UNIX, SOCK_STREAM, 0))
TRY(socket_inet, socket(AF_INET, SOCK_STREAM, 0))
TRY(socketpair, socketpair(AF_UNIX, SOCK_STREAM, 0, (int[2]){ 0 }))
TRY(connect, connect(pair[0], (const struct sockaddr *)&name, sizeof(name)))
TRY(bind, bind(pair[0], (const struct sockaddr *)&name, sizeof(name)))
TRY(listen, listen(listening, 1))
TRY(fork, syscall(SYS_clone, SIGCHLD, 0, 0, 0, 0))
TRY(clone3, syscall(SYS_clone3, NULL, 0) < 0 && errno == ENOSYS ? (errno = EPERM, -1) : -1)
TRY(kill, kill(getppid(), 0))
TRY(tgkill, syscall(SYS_tgkill, getppid(), getppid(), 0))
TRY(io_uring_setup, syscall(SYS_io_uring_setup, 4, &params))
TRY(io_uring_register, syscall(SYS_io_uring_register, disk, IORING_REGISTER_EVENTFD, &event, 1))
TRY(ftruncate, ftruncate(disk, 1 << 20))
TRY(fallocate, fallocate(disk, 0, 0, 1 << 20))
TRY(punch, fallocate(disk, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096))
TRY(pwrite, pwrite(disk, &byte, 1, 0))
TRY(pwritev, pwritev(disk, &iov, 1, 0))
TRY(setfl, fcntl(disk, F_SETFL, 0))
TRY(lock, fcntl(disk, F_OFD_SETLK, &(struct flock){ .l_type = F_UNLCK }))
TRY(fchmod, fchmod(disk, 0666))
TRY(mmap_exec, mmap(NULL, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) == MAP_FAILED ? -1 : 0)
TRY(mprotect_exec, mprotect(page, 4096, PROT_READ | PROT_EXEC))
TRY(ioctl, ioctl(disk, 0x5413, NULL))
TRY(setsockopt, setsockopt(pair[0], SOL_SOCKET, SO_ATTACH_FILTER, NULL, 0))
TRY(prctl, prctl(PR_SET_DUMPABLE, 1, 0, 0, 0))
TRY(setuid, syscall(SYS_setuid, 65534))
TRY(chroot, chroot("/"))
TRY(mount, syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL))
TRY(unshare, unshare(CLONE_NEWUSER))
TRY(setns, setns(disk, 0))
TRY(pidfd_getfd, syscall(SYS_pidfd_getfd, disk, 0, 0))
TRY(userfaultfd, syscall(SYS_userfaultfd, 0))
TRY(perf, syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0))
TRY(setrlimit, syscall(SYS_prlimit64, getppid(), RLIMIT_NOFILE, &rlimit, NULL))
TRY(reboot, syscall(SYS_reboot, 0, 0, 0, NULL))
TRY(seccomp, syscall(SYS_seccomp, 0, 0, NULL))
TRY(keyctl, syscall(SYS_keyctl, 0, 0))

/* Killed for: */
TRY(execve, syscall(SYS_execve, "/bin/true", NULL, NULL))
TRY(execveat, syscall(SYS_execveat, AT_FDCWD, "/bin/true", NULL, NULL, 0))
TRY(ptrace, ptrace(PTRACE_ATTACH, getppid(), NULL, NULL))
TRY(vm_writev, syscall(SYS_process_vm_writev, getppid(), &iov, 1, &iov, 1, 0))
TRY(vm_readv, syscall(SYS_process_vm_readv, getppid(), &iov, 1, &iov, 1, 0))

static const struct {
	const char *name;
	attempt *try;
} forbidden[] = {
#define T(n) { #n, try_##n }
	T(open), T(open_proc), T(openat), T(openat2), T(creat), T(unlink), T(mkdir), T(stat), T(statx), T(memfd), T(socket), T(socket_inet),
	T(socketpair), T(connect), T(bind), T(listen), T(fork), T(clone3), T(kill), T(tgkill), T(io_uring_setup), T(io_uring_register), T(ftruncate),
	T(fallocate), T(punch), T(pwrite), T(pwritev), T(setfl), T(lock), T(fchmod), T(mmap_exec), T(mprotect_exec), T(ioctl), T(setsockopt), T(prctl), T(setuid),
	T(chroot), T(mount), T(unshare), T(setns), T(pidfd_getfd), T(userfaultfd), T(perf), T(setrlimit), T(reboot), T(seccomp), T(keyctl),
}, fatal[] = { T(execve), T(execveat), T(ptrace), T(vm_writev), T(vm_readv) };

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static void test_calls_are_refused(void **state)
{
	for (size_t i = 0; i < LENGTH(forbidden); i++) {
		int error = error_of(CALLS, forbidden[i].try);

		if (error != EPERM)
			print_error("%s: %d (%s)\n", forbidden[i].name, error, strerror(error));
		assert_int_equal(EPERM, error);
		assert_int_equal(EPERM, error_of(BOTH, forbidden[i].try));
	}
}

static void test_intruders_are_killed(void **state)
{
	for (size_t i = 0; i < LENGTH(fatal); i++) {
		int status = status_of(BOTH, fatal[i].try);

		if (!WIFSIGNALED(status))
			print_error("%s: %x\n", fatal[i].name, status);
		assert_true(WIFSIGNALED(status));
		assert_int_equal(SIGSYS, WTERMSIG(status));
	}
}

/* ---- rights alone, as if the filter had a hole ---- */

TRY(connect_tcp, connect(socket(AF_INET, SOCK_STREAM, 0), (const struct sockaddr *)&somewhere, sizeof(somewhere)))

static int try_caps(void)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2];

	if (syscall(SYS_capget, &h, d) < 0)
		return errno;
	return ((d[0].permitted | d[0].effective) & ~(1U << CAP_IPC_LOCK)) | d[1].permitted | d[1].effective | d[0].inheritable |
			       d[1].inheritable
		       ? 1
		       : 0;
}

static int try_no_new_privs(void)
{
	return prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1 && prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0 ? 0 : 1;
}

static int landlock_version(void)
{
	return (int)syscall(444, NULL, 0, 1U);
}

static void test_rights_are_dropped(void **state)
{
	assert_int_equal(0, error_of(RIGHTS, try_caps));
	assert_int_equal(0, error_of(RIGHTS, try_no_new_privs));
	assert_int_equal(EPERM, error_of(RIGHTS, try_chroot));
	assert_int_equal(EPERM, error_of(RIGHTS, try_mount));
	assert_int_equal(EPERM, error_of(RIGHTS, try_reboot));
}

static void test_no_path_is_left(void **state)
{
	if (landlock_version() < 1)
		skip();
	assert_int_equal(EACCES, error_of(RIGHTS, try_open));
	assert_int_equal(EACCES, error_of(RIGHTS, try_open_proc));
	assert_int_equal(EACCES, error_of(RIGHTS, try_openat));
	assert_int_equal(EACCES, error_of(RIGHTS, try_creat));
	assert_int_equal(EACCES, error_of(RIGHTS, try_mkdir));
	if (landlock_version() < 4)
		return;
	assert_int_equal(EACCES, error_of(RIGHTS, try_connect_tcp));
	if (landlock_version() < 6)
		return;
	assert_int_equal(EPERM, error_of(RIGHTS, try_kill));
}

/* ---- what the work needs ---- */

static void *just_runs(void *arg)
{
	return arg;
}

static int try_work(void)
{
	static const struct epoll_event none;
	struct epoll_event ev = none;
	unsigned char *p = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct tcp_info *info = calloc(1, 4096);
	socklen_t len = 4096;
	struct stat st;
	struct statx stx;
	uint64_t one = 1;
	pthread_t t;
	int n;

#define NEED(x)                              \
	do {                                 \
		if (!(x))                    \
			return __LINE__ % 90; \
	} while (0)
	NEED(p != MAP_FAILED && mlock(p, 8 << 20) == 0 && madvise(p, 8 << 20, MADV_DONTDUMP) == 0);
	memset(p, 1, 8 << 20);
	NEED(munmap(p, 8 << 20) == 0);
	NEED(info);
	NEED(fstat(disk, &st) == 0 && st.st_size == 8192);
	NEED(statx(disk, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &stx) == 0);
	NEED(pread(disk, info, 4096, 0) == 4096);
	NEED(dup3(pair[1], event + 10, O_CLOEXEC) >= 0 && close(event + 10) == 0);
	NEED(send(pair[0], "x", 1, 0) == 1 && ioctl(pair[1], 0x541B, &n) == 0 && recv(pair[1], info, 1, 0) == 1);
	NEED(getsockopt(pair[0], SOL_SOCKET, SO_ERROR, info, &len) == 0);
	NEED(write(event, &one, 8) == 8 && epoll_wait(epoll, &ev, 1, 1000) == 1 && read(event, &one, 8) == 8);
	NEED(pthread_create(&t, NULL, just_runs, NULL) == 0 && pthread_join(t, NULL) == 0);
	NEED(accept4(listening, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) < 0 && errno == EAGAIN);
	free(info);
	return 0;
}

static int try_abort(void)
{
	abort();
}

static void test_work_goes_on(void **state)
{
	int status;

	assert_int_equal(0, error_of(BOTH, try_work));
	status = status_of(BOTH, try_abort);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(SIGABRT, WTERMSIG(status));
}

/* A limit that cannot be raised: CAP_IPC_LOCK stays, and is all that stays; without it the lock would fail. */
static int locks_beyond_limit(void)
{
	void *p = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p != MAP_FAILED && mlock(p, 8 << 20) == 0 ? 0 : errno;
}

static int child_with_limit(void)
{
	const struct rlimit small = { 65536, 65536 };
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2];
	struct confined c;
	struct errbuf e;

	syscall(SYS_capget, &h, d);
	d[0].permitted = d[0].effective &= ~(1U << CAP_SYS_RESOURCE);
	if (setrlimit(RLIMIT_MEMLOCK, &small) < 0 || syscall(SYS_capset, &h, d) < 0 || confine_rights(&c, &e) < 0 || !c.ipc_lock)
		return NOT_CONFINED;
	syscall(SYS_capget, &h, d);
	if (d[0].permitted != 1U << CAP_IPC_LOCK || d[1].permitted)
		return NOT_CONFINED + 2;
	return confine_calls(&e) < 0 ? NOT_CONFINED + 3 : locks_beyond_limit();
}

static void test_memory_can_still_be_locked(void **state)
{
	pid_t pid;
	int status;

	if (geteuid() != 0)
		skip();
	assert_int_equal(0, error_of(BOTH, locks_beyond_limit));
	pid = fork();
	if (pid == 0)
		_exit(child_with_limit());
	assert_int_equal(pid, waitpid(pid, &status, 0));
	assert_true(WIFEXITED(status));
	assert_int_equal(0, WEXITSTATUS(status));
}

/* A thread that cannot be reached is not left unconfined in silence. */
static void *deaf_thread(void *arg)
{
	sigset_t all;

	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	sem_post(&tried);
	pause();
	return NULL;
}

static int child_with_deaf_thread(void)
{
	struct confined c;
	struct errbuf e;
	pthread_t t;

	sem_init(&tried, 0, 0);
	if (pthread_create(&t, NULL, deaf_thread, NULL) != 0)
		return 1;
	sem_wait(&tried);
	return confine_process(&c, &e) < 0 && strstr(e.text, "1 of 1 threads did not drop their rights") ? 0 : 2;
}

static void test_deaf_thread_is_told(void **state)
{
	pid_t pid = fork();
	int status;

	if (pid == 0)
		_exit(child_with_deaf_thread());
	assert_int_equal(pid, waitpid(pid, &status, 0));
	assert_int_equal(0, status);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_calls_are_refused),
		cmocka_unit_test(test_intruders_are_killed),
		cmocka_unit_test(test_rights_are_dropped),
		cmocka_unit_test(test_no_path_is_left),
		cmocka_unit_test(test_work_goes_on),
		cmocka_unit_test(test_memory_can_still_be_locked),
		cmocka_unit_test(test_deaf_thread_is_told),
	};
	char path[] = "/tmp/nbdswap-confine.XXXXXX";
	struct sockaddr_un here = { .sun_family = AF_UNIX };
	struct epoll_event ev = { .events = EPOLLIN };

	disk = mkstemp(path);
	unlink(path);
	listening = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
	epoll = epoll_create1(0);
	event = eventfd(0, EFD_NONBLOCK);
	page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (disk < 0 || ftruncate(disk, 8192) < 0 || socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0 ||
	    bind(listening, (struct sockaddr *)&here, sizeof(sa_family_t)) < 0 || listen(listening, 1) < 0 ||
	    epoll_ctl(epoll, EPOLL_CTL_ADD, event, &ev) < 0 || page == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
