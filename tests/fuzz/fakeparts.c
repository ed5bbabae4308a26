/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/fuzz/fakeparts.h"

#include "common/memlock.h"
#include "common/procself.h"
#include "server/job.h"
#include "server/spawn.h"
#include "tests/fuzz/fakedaemon.h"
#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct job_runner {
	struct ev_loop *loop;
};

struct job {
	struct job *next;
	struct job_runner *runner;
	const struct job_ops *ops;
	void *arg;
	bool was_run;
};

static struct job *jobs;
int fake_worker_end = -1;
bool fake_spawn_refused;

struct job_runner *job_runner_create(struct ev_loop *loop, unsigned max_running, struct errbuf *e)
{
	struct job_runner *r = calloc(1, sizeof(*r));

	r->loop = loop;
	return r;
}

void job_runner_free(struct job_runner *r)
{
	promise(!r || job_runner_idle(r), "a runner is freed while jobs run");
	free(r);
}

bool job_runner_idle(const struct job_runner *r)
{
	for (const struct job *j = jobs; j; j = j->next)
		if (j->runner == r)
			return false;
	return true;
}

int job_start(struct job_runner *r, const struct job_ops *ops, void *arg, struct errbuf *e)
{
	struct job *j = calloc(1, sizeof(*j)), **p;

	for (p = &jobs; *p; p = &(*p)->next)
		promise((*p)->ops != ops || (*p)->arg != arg, "two jobs of a kind for one export");
	j->runner = r;
	j->ops = ops;
	j->arg = arg;
	*p = j;
	return 0;
}

void job_try_again(struct job_runner *r)
{
	(void)r; /* each has its thread at once */
}

/* None has begun before it is run. */
bool job_take_back(struct job_runner *r, const struct job_ops *ops, const void *arg)
{
	for (struct job **p = &jobs; *p; p = &(*p)->next) {
		struct job *j = *p;

		if (j->runner != r || j->ops != ops || j->arg != arg || j->was_run)
			continue;
		*p = j->next;
		free(j);
		return true;
	}
	return false;
}

void job_poke(struct job *j)
{
	if (j->ops->progress) /* really some time later; it only reads counters */
		j->ops->progress(j->arg);
}

bool fake_job_run(void)
{
	for (struct job *j = jobs; j; j = j->next)
		if (!j->was_run) {
			j->ops->run(j, j->arg);
			j->was_run = true;
			return true;
		}
	return false;
}

bool fake_job_done(void)
{
	for (struct job **p = &jobs; *p; p = &(*p)->next)
		if ((*p)->was_run) {
			struct job *j = *p;

			*p = j->next;
			j->ops->done(j->arg);
			free(j);
			return true;
		}
	return false;
}

void fake_jobs_drop(bool (*is_job_own)(const void *arg))
{
	struct job *j;

	while ((j = jobs)) {
		jobs = j->next;
		if (is_job_own(j->arg))
			free(j->arg);
		free(j);
	}
}

pid_t spawn_worker(const struct spawn *s, int *pidfd, int *gate, struct errbuf *e)
{
	promise(fake_worker_end < 0, "a second worker is started");
	if (fake_spawn_refused)
		return err_set(e, EAGAIN, "no process");
	fake_worker_end = dup(s->sock);
	fcntl(fake_worker_end, F_SETFL, O_NONBLOCK);
	*pidfd = *gate = -1;
	return FAKE_WORKER_PID;
}

void spawn_begin(int gate)
{
	(void)gate;
}

/* The clients' sockets are such that a session can go on. */
int getsockopt(int fd, int level, int name, void *restrict value, socklen_t *restrict size)
{
	if (level == SOL_SOCKET && name == SO_PROTOCOL) {
		*(int *)value = IPPROTO_TCP;
		return 0;
	}
	return (int)syscall(SYS_getsockopt, fd, level, name, value, size);
}

/* Killed, it is dead when the target lets the daemon hear of it. */
int kill(pid_t pid, int sig)
{
	if (pid == FAKE_WORKER_PID)
		return 0;
	return (int)syscall(SYS_kill, pid, sig);
}

int memlock_process(struct errbuf *e)
{
	return 0;
}

int memlock_verify(uint64_t *locked_kib, struct errbuf *e)
{
	return 0;
}

int memlock_populate_future(struct errbuf *e)
{
	return 0;
}

int procself_undumpable(struct errbuf *e)
{
	return 0;
}

/* A scrub's rate: nothing is waited for. */
int nanosleep(const struct timespec *wanted, struct timespec *left)
{
	return 0;
}

int procself_oom_score(int score, struct errbuf *e)
{
	return 0;
}

int procself_io_flusher(struct errbuf *e)
{
	return 0;
}
