/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/run.h"

#include "common/cleanup.h"

#include <ctype.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

int run_find(const char *program, char *out, size_t size, struct errbuf *e)
{
	static const char sbin[] = "/usr/local/sbin:/usr/sbin:/sbin";
	const char *path = getenv("PATH");
	const char *lists[] = { path ? path : "/usr/bin:/bin", sbin };

	if (strchr(program, '/')) {
		snprintf(out, size, "%s", program);
		return access(out, X_OK) == 0 ? 0 : err_errno(e, "%s cannot be run", program);
	}
	for (size_t i = 0; i < 2; i++) {
		for (const char *p = lists[i]; *p;) {
			size_t n = strcspn(p, ":");

			if (n && (size_t)snprintf(out, size, "%.*s/%s", (int)n, p, program) < size &&
			    access(out, X_OK) == 0)
				return 0;
			p += n + (p[n] == ':');
		}
	}
	return err_set(e, ENOENT, "the program %s is not installed", program);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* Reads fd to its end into output; false when the time has run out. */
static bool collect(int fd, char *output, size_t size, int64_t deadline)
{
	size_t at = 0;

	for (;;) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN };
		int64_t left = deadline - now_ms();
		char dropped[256];
		bool full = at + 1 >= size;
		ssize_t n;

		if (left <= 0)
			break;
		if (poll(&pfd, 1, (int)left) <= 0)
			continue;
		n = read(fd, full ? dropped : output + at, full ? sizeof(dropped) : size - 1 - at);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			output[at] = '\0';
			while (at && isspace((unsigned char)output[at - 1]))
				output[--at] = '\0';
			return true;
		}
		if (!full)
			at += (size_t)n;
	}
	output[at] = '\0';
	return false;
}

int run_program(char *const argv[], char *output, size_t size, int timeout_s, struct errbuf *e)
{
	CLEANUP_CLOSE int reader = -1;
	CLEANUP_CLOSE int writer = -1;
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, defaults;
	int ends[2], rc, status;
	bool finished;
	pid_t pid;

	output[0] = '\0';
	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_errno(e, "cannot run %s: no pipe", argv[0]);
	reader = ends[0];
	writer = ends[1];
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, writer, 1);
	posix_spawn_file_actions_adddup2(&actions, writer, 2);
	/* In a group of its own a Ctrl-C does not reach it: it ends its work, and what it did is then
	 * undone in order.
	 */
	posix_spawnattr_init(&attr);
	sigemptyset(&none);
	sigemptyset(&defaults);
	sigaddset(&defaults, SIGINT);
	sigaddset(&defaults, SIGTERM);
	sigaddset(&defaults, SIGPIPE);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &defaults);
	rc = posix_spawn(&pid, argv[0], &actions, &attr, argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	if (rc) {
		errno = rc;
		return err_errno(e, "cannot run %s", argv[0]);
	}
	close(steal_fd(&writer));
	finished = collect(reader, output, size, now_ms() + (int64_t)timeout_s * 1000);
	if (!finished)
		kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	if (!finished)
		return err_set(e, ETIMEDOUT, "%s did not end within %d s and was stopped%s%s", argv[0],
			       timeout_s, output[0] ? "; it said: " : "", output);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
