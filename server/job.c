/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/job.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

/* A report of the store's checks is on the stack; all of it is locked memory. */
#define THREAD_STACK (512u << 10)

struct job {
	struct job_runner *runner;
	struct job *next;
	const struct job_ops *ops;
	void *arg;
	bool started;	      /* loop's thread */
	bool finished, poked; /* lock */
	pthread_t thread;
};

struct job_runner {
	struct ev_loop *loop;
	ev_async async;
	pthread_mutex_t lock;
	struct job *jobs; /* in order; the list itself belongs to the loop's thread */
	unsigned running, max_running;
};

static void *thread_main(void *arg)
{
	struct job *job = arg;
	struct job_runner *r = job->runner;

	job->ops->run(job, job->arg);
	pthread_mutex_lock(&r->lock);
	job->finished = true;
	pthread_mutex_unlock(&r->lock);
	ev_async_send(r->loop, &r->async);
	return NULL;
}

void job_poke(struct job *job)
{
	struct job_runner *r = job->runner;

	pthread_mutex_lock(&r->lock);
	job->poked = true;
	pthread_mutex_unlock(&r->lock);
	ev_async_send(r->loop, &r->async);
}

static int start_thread(struct job *job)
{
	sigset_t all, old;
	pthread_attr_t attr;
	int r;

	/* Signals are the loop's. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, THREAD_STACK);
	r = pthread_create(&job->thread, &attr, thread_main, job);
	pthread_attr_destroy(&attr);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	if (r != 0)
		return r;
	job->started = true;
	job->runner->running++;
	return 0;
}

static void start_waiting(struct job_runner *r)
{
	for (struct job *j = r->jobs; j && r->running < r->max_running; j = j->next)
		if (!j->started && start_thread(j) != 0)
			return;
}

void job_try_again(struct job_runner *r)
{
	start_waiting(r);
}

/* Takes one finished or poked job; NULL when there is none. */
static struct job *take(struct job_runner *r, bool *finished)
{
	struct job *found = NULL;

	pthread_mutex_lock(&r->lock);
	for (struct job **p = &r->jobs; *p; p = &(*p)->next) {
		struct job *j = *p;

		if (!j->finished && !j->poked)
			continue;
		*finished = j->finished;
		j->poked = false;
		if (*finished)
			*p = j->next;
		found = j;
		break;
	}
	pthread_mutex_unlock(&r->lock);
	return found;
}

static void on_async(struct ev_loop *loop, ev_async *w, int revents)
{
	struct job_runner *r = w->data;
	struct job *j;
	bool finished;

	(void)loop;
	(void)revents;
	while ((j = take(r, &finished))) {
		if (finished) {
			pthread_join(j->thread, NULL);
			r->running--;
			j->ops->done(j->arg);
			free(j);
		} else if (j->ops->progress) {
			j->ops->progress(j->arg);
		}
	}
	start_waiting(r);
}

struct job_runner *job_runner_create(struct ev_loop *loop, unsigned max_running, struct errbuf *e)
{
	struct job_runner *r = calloc(1, sizeof(*r));

	if (!r) {
		err_errno(e, "helper threads");
		return NULL;
	}
	r->loop = loop;
	r->max_running = max_running;
	pthread_mutex_init(&r->lock, NULL);
	ev_async_init(&r->async, on_async);
	r->async.data = r;
	ev_async_start(loop, &r->async);
	return r;
}

bool job_runner_idle(const struct job_runner *r)
{
	return r->jobs == NULL;
}

void job_runner_free(struct job_runner *r)
{
	if (!r)
		return;
	ev_async_stop(r->loop, &r->async);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

int job_start(struct job_runner *r, const struct job_ops *ops, void *arg, struct errbuf *e)
{
	struct job *job = calloc(1, sizeof(*job)), **p;
	int code;

	if (!job)
		return err_errno(e, "helper thread");
	job->runner = r;
	job->ops = ops;
	job->arg = arg;
	if (r->running < r->max_running) {
		code = start_thread(job);
		if (code != 0 && r->running == 0) {
			free(job);
			return err_set(e, code, "a helper thread cannot be started: %s", strerror(code));
		}
	}
	pthread_mutex_lock(&r->lock);
	for (p = &r->jobs; *p; p = &(*p)->next)
		;
	*p = job;
	pthread_mutex_unlock(&r->lock);
	/* It may have finished before it was in the list. */
	ev_async_send(r->loop, &r->async);
	return 0;
}

bool job_take_back(struct job_runner *r, const struct job_ops *ops, const void *arg)
{
	struct job *job, **p;

	pthread_mutex_lock(&r->lock);
	for (p = &r->jobs; *p && ((*p)->ops != ops || (*p)->arg != arg || (*p)->started); p = &(*p)->next)
		;
	job = *p;
	if (job)
		*p = job->next;
	pthread_mutex_unlock(&r->lock);
	free(job);
	return job != NULL;
}
