/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/keeper.h"

#include "common/exitcodes.h"
#include "server/keeper_message.h"
#include "server/keeper_socket.h"
#include "server/keeper_store.h"
#include "server/log.h"
#include "server/protect.h"

#include <errno.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { FIRST_FD = 3 }; /* SD_LISTEN_FDS_START */

#define OWN_FDS 32		 /* that the keeper needs beside those it keeps, and the daemon at its start */
#define MESSAGES_AT_DEATH 4096 /* more than a socket's queue holds (net.unix.max_dgram_qlen) */
#define COMPLAINTS_MAX 16	 /* in the log, about one daemon's messages */

struct keeper {
	const struct keeper_plan *plan;
	char **envp; /* the keeper's own without what it sets, and room for that at envp + kept_env */
	size_t kept_env;
	sigset_t mask; /* that the keeper was started with */
	int sock;      /* messages come here */
	int address;   /* of it, in the shape of a descriptor; above all numbers that the daemon gets */
	int epoll, signals;
	pid_t pid; /* 0: none */
	int64_t started_ms, start_at_ms;
	unsigned pause_ms;
	bool ready;	 /* a daemon has been */
	bool ending;	 /* this daemon said that it stops */
	bool stopping;	 /* the keeper was told to end */
	bool renewing;	 /* it was told to have the daemon replaced */
	bool done;
	int code;
	unsigned complaints;
	struct keeper_incoming in;
	struct keeper_store store;
};

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void complain(struct keeper *k, const char *what, const char *why)
{
	if (k->complaints++ < COMPLAINTS_MAX)
		log_line(LOG_WARN, "keeper: %s: %s", what, why);
}

/* ---- messages ---- */

static void store(struct keeper *k, const struct keeper_message *m)
{
	const char *name = *m->name ? m->name : "stored";
	struct errbuf e;

	for (size_t i = 0; i < k->in.nfds; i++)
		if (keeper_store_add(&k->store, k->in.fds[i], name, m->poll, &e) < 0)
			complain(k, "a descriptor of the daemon's is not kept", e.text);
	k->in.nfds = 0; /* they are the store's */
}

static void obey(struct keeper *k)
{
	struct keeper_message m;

	if (!k->in.whole) {
		complain(k, "a message of the daemon's is dropped", "it, or the number of its descriptors, is too large");
		return;
	}
	if (!keeper_message_read(k->in.text, k->in.len, &m)) {
		complain(k, "a message of the daemon's is dropped", "it is none of sd_notify");
		return;
	}
	if (m.barrier)
		return; /* that its descriptor is closed is the answer */
	k->ready |= m.ready;
	k->ending |= m.stopping;
	if (m.remove && !*m.name)
		complain(k, "the daemon wants descriptors removed", "it gave no name of any");
	else if (m.remove)
		keeper_store_remove(&k->store, m.name);
	else if (m.store)
		store(k, &m);
}

/* One message, with what came with it and is not kept closed.  false: there is none. */
static bool hear(struct keeper *k)
{
	struct keeper_incoming *in = &k->in;

	if (!keeper_socket_receive(k->sock, in))
		return false;
	if (k->pid > 0 && in->sender == k->pid)
		obey(k);
	for (size_t i = 0; i < in->nfds; i++)
		close(in->fds[i]);
	return true;
}

/* ---- the daemon's start ---- */

static void put_in_place(struct keeper *k)
{
	/* All that the keeper has kept has a number above these, so nothing is in the way of anything. */
	const struct keeper_store *s = &k->store;
	int next = FIRST_FD;

	for (size_t i = 0; i < s->count; i++)
		if (dup2(s->entry[i].fd, next++) < 0)
			_exit(127);
	if (dup2(k->address, next++) < 0)
		_exit(127);
	/* A kernel before 5.9 leaves it to close-on-exec, which all the keeper's have. */
	close_range((unsigned)next, ~0U, CLOSE_RANGE_CLOEXEC);
}

