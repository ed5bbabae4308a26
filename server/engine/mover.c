/* SPDX-License-Identifier: BSD-3-Clause */
/* The mover's thread: its loop, and what other threads have it do.
 *
 * It sleeps in the ring's own wait.  libev has no part in it: timers, signals and control are on another thread, so that neither its
 * bookkeeping nor any allocation of it is on a page's way.  To wait in epoll for the ring's eventfd made no difference that was seen (1.7 us
 * of CPU less for a write at depth 1, 2.8 more for a read, of 33: noise); for the ring's own descriptor, with DEFER_TASKRUN, such a wait
 * was seen not to be woken at all (Linux 6.18).  All that one turn brings is submitted at once, with the wait: the disk is then told of
 * several requests by one doorbell, which in a virtual machine is a third of what a write costs.  To spin for a while before sleeping
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
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ENTRIES 512u /* submitted at once */
#define STARVED_MS 100 /* so often, at least, sessions that wait for buffers look again */
#define STACK (128u << 10)

enum what { ADD_EXPORT, REMOVE_EXPORT, REFRESH_EXPORT, ADD_SESSION, END_SESSION, FORGET_SESSION };

/* On the stack of a thread that waits for it. */
struct command {
	struct command *next;
	enum what what;
	struct mover_export *x;
	struct live *s;
	const struct mover_session_options *options;
	struct errbuf *e;
	int result;
	sem_t done;
};

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

/* ---- what the commands do, on the mover's thread ---- */

static int add_export(struct mover *m, struct mover_export *x, struct errbuf *e)
{
	if (x->mount)
		m->submitter[x->mount - m->mount] = x->mount->submitter;
	if (ring_set_file(&m->ring, file_of_export(m, x->place), x->fd, e) < 0)
		return -1;
	/* Without a registered buffer it goes too: each request then has the kernel find its pages. */
	x->registered = m->registered && ring_set_buffer(&m->ring, buffer_of_export(x->place), buffers_reserve(x->share), e) == 0;
	return 0;
}

static void remove_export(struct mover *m, struct mover_export *x)
{
	struct errbuf e;

	ring_set_file(&m->ring, file_of_export(m, x->place), -1, &e);
	if (x->registered)
		ring_set_buffer(&m->ring, buffer_of_export(x->place), (struct iovec){ .iov_base = NULL }, &e);
	if (x->mount && x->mount->users == 1)
		m->submitter[x->mount - m->mount] = NULL;
}

static struct live *free_place(struct mover *m)
{
	for (unsigned i = 0; i < m->o.sessions; i++)
		if (!m->session[i].x)
			return &m->session[i];
	return NULL;
}

static void init_session(struct live *s, struct mover *m, const struct mover_session_options *o)
{
	unsigned place = file_of_session(m, (unsigned)(s - m->session));

	memset(s, 0, sizeof(*s));
	s->m = m;
	s->x = o->export;
	s->mem = o->memory;
	s->sock = o->sock;
	s->place = place;
	s->owner = o->owner;
	s->payload_slot = -1;
}

static void init_slots(struct live *s)
{
	for (uint32_t i = SESSMEM_REQUESTS; i-- > 0;) {
		s->mem->request[i].buffer = SESSMEM_NO_BUFFER;
		s->free[s->nfree++] = (uint16_t)i;
	}
}

static int add_session(struct mover *m, struct command *c)
{
	struct live *s = free_place(m);
	const struct mover_session_options *o = c->options;

	if (!s)
		return err_set(c->e, EMFILE, "all %u places for sessions are taken (connections = %u)", m->o.sessions, m->o.sessions);
	init_session(s, m, o);
	if (ring_set_file(&m->ring, s->place, s->sock, c->e) < 0 ||
	    (o->account && resume(s, o->account, o->blame, c->e) < 0)) {
		struct errbuf e;

		ring_set_file(&m->ring, s->place, -1, &e);
		s->x = NULL;
		return -1;
	}
	if (!o->account)
		init_slots(s);
	s->x->sessions++;
	c->s = s;
	live_touch(s);
	return 0;
}

static void forget_session(struct mover *m, struct live *s)
{
	struct errbuf e;

	ring_set_file(&m->ring, s->place, -1, &e);
	s->x->sessions--;
	s->x = NULL;
}

static void run_command(struct mover *m, struct command *c)
{
	switch (c->what) {
	case ADD_EXPORT:
		c->result = add_export(m, c->x, c->e);
		break;
	case REMOVE_EXPORT:
		remove_export(m, c->x);
		break;
	case REFRESH_EXPORT:
		c->result = ring_set_file(&m->ring, file_of_export(m, c->x->place), c->x->fd, c->e);
		break;
	case ADD_SESSION:
		c->result = add_session(m, c);
		break;
	case END_SESSION:
		live_end(c->s, "the daemon ended it");
		break;
	case FORGET_SESSION:
		forget_session(m, c->s);
		break;
	}
	sem_post(&c->done);
}

