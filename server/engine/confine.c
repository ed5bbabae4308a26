/* SPDX-License-Identifier: BSD-3-Clause */
/* Capabilities, no_new_privs and Landlock belong to a thread, and no call sets them for all, as seccomp's does.  So each
 * thread does it itself, in the handler of a signal.
 */
#include "config.h"

#include "server/engine/confine.h"

#include "common/cleanup.h"
#include "common/procself.h"

#include <dirent.h>
#include <errno.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#ifndef SYS_landlock_create_ruleset /* Linux 5.13 */
#define SYS_landlock_create_ruleset 444
#define SYS_landlock_restrict_self 446
#endif

/* struct landlock_ruleset_attr of Linux 6.12; an older kernel is told less of it. */
struct ruleset {
	uint64_t fs, net, scoped;
};

/* What each version can refuse: bits of fs, of net and of scoped. */
static const struct ruleset landlock_versions[] = {
	{ .fs = 0x1fff },				 /* 1: everything by path but what follows */
	{ .fs = 0x3fff },				 /* 2: links and renames between directories */
	{ .fs = 0x7fff },				 /* 3: truncate */
	{ .fs = 0x7fff, .net = 0x3 },			 /* 4: TCP: bind, connect */
	{ .fs = 0xffff, .net = 0x3 },			 /* 5: ioctl on devices */
	{ .fs = 0xffff, .net = 0x3, .scoped = 0x3 }, /* 6: abstract Unix sockets, signals to others */
};
#define VERSIONS (int)(sizeof(landlock_versions) / sizeof(landlock_versions[0]))

#define SECONDS 10

/* What the handler does and answers; one confine_rights() at a time. */
static struct {
	uint32_t keep; /* capabilities */
	int ruleset;   /* -1: none */
	_Atomic int error; /* errno value of the first thread that could not */
	_Atomic unsigned done;
	const char *_Atomic what;
} work;

static int thread_caps(uint32_t keep)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = { { .effective = keep, .permitted = keep } }, back[2];

	if (syscall(SYS_capset, &h, d) < 0 || syscall(SYS_capget, &h, back) < 0)
		return -1;
	if (memcmp(d, back, sizeof(d)) == 0)
		return 0;
	errno = EPERM;
	return -1;
}

/* Safe in a handler: system calls only. */
static void confine_thread(void)
{
	const char *what = "no_new_privs";
	int ok = prctl(PR_SET_NO_NEW_PRIVS, 1L, 0L, 0L, 0L) == 0 && prctl(PR_GET_NO_NEW_PRIVS, 0L, 0L, 0L, 0L) == 1;

	if (ok && work.ruleset >= 0) {
		what = "Landlock";
		ok = syscall(SYS_landlock_restrict_self, work.ruleset, 0) == 0;
	}
	if (ok) {
		what = "capabilities";
		ok = thread_caps(work.keep) == 0;
	}
	if (!ok && !work.error) {
		work.what = what;
		work.error = errno ? errno : EPERM;
	}
	work.done++;
}

static void on_signal(int sig)
{
	int saved = errno;

	confine_thread();
	errno = saved;
}

/* Signals every thread but this one; their number, or -1. */
static int signal_all(void)
{
	CLEANUP_CLOSEDIR DIR *dir = opendir("/proc/self/task");
	pid_t self = (pid_t)syscall(SYS_gettid);
	struct dirent *d;
	int n = 0;

	if (!dir)
		return -1;
	while ((d = readdir(dir))) {
		pid_t tid = (pid_t)atoi(d->d_name);

		if (tid <= 0 || tid == self)
			continue;
		if (syscall(SYS_tgkill, getpid(), tid, CONFINE_SIGNAL) < 0)
			return -1;
		n++;
	}
	return n;
}

static int confine_threads(struct errbuf *e)
{
	struct sigaction action = { .sa_handler = on_signal, .sa_flags = SA_RESTART }, before;
	const struct timespec ms = { .tv_nsec = 1000000 };
	int others, waited = 0;

	work.done = 0;
	work.error = 0;
	sigfillset(&action.sa_mask);
	if (sigaction(CONFINE_SIGNAL, &action, &before) < 0)
		return err_errno(e, "threads cannot be told to drop their rights");
	others = signal_all();
	if (others < 0)
		return err_errno(e, "threads cannot be told to drop their rights (/proc/self/task)");
	while (work.done < (unsigned)others && waited++ < SECONDS * 1000)
		nanosleep(&ms, NULL);
	if (work.done < (unsigned)others)
		return err_set(e, ETIMEDOUT, "%u of %d threads did not drop their rights within %d s", others - work.done, others, SECONDS);
	confine_thread(); /* last: without rights /proc/self/task cannot be opened */
	sigaction(CONFINE_SIGNAL, &before, NULL);
	if (work.error)
		return err_set(e, work.error, "rights cannot be dropped (%s): %s", work.what, strerror(work.error));
	return 0;
}

/* The descriptor of a set that allows nothing; -1 and version 0 where the kernel has no Landlock. */
static int make_ruleset(int *version, struct errbuf *e)
{
	const struct ruleset *r;
	size_t size;
	int fd;
	long known = syscall(SYS_landlock_create_ruleset, NULL, 0, 1U /* LANDLOCK_CREATE_RULESET_VERSION */);

	*version = 0;
	if (known <= 0)
		return -1;
	r = &landlock_versions[(known < VERSIONS ? (int)known : VERSIONS) - 1];
	size = r->scoped ? sizeof(*r) : r->net ? sizeof(r->fs) + sizeof(r->net) : sizeof(r->fs);
	fd = (int)syscall(SYS_landlock_create_ruleset, r, size, 0);
	if (fd < 0) {
		err_errno(e, "Landlock (version %ld) takes no rules", known);
		return -1;
	}
	*version = (int)known;
	return fd;
}

/* Whether later mlock() calls work without CAP_IPC_LOCK. */
static bool memlock_unlimited(void)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	struct rlimit now;

	return setrlimit(RLIMIT_MEMLOCK, &unlimited) == 0 || (getrlimit(RLIMIT_MEMLOCK, &now) == 0 && now.rlim_cur == RLIM_INFINITY);
}

static uint32_t permitted_caps(void)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2];

	return syscall(SYS_capget, &h, d) < 0 ? 0 : d[0].permitted;
}

int confine_rights(struct confined *out, struct errbuf *e)
{
	struct errbuf why = { .code = 0 };
	CLEANUP_CLOSE int ruleset = -1;

	if (procself_undumpable(e) < 0)
		return -1;
	work.keep = memlock_unlimited() ? 0 : permitted_caps() & (1U << CAP_IPC_LOCK);
	ruleset = make_ruleset(&out->landlock, &why);
	if (why.code) {
		*e = why;
		return -1;
	}
	work.ruleset = ruleset;
	out->ipc_lock = work.keep != 0;
	return confine_threads(e);
}

int confine_process(struct confined *out, struct errbuf *e)
{
	if (confine_rights(out, e) < 0)
		return -1;
	return confine_calls(e);
}
