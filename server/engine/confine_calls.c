/* SPDX-License-Identifier: BSD-3-Clause */
/* The filter of system calls.  What is not listed fails with EPERM and is logged by the kernel (audit): a C library that asks for something
 * new costs a message then and not a dead worker, on which other machines' memory waits.  The process is killed only for what no library does by
 * itself, and an intruder does first.
 *
 * Each call is there because a thread of the worker makes it, in the group that says what for.  Missing on purpose: everything that
 * opens, names, makes, resizes or allocates (open, memfd_create, socket, pipe, ftruncate, fallocate), rings of other
 * rules (io_uring_setup), and other processes (fork, kill).
 */
#include "config.h"

#include "server/engine/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <seccomp.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define LENGTH(a) (sizeof(a) / sizeof((a)[0]))

static const int allowed[] = {
	/* Pages move: the rings, replies, what wakes another thread. */
	SCMP_SYS(io_uring_enter),
	SCMP_SYS(sendmsg),
	SCMP_SYS(read),
	SCMP_SYS(write),
	SCMP_SYS(futex),

	/* Descriptors from the daemon: a table is looked at before it is mapped. */
	SCMP_SYS(pread64),
	SCMP_SYS(fstat),
	SCMP_SYS(close),
	SCMP_SYS(dup),
	SCMP_SYS(dup3), /* a file that was opened anew takes the number of the stale one */

	/* The control thread: clients come, negotiate and go; the daemon is talked to. */
	SCMP_SYS(epoll_wait),
	SCMP_SYS(epoll_pwait), /* the same, on other processors */
	SCMP_SYS(epoll_ctl),
	SCMP_SYS(accept4),
	SCMP_SYS(recvfrom),
	SCMP_SYS(recvmsg),
	SCMP_SYS(sendto),
	SCMP_SYS(shutdown),
	SCMP_SYS(getsockopt), /* TCP_INFO */

	/* Memory: tables, sessions and buffers come and go with clients.  mmap and mprotect are below. */
	SCMP_SYS(munmap),
	SCMP_SYS(mremap),
	SCMP_SYS(brk),
	SCMP_SYS(madvise),
	SCMP_SYS(mlock),

	/* Time, and what the C library and OpenSSL do without being asked. */
	SCMP_SYS(clock_gettime), /* where the vdso has no clock */
	SCMP_SYS(gettimeofday),
	SCMP_SYS(restart_syscall), /* a wait goes on, after SIGCONT */
	SCMP_SYS(getrandom),

	/* Threads that start (clone is below).  The C library aborts when it gets no rseq. */
	SCMP_SYS(set_robust_list),
	SCMP_SYS(rseq),

#ifdef NBDSWAP_FAULTS
	/* In tests: the layer of faults looks for its trigger files, waits, and has I/O made by calls. */
	SCMP_SYS(access),
	SCMP_SYS(clock_nanosleep),
	SCMP_SYS(preadv),
	SCMP_SYS(pwritev),
	SCMP_SYS(fdatasync),
#endif

	/* The end: signals, abort() (tgkill is below), threads. */
	SCMP_SYS(rt_sigaction),
	SCMP_SYS(rt_sigprocmask),
	SCMP_SYS(rt_sigreturn),
	SCMP_SYS(getpid),
	SCMP_SYS(gettid),
	SCMP_SYS(exit),
	SCMP_SYS(exit_group),
};

/* Nothing a library does by itself. */
static const int deadly[] = {
	SCMP_SYS(execve),	    SCMP_SYS(execveat),	   SCMP_SYS(ptrace),	SCMP_SYS(process_vm_readv),
	SCMP_SYS(process_vm_writev), SCMP_SYS(finit_module), SCMP_SYS(init_module), SCMP_SYS(bpf),
};

/* Only the values of one argument (counted from 0) that equal this under the mask. */
struct narrow {
	int call;
	unsigned arg;
	uint64_t mask, value;
};

#define NAMESPACES (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNET)
#define ALL UINT32_MAX /* the kernel looks at these arguments as 32 bits */

