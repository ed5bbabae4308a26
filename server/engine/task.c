/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests at the store: begin, I/O, complete, and what comes in between. */
#include "config.h"

#include "server/engine/mover_priv.h"

#include "store/page.h"

#include <assert.h>
#include <errno.h>
#include <stddef.h>

#define DISCARD_AT_ONCE (512 * PAGE_BYTES) /* 10 us */

/* ---- tasks ---- */

/* An export has some for sure, and at most half of the common ones: the requests of one that is stuck cannot take all. */
static bool from_common(const struct mover_export *x)
{
	return x->tasks >= TASKS_OWN;
}

bool task_available(const struct mover_export *x)
{
	const struct mover *m = x->m;

	return !from_common(x) || (m->common_tasks < TASKS_COMMON && x->tasks - TASKS_OWN < TASKS_COMMON / 2);
}

static struct task *take_task(struct live *s, uint32_t slot)
{
	struct mover *m = s->m;
	struct task *t = m->free_tasks;

	assert(t);
	m->common_tasks += from_common(s->x);
	s->x->tasks++;
	m->free_tasks = t->next_free;
	t->s = s;
	t->slot = slot;
	t->flushing = t->held = false;
	s->running++;
	s->doing[slot] = true;
	return t;
}

/* The request is answered, or nobody is there to be answered. */
static void finish(struct task *t, uint32_t error)
{
	struct live *s = t->s;
	struct mover *m = s->m;

	s->x->tasks--;
	m->common_tasks -= from_common(s->x);
	s->running--;
	s->doing[t->slot] = false;
	live_settle_owed(s, t->slot);
	t->s = NULL;
	t->next_free = m->free_tasks;
	m->free_tasks = t;
	m->freed = true;
	if (s->ending)
		live_free_slot(s, t->slot);
	else
		live_answer(s, t->slot, error);
	live_maybe_ended(s);
}

static struct sess_request *request(const struct task *t)
{
	return &t->s->mem->request[t->slot];
}

/* ---- I/O ---- */

static void put_to_submitter(struct task *t, enum submitter_op op)
{
	t->job = (struct submitter_job){ .op = op, .fd = t->s->x->fd, .position = t->rw.position, .iov = t->rw.iov,
					 .iovcnt = t->rw.iovcnt };
	submitter_put(t->s->x->mount->submitter, &t->job);
}

static void put_to_ring(struct task *t, struct io_uring_sqe *sqe)
{
	sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, tagged(t, OF_TASK));
	t->s->m->in_ring++;
}

static void submit_io(struct task *t)
{
	struct mover_export *x = t->s->x;
	struct rw *rw = &t->rw;
	bool write = rw->op == RW_WRITE || rw->aside;
	struct io_uring_sqe *sqe;
	int file = (int)file_of_export(x->m, x->place);

	if (x->mount) {
		put_to_submitter(t, write ? SUBMIT_WRITE : SUBMIT_READ);
		return;
	}
	sqe = ring_entry(&x->m->ring);
	if (x->direct && x->registered && !rw->aside) {
		int index = buffers_is_common(x->share, request(t)->buffer) ? COMMON_BUFFER : (int)buffer_of_export(x->place);

		if (write)
			io_uring_prep_write_fixed(sqe, file, rw->iov[0].iov_base, (unsigned)rw->iov[0].iov_len, (__u64)rw->position,
						  index);
		else
			io_uring_prep_read_fixed(sqe, file, rw->iov[0].iov_base, (unsigned)rw->iov[0].iov_len, (__u64)rw->position,
						 index);
	} else if (write) {
		io_uring_prep_writev(sqe, file, rw->iov, (unsigned)rw->iovcnt, (__u64)rw->position);
	} else {
		io_uring_prep_readv(sqe, file, rw->iov, (unsigned)rw->iovcnt, (__u64)rw->position);
	}
	put_to_ring(t, sqe);
}

static void put_sync(struct task *t)
{
	struct mover_export *x = t->s->x;
	struct io_uring_sqe *sqe;

	if (x->mount) {
		t->rw.iovcnt = 0;
		put_to_submitter(t, SUBMIT_SYNC);
		return;
	}
	sqe = ring_entry(&x->m->ring);
	io_uring_prep_fsync(sqe, (int)file_of_export(x->m, x->place), IORING_FSYNC_DATASYNC);
	put_to_ring(t, sqe);
}

static void submit_sync(struct task *t)
{
	if (flush_begin(&t->flush, t->s->x->store))
		put_sync(t);
	else
		finish(t, NBD_EIO);
}

/* ---- steps ---- */

static void hold(struct task *t, int ms)
{
	struct mover *m = t->s->m;

	t->held = true;
	t->due_ms = mover_now_ms() + ms;
	t->next_held = m->held;
	m->held = t;
}

static void unhold(struct task *t)
{
	struct task **p = &t->s->m->held;

	while (*p != t)
		p = &(*p)->next_held;
	*p = t->next_held;
	t->held = false;
}

static uint32_t nbd_error(int code)
{
	return code == 0 ? NBD_SUCCESS : code == EINVAL ? NBD_EINVAL : NBD_EIO;
}

static void begin_sync(struct task *t)
{
	t->flushing = true;
	flush_init(&t->flush);
	submit_sync(t);
}

/* What becomes of a request that the store is done with. */
static void done(struct task *t)
{
	bool unkept = (request(t)->flags & NBD_CMD_FLAG_FUA) && t->rw.op != RW_READ && !store_keeps(t->s->x->store);

	if (!t->rw.error && unkept && !t->s->ending)
		begin_sync(t);
	else
		finish(t, nbd_error(t->rw.error));
}