static void run_child(struct keeper *k)
{
	static const int later[] = { SIGTERM, SIGINT, SIGHUP };
	static char fdnames[KEEPER_NAMES_SIZE];
	char notify[64], fds[64], pid[64];
	char **env = k->envp + k->kept_env;

	/* A terminal's signals are for the keeper, which passes them on: the daemon is not to have them twice. */
	setpgid(0, 0);
	put_in_place(k);
	snprintf(notify, sizeof(notify), "NOTIFY_SOCKET=/proc/self/fd/%zu", FIRST_FD + k->store.count);
	*env++ = notify;
	if (k->store.count > 0) {
		snprintf(fds, sizeof(fds), "LISTEN_FDS=%zu", k->store.count);
		snprintf(pid, sizeof(pid), "LISTEN_PID=%d", (int)getpid());
		keeper_store_names(&k->store, fdnames);
		*env++ = fds;
		*env++ = pid;
		*env++ = fdnames;
	}
	*env = NULL;
	/* What is passed on before the daemon has handlers must not end it; it unblocks them once it has. */
	for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++)
		sigaddset(&k->mask, later[i]);
	signal(SIGPIPE, SIG_DFL);
	sigprocmask(SIG_SETMASK, &k->mask, NULL);
	execve(k->plan->program, k->plan->argv, k->envp);
	/* Somebody is just replacing it. */
	execve("/proc/self/exe", k->plan->argv, k->envp);
	log_line(LOG_ERROR, "keeper: %s cannot be executed: %s", k->plan->program, strerror(errno));
	_exit(127);
}

/* How long until the next start. */
static unsigned next_pause(struct keeper *k, bool lived)
{
	const struct keeper_plan *p = k->plan;
	unsigned pause = lived ? 0 : k->pause_ms;

	k->pause_ms = lived ? p->pause_ms : 2 * pause < p->pause_max_ms ? 2 * pause : p->pause_max_ms;
	return pause;
}

static void start(struct keeper *k)
{
	pid_t pid = fork();

	if (pid == 0)
		run_child(k);
	k->started_ms = now_ms();
	if (pid < 0) {
		unsigned pause = next_pause(k, false);

		log_line(LOG_ERROR, "keeper: the daemon cannot be started (fork: %s); it is tried again in %u ms", strerror(errno), pause);
		k->start_at_ms = k->started_ms + pause;
		return;
	}
	k->pid = pid;
	k->ending = false;
	k->renewing = false;
	k->complaints = 0;
}

/* ---- its end ---- */

static void end(struct keeper *k, int code)
{
	k->done = true;
	k->code = code;
}

static void daemon_ended(struct keeper *k, pid_t pid, int status)
{
	const bool lived = now_ms() - k->started_ms >= k->plan->soon_ms;
	const bool by_itself = WIFEXITED(status);
	const int code = by_itself ? WEXITSTATUS(status) : EX_FAIL;
	char how[64];
	unsigned pause;

	if (by_itself)
		snprintf(how, sizeof(how), "has ended with exit code %d", code);
	else
		snprintf(how, sizeof(how), "was ended by signal %d", WTERMSIG(status));
	if (k->stopping) {
		if (!by_itself)
			log_line(LOG_ERROR, "keeper: the daemon (%d) %s when it was to stop", (int)pid, how);
		end(k, code);
		return;
	}
	/* What refuses to start is for its operator to know, not to be tried again; and what was stopped (nbdswapctl stop) is to stay so. */
	if (by_itself && !k->renewing && (code == EX_OK_ || !k->ready || k->ending)) {
		end(k, code);
		return;
	}
	pause = next_pause(k, lived || k->renewing);
	k->start_at_ms = now_ms() + pause;
	log_line(k->renewing ? LOG_NOTE : LOG_WARN, "keeper: the daemon (%d) %s; the next one is started in %u ms, with %zu descriptors that are kept",
		 (int)pid, how, pause, k->store.count);
}

/* Has the daemon died?  What it has said before counts, so that is heard first, while its pid cannot be anybody else's yet. */
static void reap(struct keeper *k)
{
	siginfo_t info = { .si_pid = 0 };
	pid_t pid = k->pid;
	int status;

	if (pid <= 0 || waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid != pid)
		return;
	for (int n = 0; n < MESSAGES_AT_DEATH && hear(k); n++)
		;
	if (waitpid(pid, &status, 0) != pid)
		return;
	k->pid = 0;
	daemon_ended(k, pid, status);
}

/* ---- signals ---- */

static void on_signal(struct keeper *k, int sig)
{
	if (sig == SIGCHLD) {
		reap(k);
		return;
	}
	if (sig == SIGTERM || sig == SIGINT)
		k->stopping = true;
	else if (sig == SIGUSR2)
		k->renewing = true;
	if (k->pid > 0) {
		kill(k->pid, sig);
	} else if (k->stopping) {
		log_line(LOG_ERROR, "keeper: told to end while no daemon runs; what it served was not ended in order");
		end(k, EX_FAIL);
	}
}