static const struct narrow narrowed[] = {
	/* No memory that can be run. */
	{ SCMP_SYS(mmap), 2, PROT_EXEC, 0 },
	{ SCMP_SYS(mprotect), 2, PROT_EXEC, 0 },
	/* The thread of a submitter, when its mount comes into use: no process, no name spaces. */
	{ SCMP_SYS(clone), 0, NAMESPACES | CLONE_THREAD, CLONE_THREAD },
	/* Of a ring only its places for files and buffers; the highest bit says that the ring itself is registered. */
	{ SCMP_SYS(io_uring_register), 1, 0x7fffffff, IORING_REGISTER_FILES_UPDATE },
	{ SCMP_SYS(io_uring_register), 1, 0x7fffffff, IORING_REGISTER_BUFFERS_UPDATE },
	/* fstat() of newer C libraries. */
	{ SCMP_SYS(newfstatat), 3, ALL, AT_EMPTY_PATH },
	/* What holds an export's file, without a word to its server. */
	{ SCMP_SYS(statx), 2, ALL, AT_EMPTY_PATH | AT_STATX_DONT_SYNC },
	/* Who takes a key makes sure that it is undumpable; the other way is below. */
	{ SCMP_SYS(prctl), 0, ALL, PR_GET_DUMPABLE },
	/* How much is in a socket's queues. */
	{ SCMP_SYS(ioctl), 1, ALL, SIOCINQ },
	{ SCMP_SYS(ioctl), 1, ALL, SIOCOUTQ },
	/* A key that came from the daemon.  Not F_SETFL, which could take O_DIRECT away; no locks, no sizes. */
	{ SCMP_SYS(fcntl), 1, ALL, F_GET_SEALS },
	{ SCMP_SYS(fcntl), 1, ALL, F_DUPFD_CLOEXEC },
};

/* Only with these two values of two arguments. */
static const struct {
	int call;
	unsigned first, second;
	uint64_t value1, value2;
} pairs[] = {
	{ SCMP_SYS(setsockopt), 1, 2, IPPROTO_TCP, TCP_NODELAY },
	{ SCMP_SYS(setsockopt), 1, 2, SOL_SOCKET, SO_OOBINLINE },
	{ SCMP_SYS(prctl), 0, 1, PR_SET_DUMPABLE, 0 },
};

static int no_filter(struct errbuf *e, int code, const char *what)
{
	return err_set(e, -code, "system calls cannot be filtered (seccomp: %s): %s; use a kernel with CONFIG_SECCOMP_FILTER", what,
		       strerror(-code));
}

static int add_all(scmp_filter_ctx f)
{
	int code = 0;

	for (size_t i = 0; i < LENGTH(allowed) && code == 0; i++)
		code = seccomp_rule_add(f, SCMP_ACT_ALLOW, allowed[i], 0);
	for (size_t i = 0; i < LENGTH(deadly) && code == 0; i++)
		code = seccomp_rule_add(f, SCMP_ACT_KILL_PROCESS, deadly[i], 0);
	for (size_t i = 0; i < LENGTH(narrowed) && code == 0; i++) {
		const struct narrow *n = &narrowed[i];

		code = seccomp_rule_add(f, SCMP_ACT_ALLOW, n->call, 1, SCMP_CMP(n->arg, SCMP_CMP_MASKED_EQ, n->mask, n->value));
	}
	for (size_t i = 0; i < LENGTH(pairs) && code == 0; i++)
		code = seccomp_rule_add(f, SCMP_ACT_ALLOW, pairs[i].call, 2,
					SCMP_CMP(pairs[i].first, SCMP_CMP_MASKED_EQ, ALL, pairs[i].value1),
					SCMP_CMP(pairs[i].second, SCMP_CMP_MASKED_EQ, ALL, pairs[i].value2));
	if (code == 0) /* its flags cannot be looked at; the C library takes clone then (and the kernel logs a line for each thread) */
		code = seccomp_rule_add(f, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
	if (code == 0) /* of this process, as abort() does */
		code = seccomp_rule_add(f, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1,
					SCMP_A0(SCMP_CMP_MASKED_EQ, ALL, (uint64_t)getpid()));
	return code;
}

int confine_calls(struct errbuf *e)
{
	scmp_filter_ctx f = seccomp_init(SCMP_ACT_ERRNO(EPERM));
	const char *what = "made";
	int code;

	if (!f)
		return err_set(e, ENOMEM, "no memory for the filter of system calls");
	code = seccomp_attr_set(f, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_KILL_PROCESS);
	if (code == 0)
		code = seccomp_attr_set(f, SCMP_FLTATR_CTL_TSYNC, 1);
	if (code == 0)
		code = seccomp_attr_set(f, SCMP_FLTATR_CTL_LOG, 1);
	if (code == 0)
		code = seccomp_attr_set(f, SCMP_FLTATR_CTL_OPTIMIZE, 2);
	if (code == 0)
		code = add_all(f);
	if (code == 0) {
		what = "loaded";
		code = seccomp_load(f);
	}
	seccomp_release(f);
	return code ? no_filter(e, code, what) : 0;
}
