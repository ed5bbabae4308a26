/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/upgrade.h"

#include "common/cleanup.h"
#include "server/daemon.h"
#include "server/job.h"
#include "server/log.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TRIAL_MS 10000

struct upgrade {
	struct daemon *d;
	uint64_t client;
	char program[PATH_MAX];
	char said[128]; /* by the program, asked for its version */
	struct errbuf error;
};

/* Where this program came from, which may be another file by now. */
static int find_program(char out[PATH_MAX], struct errbuf *e)
{
	static const char gone[] = " (deleted)";
	ssize_t n = readlink("/proc/self/exe", out, PATH_MAX - 1);

	if (n < 0)
		return err_errno(e, "where nbdswapd lies cannot be found out");
	out[n] = '\0';
	if ((size_t)n > sizeof(gone) && strcmp(out + n - (sizeof(gone) - 1), gone) == 0)
		out[n - (ssize_t)(sizeof(gone) - 1)] = '\0';
	return 0;
}

/* What the program says until it ends. */
static void listen_to(int fd, char *out, size_t size)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };
	size_t have = 0;
	ssize_t n;

	while (have < size - 1 && poll(&p, 1, TRIAL_MS) > 0 && (n = read(fd, out + have, size - 1 - have)) > 0)
		have += (size_t)n;
	out[have] = '\0';
}

static bool takes_over(const char *said)
{
	char wanted[sizeof(KEEP_TAKES) + 16];
	const char *at;

	snprintf(wanted, sizeof(wanted), KEEP_TAKES, KEEP_VERSION);
	at = strstr(said, wanted);
	return at && (at[strlen(wanted)] == '\n' || !at[strlen(wanted)]);
}

/* What it does as a daemon is not known before; but where it does not even run, or the configuration is none, there would be no daemon at all. */
static void try_run(struct job *job, void *arg)
{
	static char version[] = "--version";
	struct upgrade *u = arg;
	char *argv[] = { u->program, version, NULL };
	posix_spawn_file_actions_t actions;
	struct conf_errors errors;
	struct conf *conf;
	int pipe[2], code;
	pid_t pid;

	(void)job;
	conf = conf_load(u->d->conf->path, &errors);
	if (errors.count > 0)
		err_set(&u->error, EINVAL, "%.500s", errors.text[0]);
	conf_free(conf);
	conf_errors_free(&errors);
	if (u->error.code || pipe2(pipe, O_CLOEXEC) < 0)
		return;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, pipe[1], STDOUT_FILENO);
	code = posix_spawn(&pid, u->program, &actions, NULL, argv, environ); /* the loop reaps it */
	posix_spawn_file_actions_destroy(&actions);
	close(pipe[1]);
	if (code == 0)
		listen_to(pipe[0], u->said, sizeof(u->said));
	close(pipe[0]);
	if (code != 0)
		err_set(&u->error, code, "%.400s cannot be run: %s", u->program, strerror(code));
	else if (strncmp(u->said, "nbdswapd ", strlen("nbdswapd ")) != 0)
		err_set(&u->error, ENOEXEC, "%.400s does not run: asked for its version it did not tell one", u->program);
	else if (!takes_over(u->said))
		err_set(&u->error, EPROTO, "%.300s is of a version that could not take over from this one: every session would be cut and every page"
			" lost; detach the clients, stop nbdswapd and start it anew", u->program);
}

static void try_done(void *arg)
{
	struct upgrade *u = arg;
	struct daemon *d = u->d;
	struct errbuf e = u->error;

	d->upgrade = NULL;
	if (e.code == 0 && daemon_leave(d, &e) == 0)
		control_answer(d->control, u->client, json_pack("{s:b, s:i}", "ok", 1, "pid", (int)getpid()));
	else
		control_refuse(d->control, u->client, "%s; this nbdswapd stays", e.text);
	free(u);
}

static const struct job_ops try_ops = { try_run, try_done, NULL };

void upgrade_request(struct daemon *d, uint64_t client, const json_t *req)
{
	struct upgrade *u;
	struct errbuf e;

	(void)req;
	if (d->stopping || d->upgrade || !d->keep.on) {
		control_refuse(d->control, client, d->stopping ? "the daemon is stopping" : d->upgrade ? "it is under way" :
			       "nobody would start nbdswapd again and keep its worker for it: neither a service manager nor the keeper is there"
			       " (was it started with --no-keeper?)");
		return;
	}
	u = calloc(1, sizeof(*u));
	if (!u)
		abort();
	u->d = d;
	u->client = client;
	if (find_program(u->program, &e) == 0 && job_start(d->exports.quick, &try_ops, u, &e) == 0) {
		d->upgrade = u;
		return;
	}
	control_refuse(d->control, client, "%s", e.text);
	free(u);
}
