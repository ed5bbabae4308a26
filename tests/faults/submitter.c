/* SPDX-License-Identifier: BSD-3-Clause */
/* The engine's submitter for tests with faults: its I/O are system calls, on a few threads, so that it goes through the layer of faults
 * (store/fault.h), which sees nothing of io_uring.
 */
#include "config.h"

#include "server/engine/submitter.h"

#include "store/sys.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define THREADS 64 /* more than are late at once: what comes later must not have to wait here */

struct submitter {
	pthread_t thread[THREADS];
	unsigned threads;
	void (*done)(void *arg);
	void *arg;
	pthread_mutex_t lock;
	pthread_cond_t wanted;
	struct submitter_job *in, **in_end;
	struct submitter_job *out, **out_end;
	bool ending;
};

static ssize_t do_job(const struct submitter_job *job)
{
	ssize_t n = -1;

	switch (job->op) {
	case SUBMIT_READ:
		n = sys_preadv(POINT_RW_READ, job->fd, job->iov, job->iovcnt, job->position);
		break;
	case SUBMIT_WRITE:
		n = sys_pwritev(POINT_RW_WRITE, job->fd, job->iov, job->iovcnt, job->position);
		break;
	case SUBMIT_SYNC:
		n = sys_fdatasync(POINT_RW_SYNC, job->fd);
		break;
	}
	return n < 0 ? -errno : n;
}

static void *run(void *arg)
{
	struct submitter *s = arg;

	pthread_mutex_lock(&s->lock);
	while (!s->ending) {
		struct submitter_job *job = s->in;

		if (!job) {
			pthread_cond_wait(&s->wanted, &s->lock);
			continue;
		}
		s->in = job->next;
		if (!s->in)
			s->in_end = &s->in;
		pthread_mutex_unlock(&s->lock);
		job->result = do_job(job);
		job->next = NULL;
		pthread_mutex_lock(&s->lock);
		*s->out_end = job;
		s->out_end = &job->next;
		pthread_mutex_unlock(&s->lock);
		s->done(s->arg);
		pthread_mutex_lock(&s->lock);
	}
	pthread_mutex_unlock(&s->lock);
	return NULL;
}

struct submitter *submitter_create(void (*done)(void *arg), void *arg, struct errbuf *e)
{
	struct submitter *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set(e, ENOMEM, "no memory for a submitter");
		return NULL;
	}
	s->done = done;
	s->arg = arg;
	s->in_end = &s->in;
	s->out_end = &s->out;
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->wanted, NULL);
	return s;
}

int submitter_start(struct submitter *s, struct errbuf *e)
{
	while (s->threads < THREADS && pthread_create(&s->thread[s->threads], NULL, run, s) == 0)
		s->threads++;
	return s->threads > 0 ? 0 : err_set(e, EAGAIN, "no thread for a submitter");
}

void submitter_free(struct submitter *s)
{
	if (!s)
		return;
	pthread_mutex_lock(&s->lock);
	s->ending = true;
	pthread_cond_broadcast(&s->wanted);
	pthread_mutex_unlock(&s->lock);
	while (s->threads > 0)
		pthread_join(s->thread[--s->threads], NULL);
	pthread_cond_destroy(&s->wanted);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void submitter_put(struct submitter *s, struct submitter_job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&s->lock);
	*s->in_end = job;
	s->in_end = &job->next;
	pthread_cond_signal(&s->wanted);
	pthread_mutex_unlock(&s->lock);
}

struct submitter_job *submitter_take(struct submitter *s)
{
	struct submitter_job *all;

	pthread_mutex_lock(&s->lock);
	all = s->out;
	s->out = NULL;
	s->out_end = &s->out;
	pthread_mutex_unlock(&s->lock);
	return all;
}