static void run_commands(struct mover *m)
{
	struct command *list, *first = NULL;

	pthread_mutex_lock(&m->lock);
	list = m->commands;
	m->commands = NULL;
	pthread_mutex_unlock(&m->lock);
	while (list) { /* the latest came first */
		struct command *c = list;

		list = c->next;
		c->next = first;
		first = c;
	}
	while (first) {
		struct command *c = first;

		first = c->next;
		run_command(m, c);
	}
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
	run_commands(m);
	task_take_jobs(m);
}

static void completed(struct mover *m, const struct io_uring_cqe *cqe)
{
	uintptr_t data = (uintptr_t)io_uring_cqe_get_data(cqe);
	void *p = (void *)(data & ~(uintptr_t)OF_MASK);

	switch ((enum completion)(data & OF_MASK)) {
	case OF_TASK:
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

static int do_command(struct mover *m, struct command *c)
{
	sem_init(&c->done, 0, 0);
	pthread_mutex_lock(&m->lock);
	c->next = m->commands;
	m->commands = c;
	pthread_mutex_unlock(&m->lock);
	mover_wake(m);
	while (sem_wait(&c->done) < 0)
		;
	sem_destroy(&c->done);
	return c->result;
}

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

/* The submitter of the file system that fd lies on. */
static struct mount *join_mount(struct mover *m, int fd, struct errbuf *e)
{
	struct mount *mount = NULL;
	struct stat st;

	if (fstat(fd, &st) < 0) {
		err_errno(e, "what holds its file");
		return NULL;
	}
	for (unsigned i = 0; i < MOUNTS; i++) {
		if (m->mount[i].users && m->mount[i].dev == st.st_dev) {
			m->mount[i].users++;
			return &m->mount[i];
		}
		if (!m->mount[i].users && (!mount || m->mount[i].dev == st.st_dev))
			mount = &m->mount[i];
	}
	if (!mount) {
		err_set(e, EMFILE, "exports on more than %u network mounts", MOUNTS);
		return NULL;
	}
	if (submitter_start(mount->submitter, e) < 0)
		return NULL;
	mount->dev = st.st_dev;
	mount->users = 1;
	return mount;
}

static void leave_mount(struct mount *mount)
{
	if (mount)
		mount->users--;
}

struct mover_export *mover_add_export(struct mover *m, const struct mover_export_options *o, struct errbuf *e)
{
	struct command c = { .what = ADD_EXPORT, .e = e };
	struct mover_export *x = NULL;

	for (unsigned i = 0; i < m->o.exports && !x; i++)
		if (!m->export[i].m)
			x = &m->export[i];
	if (!x) {
		err_set(e, EMFILE, "all %u places for exports are taken", m->o.exports);
		return NULL;
	}
	*x = (struct mover_export){ .m = m, .place = (unsigned)(x - m->export), .fd = o->fd, .store = o->store, .share = o->share,
				    .direct = o->direct, .size = store_size(o->store) };
	if (o->blocks && !(x->mount = join_mount(m, o->fd, e))) {
		x->m = NULL;
		return NULL;
	}
	c.x = x;
	if (do_command(m, &c) < 0) {
		leave_mount(x->mount);
		x->m = NULL;
		return NULL;
	}
	return x;
}

void mover_remove_export(struct mover *m, struct mover_export *x)
{
	struct command c = { .what = REMOVE_EXPORT, .x = x };

	do_command(m, &c);
	leave_mount(x->mount);
	x->mount = NULL;
	x->m = NULL;
}

void mover_refresh_export(struct mover *m, struct mover_export *x)
{
	struct errbuf e;
	struct command c = { .what = REFRESH_EXPORT, .x = x, .e = &e };

	do_command(m, &c);
}

struct live *mover_add_session(struct mover *m, const struct mover_session_options *o, struct errbuf *e)
{
	struct command c = { .what = ADD_SESSION, .options = o, .e = e };

	return do_command(m, &c) < 0 ? NULL : c.s;
}

void mover_end_session(struct mover *m, struct live *s)
{
	struct command c = { .what = END_SESSION, .s = s };

	do_command(m, &c);
}

void mover_forget_session(struct mover *m, struct live *s)
{
	struct command c = { .what = FORGET_SESSION, .s = s };

	do_command(m, &c);
}
