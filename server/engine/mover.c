/* SPDX-License-Identifier: BSD-3-Clause */
/* The mover's thread: how it is made, and its loop.
 *
 * It sleeps in the ring's own wait.  libev has no part in it: timers, signals and control are on another thread, so that neither its
 * bookkeeping nor any allocation of it is on a page's way.  To wait in epoll for the ring's eventfd made no difference that was seen (1.7 us
 * of CPU less for a write at depth 1, 2.8 more for a read, of 33: noise); for the ring's own descriptor, with DEFER_TASKRUN, such a wait
 * was seen not to be woken at all (Linux 6.18).  What one turn brings is submitted with the wait, unless it is so much that its first part goes
 * ahead (live.c): the disk is told of several requests by one doorbell, which in a virtual machine is a third of what a write costs.  To spin for a while before sleeping
 * made depth 1 slower on two cores.
 */
#include "config.h"

#include "server/engine/mover_priv.h"

#include "server/engine/confine.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define ENTRIES 512u /* submitted at once */
#define STARVED_MS 100 /* so often, at least, sessions that wait for buffers look again */
#define STACK (128u << 10)

int64_t mover_now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

void mover_wake(struct mover *m)
{
	const uint64_t one = 1;

	if (write(m->wake, &one, sizeof(one)) < 0 && errno != EAGAIN)
		abort();
}

static void job_done(void *arg)
{
	mover_wake(arg);
}

/* ---- the loop ---- */

static void watch_wake(struct mover *m)
{
	struct io_uring_sqe *sqe = ring_entry(&m->ring);

	io_uring_prep_poll_add(sqe, 0, POLLIN);
	sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, tagged(m, OF_WAKE));
}

static void woken(struct mover *m)
{
	uint64_t count;

	if (read(m->wake, &count, sizeof(count)) < 0 && errno != EAGAIN)
		abort();
	watch_wake(m);
	commands_run(m);
	task_take_jobs(m);
}

static void completed(struct mover *m, const struct io_uring_cqe *cqe)
{
	uintptr_t data = (uintptr_t)io_uring_cqe_get_data(cqe);
	void *p = (void *)(data & ~(uintptr_t)OF_MASK);

	switch ((enum completion)(data & OF_MASK)) {
	case OF_TASK:
		m->in_ring--;
		task_completed(p, cqe->res);
		break;
	case OF_RECEIVE:
		live_received(p, cqe->res);
		break;
	case OF_POLL:
		live_polled(p);
		break;
	default:
		woken(m);
		break;
	}
}

static void take_completions(struct mover *m)
{
	struct io_uring_cqe *cqe;
	unsigned head, n = 0;

	io_uring_for_each_cqe(&m->ring.u, head, cqe) {
		completed(m, cqe);
		n++;
	}
	io_uring_cq_advance(&m->ring.u, n);
}

static void touch_starved(struct mover *m)
{
	for (unsigned i = 0; i < m->o.sessions; i++)
		if (m->session[i].starved)
			live_touch(&m->session[i]);
}

/* All that can go on without a completion. */
static void work(struct mover *m)
{
	for (;;) {
		struct live *s;

		if (atomic_load_explicit(&m->woken, memory_order_relaxed))
			task_run_woken(m); /* which adds to the list */
		s = m->dirty;
		if (s) {
			m->dirty = s->next_dirty;
			live_work(s);
		} else if (m->starved && m->freed) {
			/* What one session gave back, on its way to sleep, may be what another waits for. */
			m->freed = false;
			touch_starved(m);
		} else {
			return;
		}
	}
}