static void step(struct task *t, enum rw_next next)
{
	switch (next) {
	case RW_IO:
		submit_io(t);
		return;
	case RW_SYNC:
		put_sync(t);
		return;
	case RW_WAIT:
		return;
	case RW_LATER:
		hold(t, t->rw.later_ms);
		return;
	case RW_DONE:
		done(t);
		return;
	}
}

/* By whichever thread made room, with the store's lock held. */
static void woken(struct rw *rw)
{
	struct task *t = (struct task *)rw;
	struct mover *m = t->s->m;
	struct task *first;

	if (atomic_exchange(&t->woken, true))
		return;
	first = atomic_load(&m->woken);
	do
		t->next_woken = first;
	while (!atomic_compare_exchange_weak(&m->woken, &first, t));
	if (!pthread_equal(pthread_self(), m->thread))
		mover_wake(m);
}

/* So far a redo need not go again. */
static void record(struct rw *rw, uint32_t pages)
{
	struct sess_request *r = request((struct task *)rw);

	atomic_fetch_add_explicit(&r->done, pages * PAGE_BYTES, memory_order_release);
}

void task_begin(struct live *s, uint32_t slot)
{
	struct task *t = take_task(s, slot);
	struct sess_request *r = request(t);
	uint32_t from = atomic_load_explicit(&r->done, memory_order_relaxed);
	unsigned char *data = r->buffer == SESSMEM_NO_BUFFER ? NULL : buffers_at(s->x->share, r->buffer);
	enum rw_op op = r->command == NBD_CMD_READ ? RW_READ : r->command == NBD_CMD_WRITE ? RW_WRITE : RW_DISCARD;

	if (r->command == NBD_CMD_FLUSH) {
		t->rw.op = RW_DISCARD;
		begin_sync(t);
		return;
	}
	rw_init(&t->rw, s->x->store, op, r->offset + from, r->length - from, data ? data + from : NULL, woken);
	if (op != RW_READ)
		t->rw.record = record;
	t->rw.first_page = r->offset / PAGE_BYTES; /* what the predecessor did need not be durable yet */
	t->rw.session = &s->ended;
	if (op == RW_DISCARD && t->rw.length > DISCARD_AT_ONCE)
		hold(t, 0);
	else
		step(t, rw_begin(&t->rw));
}

static void sync_completed(struct task *t, int code)
{
	int ms = flush_result(&t->flush, code);

	if (ms > 0 && !t->s->ending)
		hold(t, ms);
	else
		finish(t, ms == 0 ? NBD_SUCCESS : NBD_EIO);
}

void task_completed(struct task *t, ssize_t result)
{
	if (t->flushing)
		sync_completed(t, result < 0 ? (int)-result : 0);
	else
		step(t, rw_complete(&t->rw, result));
}

static void again(struct task *t)
{
	if (t->flushing)
		submit_sync(t);
	else
		step(t, rw_begin(&t->rw));
}

void task_run_woken(struct mover *m)
{
	/* The list has the latest first. */
	struct task *list = atomic_exchange(&m->woken, NULL), *first = NULL;

	while (list) {
		struct task *t = list;

		list = t->next_woken;
		t->next_woken = first;
		first = t;
	}
	while (first) {
		struct task *t = first;

		first = t->next_woken;
		atomic_store(&t->woken, false);
		if (t->s && rw_waits(&t->rw))
			again(t);
	}
}

static bool is_large_discard(const struct task *t)
{
	return t->rw.op == RW_DISCARD && !t->flushing;
}

/* Of all large discards one step at each turn of the loop, each of them in its turn: clients may send many at once, of 4 GiB each, and pages move
 * on the same thread.
 */
void task_run_due(struct mover *m, int64_t now_ms)
{
	struct task **p = &m->held, *discard = NULL;

	while (*p) {
		struct task *t = *p;

		if (t->due_ms > now_ms || is_large_discard(t)) {
			if (t->due_ms <= now_ms)
				discard = t; /* the last has waited longest */
			p = &t->next_held;
			continue;
		}
		*p = t->next_held;
		t->held = false;
		again(t);
		p = &m->held; /* what was held again is at its beginning, and not due */
	}
	if (discard) {
		unhold(discard);
		again(discard);
	}
}

int task_next_due(const struct mover *m, int64_t now_ms)
{
	int64_t least = -1;

	for (const struct task *t = m->held; t; t = t->next_held) {
		int64_t left = t->due_ms > now_ms ? t->due_ms - now_ms : 0;

		if (least < 0 || left < least)
			least = left;
	}
	return (int)least;
}

void task_take_jobs(struct mover *m)
{
	for (unsigned i = 0; i < MOUNTS; i++) {
		struct submitter_job *job = m->submitter[i] ? submitter_take(m->submitter[i]) : NULL;

		while (job) {
			struct submitter_job *next = job->next;

			task_completed((struct task *)((char *)job - offsetof(struct task, job)), job->result);
			job = next;
		}
	}
}

void task_cancel(struct live *s)
{
	struct mover *m = s->m;

	for (unsigned i = 0; i < m->ntasks; i++) {
		struct task *t = &m->task[i];

		if (t->s != s)
			continue;
		if (t->held && t->flushing) {
			unhold(t);
			finish(t, NBD_EIO);
		} else if (t->held) {
			unhold(t);
			step(t, rw_cancel(&t->rw));
		} else if (rw_waits(&t->rw) && !t->flushing) {
			step(t, rw_cancel(&t->rw));
		}
	}
}