static void read_signals(struct keeper *k)
{
	struct signalfd_siginfo info;

	while (!k->done && read(k->signals, &info, sizeof(info)) == (ssize_t)sizeof(info))
		on_signal(k, (int)info.ssi_signo);
}

/* ---- the keeper itself ---- */

static int watch(struct keeper *k, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	return epoll_ctl(k->epoll, EPOLL_CTL_ADD, fd, &event);
}

static int make_loop(struct keeper *k, struct errbuf *e)
{
	static const int caught[] = { SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2 };
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(caught) / sizeof(caught[0]); i++)
		sigaddset(&set, caught[i]);
	signal(SIGCHLD, SIG_DFL); /* ignored, it would have the daemon reaped by nobody */
	signal(SIGPIPE, SIG_IGN); /* the log's reader may go */
	sigprocmask(SIG_BLOCK, &set, &k->mask);
	k->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	k->epoll = epoll_create1(EPOLL_CLOEXEC);
	if (k->signals < 0 || k->epoll < 0 || watch(k, k->signals) < 0 || watch(k, k->sock) < 0)
		return err_errno(e, "keeper: its loop");
	return 0;
}

static bool set_by_keeper(const char *var)
{
	static const char *const names[] = { "LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=", "NOTIFY_SOCKET=", "WATCHDOG_" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(var, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static int make_environment(struct keeper *k, struct errbuf *e)
{
	size_t n = 0;

	while (environ[n])
		n++;
	k->envp = calloc(n + 5, sizeof(*k->envp));
	if (!k->envp)
		return err_errno(e, "keeper: its environment");
	for (size_t i = 0; i < n; i++)
		if (!set_by_keeper(environ[i]))
			k->envp[k->kept_env++] = environ[i];
	return 0;
}

/* So many descriptors can be kept: half of the numbers are for those that the daemon gets at its start. */
static size_t raise_descriptor_limit(void)
{
	struct rlimit limit = { 0, 0 };
	size_t max;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return 0;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		getrlimit(RLIMIT_NOFILE, &limit);
	max = limit.rlim_cur < 2 * OWN_FDS ? 0 : (size_t)(limit.rlim_cur - 2 * OWN_FDS) / 2;
	return max < KEEPER_FDS_MAX ? max : KEEPER_FDS_MAX;
}

/* The stack that will be used is there from the start, and locked. */
static void __attribute__((noinline)) touch_stack(void)
{
	volatile char deep[65536];

	for (size_t i = 0; i < sizeof(deep); i += 1024)
		deep[i] = 0;
}

static int set_up(struct keeper *k, struct errbuf *e)
{
	size_t max = raise_descriptor_limit();
	int above = FIRST_FD + OWN_FDS + (int)max;

	close_range(FIRST_FD, ~0U, 0); /* of whoever started this; nothing of it is used */
	k->sock = keeper_socket_create(above, &k->address, e);
	if (k->sock < 0 || make_loop(k, e) < 0 || make_environment(k, e) < 0)
		return -1;
	keeper_store_init(&k->store, k->epoll, above, max);
	if (protect_process(k->plan->allow, "keeper: ", e) < 0)
		return -1;
	touch_stack();
	return 0;
}

static int wait_ms(const struct keeper *k)
{
	int64_t left = k->start_at_ms - now_ms();

	if (k->pid > 0)
		return -1;
	return left > 0 ? (int)left : 0;
}

static void turn(struct keeper *k)
{
	struct epoll_event event;

	if (k->pid == 0 && wait_ms(k) == 0)
		start(k);
	/* One at a time, for what is done about one can undo another. */
	if (epoll_wait(k->epoll, &event, 1, wait_ms(k)) != 1)
		return;
	if (event.data.fd == k->signals)
		read_signals(k);
	else if (event.data.fd == k->sock)
		hear(k);
	else
		keeper_store_ended(&k->store, event.data.fd);
}

int keeper_run(const struct keeper_plan *plan)
{
	static struct keeper keeper;
	struct keeper *k = &keeper;
	struct errbuf e = { .code = 0 };

	memset(k, 0, sizeof(*k));
	k->plan = plan;
	k->pause_ms = plan->pause_ms;
	if (set_up(k, &e) < 0) {
		log_line(LOG_ERROR, "%s", e.text);
		return e.code == EPERM || e.code == EACCES || e.code == ENOMEM || e.code == EAGAIN ? EX_PRIV : EX_FAIL;
	}
	while (!k->done)
		turn(k);
	return k->code;
}