static void sleep_in_ring(struct mover *m)
{
	struct io_uring_cqe *cqe;
	struct __kernel_timespec t, *limit = NULL;
	int ms = m->held ? task_next_due(m, mover_now_ms()) : -1;

	if (m->starved && (ms < 0 || ms > STARVED_MS)) {
		/* The daemon gives free what it held of the buffers (buffers.h) without a word. */
		ms = STARVED_MS;
		m->freed = true;
	}
	if (ms >= 0) {
		t = (struct __kernel_timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
		limit = &t;
	}
	io_uring_submit_and_wait_timeout(&m->ring.u, &cqe, 1, limit, NULL);
}

static void *run(void *arg)
{
	struct mover *m = arg;
	int code = ring_enable(&m->ring, &m->start_error);

	if (code == 0)
		code = ring_set_file(&m->ring, 0, m->wake, &m->start_error);
	/* Refused where more memory would be locked than a process without CAP_IPC_LOCK may. */
	m->registered = code == 0 && ring_set_buffer(&m->ring, COMMON_BUFFER, buffers_common(m->o.buffers), &m->start_error) == 0;
	if (code == 0) {
		m->start_error.code = 0;
		watch_wake(m);
	}
	sem_post(&m->ready);
	while (code == 0 && !atomic_load(&m->ending)) {
		work(m);
		sleep_in_ring(m);
		take_completions(m);
		if (m->held)
			task_run_due(m, mover_now_ms());
	}
	return NULL;
}

/* ---- on other threads ---- */

static void free_memory(struct mover *m)
{
	if (m->wake >= 0)
		close(m->wake);
	for (unsigned i = 0; i < MOUNTS; i++)
		submitter_free(m->mount[i].submitter);
	free(m->session);
	free(m->export);
	free(m->task);
	sem_destroy(&m->ready);
	pthread_mutex_destroy(&m->lock);
	pthread_mutex_destroy(&m->adding);
	free(m);
}

static int allocate(struct mover *m)
{
	m->ntasks = TASKS_COMMON + TASKS_OWN * m->o.sessions;
	m->session = calloc(m->o.sessions, sizeof(*m->session));
	m->export = calloc(m->o.exports, sizeof(*m->export));
	m->task = calloc(m->ntasks, sizeof(*m->task));
	m->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (!m->session || !m->export || !m->task || m->wake < 0)
		return -1;
	for (unsigned i = m->ntasks; i-- > 0;) {
		m->task[i].next_free = m->free_tasks;
		m->free_tasks = &m->task[i];
	}
	return 0;
}

static int create_submitters(struct mover *m, struct errbuf *e)
{
	for (unsigned i = 0; i < MOUNTS; i++)
		if (!(m->mount[i].submitter = submitter_create(job_done, m, e)))
			return -1;
	return 0;
}

static int start_thread(struct mover *m, struct errbuf *e)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int code;

	pthread_attr_init(&attr);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* their frames are larger */
	pthread_attr_setstacksize(&attr, STACK);
#endif
	sigfillset(&all);
	sigdelset(&all, CONFINE_SIGNAL);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	code = pthread_create(&m->thread, &attr, run, m);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (code)
		return err_set(e, code, "the mover's thread: %s", strerror(code));
	while (sem_wait(&m->ready) < 0)
		;
	if (!m->start_error.code)
		return 0;
	pthread_join(m->thread, NULL);
	*e = m->start_error;
	return -1;
}

struct mover *mover_create(const struct mover_options *o, struct errbuf *e)
{
	struct mover *m = calloc(1, sizeof(*m));
	struct ring_size size;

	if (!m) {
		err_set(e, ENOMEM, "no memory for the mover");
		return NULL;
	}
	m->o = *o;
	sem_init(&m->ready, 0, 0);
	pthread_mutex_init(&m->lock, NULL);
	pthread_mutex_init(&m->adding, NULL);
	if (allocate(m) < 0) {
		err_set(e, ENOMEM, "no memory for %u sessions", o->sessions);
		free_memory(m);
		return NULL;
	}
	size = (struct ring_size){ .entries = ENTRIES, .under_way = ENTRIES + m->ntasks + 2 * o->sessions,
				   .files = 1 + o->sessions + o->exports, .buffers = 1 + o->exports };
	if (ring_create(&m->ring, &size, e) < 0) {
		free_memory(m);
		return NULL;
	}
	if (create_submitters(m, e) < 0 || start_thread(m, e) < 0) {
		ring_free(&m->ring);
		free_memory(m);
		return NULL;
	}
	return m;
}

void mover_free(struct mover *m)
{
	if (!m)
		return;
	atomic_store(&m->ending, true);
	mover_wake(m);
	pthread_join(m->thread, NULL);
	ring_free(&m->ring);
	free_memory(m);
}
