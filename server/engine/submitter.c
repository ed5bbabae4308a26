/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/engine/submitter.h"

#include "server/engine/confine_ring.h"

#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* Jobs with the kernel at once, less one; others wait here.  An NFS client has no more on the wire (max_session_slots 64), and the ring's
 * memory, which cannot be locked by us (nor swapped out), is 8 KiB.
 */
#define ENTRIES 64u

/* On descriptors of any number: to put files into places of the ring would wait for a submission that blocks. */
static const uint8_t operations[] = { IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_POLL_ADD };

struct submitter {
	struct io_uring ring;
	pthread_t thread;
	bool started;
	unsigned running; /* jobs with the kernel */
	struct submitter_job *waiting, **waiting_end; /* for that */
	int wake; /* eventfd: there is a job, or the end */
	void (*done)(void *arg);
	void *arg;
	pthread_mutex_t lock; /* the two lists */
	struct submitter_job *in, **in_end;
	struct submitter_job *out, **out_end;
	bool ending;
};

/* The list, whose last link *last becomes; empty afterwards. */
static struct submitter_job *take_all(struct submitter *s, struct submitter_job **list, struct submitter_job ***end,
				      struct submitter_job ***last)
{
	struct submitter_job *all;

	pthread_mutex_lock(&s->lock);
	all = *list;
	*last = *end;
	*list = NULL;
	*end = list;
	pthread_mutex_unlock(&s->lock);
	return all;
}

static struct io_uring_sqe *entry(struct submitter *s)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&s->ring)))
		if (io_uring_submit(&s->ring) < 0)
			abort();
	return sqe;
}

static void watch_wake(struct submitter *s)
{
	struct io_uring_sqe *sqe = entry(s);

	io_uring_prep_poll_add(sqe, s->wake, POLLIN);
	io_uring_sqe_set_data(sqe, NULL);
}

static void submit(struct submitter *s, struct submitter_job *job)
{
	struct io_uring_sqe *sqe = entry(s);

	switch (job->op) {
	case SUBMIT_READ:
		io_uring_prep_readv(sqe, job->fd, job->iov, (unsigned)job->iovcnt, (__u64)job->position);
		break;
	case SUBMIT_WRITE:
		io_uring_prep_writev(sqe, job->fd, job->iov, (unsigned)job->iovcnt, (__u64)job->position);
		break;
	case SUBMIT_SYNC:
		io_uring_prep_fsync(sqe, job->fd, IORING_FSYNC_DATASYNC);
		break;
	}
	io_uring_sqe_set_data(sqe, job);
}

static void submit_new(struct submitter *s)
{
	struct submitter_job **last, *job = take_all(s, &s->in, &s->in_end, &last);

	if (job) {
		*s->waiting_end = job;
		s->waiting_end = last;
	}
	while ((job = s->waiting) && s->running < ENTRIES - 1) {
		s->waiting = job->next;
		if (!s->waiting)
			s->waiting_end = &s->waiting;
		s->running++;
		submit(s, job);
	}
}

/* Takes the completions that are there.  Returns whether jobs have ended; *woken: the eventfd was. */
static bool collect(struct submitter *s, bool *woken)
{
	struct submitter_job *first = NULL, **end = &first;
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&s->ring, head, cqe) {
		struct submitter_job *job = io_uring_cqe_get_data(cqe);

		n++;
		if (!job) {
			*woken = true;
			continue;
		}
		s->running--;
		job->result = cqe->res;
		job->next = NULL;
		*end = job;
		end = &job->next;
	}
	io_uring_cq_advance(&s->ring, n);
	if (!first)
		return false;
	pthread_mutex_lock(&s->lock);
	*s->out_end = first;
	s->out_end = end;
	pthread_mutex_unlock(&s->lock);
	return true;
}

static void *run(void *arg)
{
	struct submitter *s = arg;
	bool woken = true;

	while (!__atomic_load_n(&s->ending, __ATOMIC_ACQUIRE)) {
		if (woken) {
			uint64_t count;

			if (read(s->wake, &count, sizeof(count)) < 0 && errno != EAGAIN)
				abort();
			watch_wake(s);
			woken = false;
		}
		submit_new(s);
		io_uring_submit_and_wait(&s->ring, 1); /* what it could not submit it will, the next time */
		if (collect(s, &woken))
			s->done(s->arg);
	}
	return NULL;
}

static int make_ring(struct submitter *s, struct errbuf *e)
{
	/* Not SINGLE_ISSUER: this thread proves it, and another will use it. */
	struct io_uring_params p = { .flags = IORING_SETUP_R_DISABLED };
	const struct ring_rules rules = { .ops = operations, .nops = sizeof(operations), .any_file = true };
	int code = io_uring_queue_init_params(ENTRIES, &s->ring, &p);

	if (code < 0)
		return err_set(e, -code, "a submitter: %s", strerror(-code));
	if (confine_ring(&s->ring, &rules, e) == 0 && confine_ring_enable(&s->ring, e) == 0)
		return 0;
	io_uring_queue_exit(&s->ring);
	return -1;
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
	s->waiting_end = &s->waiting;
	pthread_mutex_init(&s->lock, NULL);
	s->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s->wake < 0 || make_ring(s, e) < 0) {
		if (s->wake < 0)
			err_errno(e, "a submitter");
		else
			close(s->wake);
		pthread_mutex_destroy(&s->lock);
		free(s);
		return NULL;
	}
	return s;
}

int submitter_start(struct submitter *s, struct errbuf *e)
{
	int code;

	if (s->started)
		return 0;
	code = pthread_create(&s->thread, NULL, run, s);
	if (code)
		return err_set(e, code, "the thread of a submitter: %s", strerror(code));
	s->started = true;
	return 0;
}

static void wake(struct submitter *s)
{
	const uint64_t one = 1;

	if (write(s->wake, &one, sizeof(one)) < 0 && errno != EAGAIN)
		abort();
}

void submitter_free(struct submitter *s)
{
	if (!s)
		return;
	__atomic_store_n(&s->ending, true, __ATOMIC_RELEASE);
	wake(s);
	if (s->started)
		pthread_join(s->thread, NULL);
	io_uring_queue_exit(&s->ring);
	close(s->wake);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

void submitter_put(struct submitter *s, struct submitter_job *job)
{
	bool first;

	job->next = NULL;
	pthread_mutex_lock(&s->lock);
	first = !s->in;
	*s->in_end = job;
	s->in_end = &job->next;
	pthread_mutex_unlock(&s->lock);
	if (first)
		wake(s);
}

struct submitter_job *submitter_take(struct submitter *s)
{
	struct submitter_job **last;

	return take_all(s, &s->out, &s->out_end, &last);
}
