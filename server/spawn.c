/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/spawn.h"

#include "common/allow.h"
#include "server/engine/engine.h"
#include "server/log.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/close_range.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { FIRST_FD = 3 }; /* SD_LISTEN_FDS_START */

/* Threads get stacks as large as this limit says, and all their memory is locked; nbdkit makes as many per connection as -t says. */
#define WORKER_STACK (256u << 10)

#define ENV_MAX 512

struct child {
	char *argv[12];
	char *envp[ENV_MAX];
	char interface[24];
	char threads[16], broker[32], pool_fd[32], pool[48], connections[48], allow[64], listen_fds[32];
	char listen_pid[32]; /* its digits are put in by the child */
	int from[CONF_LISTEN_MAX + 2]; /* descriptors to be passed, in order */
	int count;
	int null;
	int gate[2];
};

/* Is the variable one that we set, or that would mislead the worker? */
static bool replaced(const char *var)
{
	static const char *const names[] = { "LISTEN_PID=", "LISTEN_FDS=", "LISTEN_FDNAMES=", "MALLOC_ARENA_MAX=",
					     "NOTIFY_SOCKET=", "WATCHDOG_" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (strncmp(var, names[i], strlen(names[i])) == 0)
			return true;
	return false;
}

static void describe_allow(uint64_t allow, char *out, size_t size)
{
	snprintf(out, size, "allow=%s%s%s%s", allow & ALLOW_MEMLOCK ? "memlock," : "", allow & ALLOW_OOM ? "oom," : "",
		 allow & ALLOW_IO_FLUSHER ? "io-flusher," : "", allow & ALLOW_CONFINE ? "confine," : "");
	out[strlen(out) - 1] = '\0'; /* the last comma */
}

static size_t nbdkit_arguments(struct child *c, const struct spawn *s)
{
	static char f[] = "-f", t[] = "-t";
	const struct conf_server *conf = s->conf;
	size_t a = 0;

	snprintf(c->threads, sizeof(c->threads), "%" PRIu64, conf->threads);
	snprintf(c->pool, sizeof(c->pool), "pool=%" PRIu64, conf->pool);
	c->argv[a++] = (char *)conf->nbdkit;
	c->argv[a++] = f;
	c->argv[a++] = t;
	c->argv[a++] = c->threads;
	c->argv[a++] = (char *)conf->plugin;
	c->argv[a++] = c->broker;
	c->argv[a++] = c->pool;
	return a;
}

static size_t native_arguments(struct child *c, const struct spawn *s)
{
	size_t a = 0;

	snprintf(c->interface, sizeof(c->interface), "interface=%d", ENGINE_INTERFACE);
	snprintf(c->pool_fd, sizeof(c->pool_fd), "pool-fd=%zu", FIRST_FD + s->nlisten + 1);
	snprintf(c->pool, sizeof(c->pool), "pool=%" PRIu64, s->pool_bytes);
	snprintf(c->connections, sizeof(c->connections), "connections=%" PRIu64, s->conf->connections);
	c->argv[a++] = (char *)s->conf->native;
	c->argv[a++] = c->interface;
	c->argv[a++] = c->broker;
	c->argv[a++] = c->pool_fd;
	c->argv[a++] = c->pool;
	c->argv[a++] = c->connections;
	return a;
}

/* All that allocates or formats is done before the fork: there are other threads. */
static int prepare(struct child *c, const struct spawn *s)
{
	static char arena[] = "MALLOC_ARENA_MAX=1";
	size_t n = 0, a;

	memset(c, 0, sizeof(*c));
	snprintf(c->broker, sizeof(c->broker), "broker=%zu", FIRST_FD + s->nlisten);
	snprintf(c->listen_fds, sizeof(c->listen_fds), "LISTEN_FDS=%zu", s->nlisten);
	strcpy(c->listen_pid, "LISTEN_PID=");
	a = s->engine == ENGINE_NATIVE ? native_arguments(c, s) : nbdkit_arguments(c, s);
	if (s->conf->allow) {
		describe_allow(s->conf->allow, c->allow, sizeof(c->allow));
		c->argv[a++] = c->allow;
	}
	for (char **v = environ; *v && n < ENV_MAX - 4; v++)
		if (!replaced(*v))
			c->envp[n++] = *v;
	c->envp[n++] = arena;
	c->envp[n++] = c->listen_fds;
	c->envp[n++] = c->listen_pid;
	for (size_t i = 0; i < s->nlisten; i++)
		c->from[c->count++] = s->listen_fds[i];
	c->from[c->count++] = s->sock;
	if (s->engine == ENGINE_NATIVE)
		c->from[c->count++] = s->pool_fd;
	if (pipe2(c->gate, O_CLOEXEC) < 0)
		return -1;
	c->null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (c->null >= 0)
		return 0;
	close(c->gate[0]);
	close(c->gate[1]);
	return -1;
}

static void put_number(char *out, long v)
{
	char digits[20];
	int n = 0;

	do
		digits[n++] = (char)('0' + v % 10);
	while ((v /= 10) > 0);
	while (n > 0)
		*out++ = digits[--n];
	*out = '\0';
}

static void say(const char *what, const char *more)
{
	if (write(STDERR_FILENO, what, strlen(what)) < 0 || write(STDERR_FILENO, more, strlen(more)) < 0)
		_exit(126);
}

static void say_and_die(const char *what)
{
	say(what, " cannot be executed as a worker\n");
	_exit(127);
}

/* A request is begun at once, not when whoever has the processor sleeps: that may be its own client, with more requests to come. */
static void prefer(uint64_t priority)
{
	if (priority && setpriority(PRIO_PROCESS, 0, -(int)priority) < 0)
		say("nbdswapd: warning: worker: its priority cannot be raised; CAP_SYS_NICE is needed (systemd: LimitNICE=-20),",
		    " or priority=0 to run without\n");
}

/* Only async-signal-safe calls from here to exec. */
static void run_child(struct child *c, const sigset_t *mask, uint64_t priority)
{
	struct rlimit stack;
	const int above = FIRST_FD + c->count;
	char go;

	close(c->gate[1]);
	if (read(c->gate[0], &go, 1) != 1) /* no signal gets here */
		_exit(126); /* the daemon has died, and its successor does not know this process */
	for (int s = 1; s < NSIG; s++)
		signal(s, SIG_DFL); /* fails for some, which have no handler */
	sigprocmask(SIG_SETMASK, mask, NULL);
	if (getrlimit(RLIMIT_STACK, &stack) == 0) {
		stack.rlim_cur = WORKER_STACK;
		setrlimit(RLIMIT_STACK, &stack);
	}
	prefer(priority);
	if (dup2(c->null, STDIN_FILENO) < 0)
		say_and_die("stdin: the program");
	/* First out of each other's way, then to their places; dup2 clears close-on-exec. */
	for (int i = 0; i < c->count; i++)
		if ((c->from[i] = fcntl(c->from[i], F_DUPFD_CLOEXEC, above)) < 0)
			say_and_die("descriptors: the program");
	for (int i = 0; i < c->count; i++)
		if (dup2(c->from[i], FIRST_FD + i) < 0)
			say_and_die("descriptors: the program");
	/* What the daemon inherited itself has no close-on-exec; a kernel before 5.9 leaves it to the worker. */
	close_range((unsigned)above, ~0U, CLOSE_RANGE_CLOEXEC);
	put_number(c->listen_pid + strlen(c->listen_pid), (long)getpid());
	execve(c->argv[0], c->argv, c->envp);
	say_and_die(c->argv[0]);
}

pid_t spawn_worker(const struct spawn *s, int *pidfd, int *gate, struct errbuf *e)
{
	struct child *c = malloc(sizeof(*c));
	sigset_t all, old;
	pid_t pid;

	if (!c || prepare(c, s) < 0) {
		err_errno(e, "starting a worker");
		free(c);
		return -1;
	}
	/* No handler of ours may run in the child. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pid = fork();
	if (pid == 0)
		run_child(c, &old, s->conf->priority);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	*gate = c->gate[1];
	*pidfd = -1;
	if (pid < 0)
		err_errno(e, "starting a worker: fork");
	else if ((*pidfd = (int)syscall(SYS_pidfd_open, pid, 0)) < 0)
		pid = err_errno(e, "starting a worker: pidfd_open"); /* it ends at its gate */
	if (pid < 0)
		close(*gate);
	close(c->gate[0]);
	close(c->null);
	free(c);
	return pid;
}

void spawn_begin(int gate)
{
	if (write(gate, "", 1) < 0)
		log_line(LOG_ERROR, "the worker cannot be told to begin: %s", strerror(errno));
	close(gate);
}
