/* SPDX-License-Identifier: BSD-3-Clause */
/* swap_rw: begin and complete.
 *
 * A request is worked off in bites.  A bite of a write is up to RW_BITE_PAGES adjacent pages, either all of them of one value (they are
 * only entries) or none; a bite of a read is a run of adjacent written pages, for the others between them are answered from
 * the table.
 */
#include "config.h"

#include "store/store_priv.h"

#include <errno.h>
#include <string.h>

#define AWAIT_STEP_MS 5
#define DISCARD_STEP 8192u /* entries changed under one hold of the lock: about 0.1 ms */

void rw_init(struct rw *rw, struct store *s, enum rw_op op, uint64_t offset, uint64_t length, void *data,
	     void (*wake)(struct rw *))
{
	rw->store = s;
	rw->op = op;
	rw->offset = offset;
	rw->length = length;
	rw->data = data;
	rw->wake = wake;
	rw->record = NULL;
	rw->session = NULL;
	rw->first_page = offset / PAGE_BYTES;
	rw->iovcnt = 0;
	rw->aside = false;
	rw->keep.stage = KEEP_NOT;
	rw->data_flush = 0;
	rw->keep.wait = KEEP_WAITS_NOT;
	rw->error = rw->cause = 0;
	rw->next = NULL;
	rw->queued = rw->started = rw->starved = rw->stuck = rw->reread = rw->held = false;
	rw->retry = (struct retry){ .tries = 0 };
	rw->slot = NULL;
	rw->io_pages = rw->io_done = 0;
	rw->awaited = 0;
}

/* ---- begin ---- */

/* These pages are dealt with for good.  Lock held since before others could see it. */
static void record(struct rw *rw, uint32_t pages)
{
	if (rw->record)
		rw->record(rw, pages);
}

static void advance(struct rw *rw, uint32_t pages)
{
	uint64_t bytes = (uint64_t)pages * PAGE_BYTES;

	rw->offset += bytes;
	rw->length -= bytes;
	if (rw->data)
		rw->data += bytes;
}

enum rw_next rw_done(struct rw *rw, int error)
{
	rw->error = error;
	if (error)
		atomic_fetch_add_explicit(&rw->store->counters->errors, 1, memory_order_relaxed);
	if (rw->started)
		atomic_fetch_sub_explicit(&rw->store->counters->in_flight, 1, memory_order_relaxed);
	return RW_DONE;
}

static bool valid(const struct rw *rw)
{
	uint64_t size = store_size(rw->store);

	return rw->offset % PAGE_BYTES == 0 && rw->length % PAGE_BYTES == 0 && rw->offset <= size &&
	       rw->length <= size - rw->offset;
}

static void count_start(struct rw *rw)
{
	struct table_counters *c = rw->store->counters;
	uint64_t pages = rw->length / PAGE_BYTES;

	rw->started = true;
	atomic_fetch_add_explicit(&c->in_flight, 1, memory_order_relaxed);
	switch (rw->op) {
	case RW_READ:
		atomic_fetch_add_explicit(&c->reads, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&c->read_pages, pages, memory_order_relaxed);
		break;
	case RW_WRITE:
		atomic_fetch_add_explicit(&c->writes, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&c->written_pages, pages, memory_order_relaxed);
		break;
	case RW_DISCARD:
		atomic_fetch_add_explicit(&c->discards, 1, memory_order_relaxed);
		atomic_fetch_add_explicit(&c->discarded_pages, pages, memory_order_relaxed);
		break;
	}
}

/* Its pages are dealt with: what is left to do before the answer? */
static enum rw_next pages_done(struct rw *rw)
{
	return rw->store->keeps && rw->op != RW_READ ? rw_keep_begin(rw) : rw_done(rw, 0);
}

static enum rw_next refused(struct rw *rw)
{
	if (rw->cause == ESTALE)
		rw_say(rw, NOTICE_LOST_FILE, 0);
	return rw_done(rw, EIO);
}

/* The table alone changes; the space stays allocated.  It waits for nothing but the end of the store, and of a large one each step is a turn of its
 * own, so that whoever has other requests to see to is not kept from them.
 */
static enum rw_next discard(struct rw *rw)
{
	uint64_t left = rw->length / PAGE_BYTES;
	uint32_t n = left < DISCARD_STEP ? (uint32_t)left : DISCARD_STEP;

	pthread_mutex_lock(&rw->store->lock);
	rw->cause = rw_refusal(rw);
	if (rw->cause) {
		rw_dequeue(rw);
		pthread_mutex_unlock(&rw->store->lock);
		return refused(rw);
	}
	if (rw->store->draining) {
		/* The table may be on its way into the trailer already. */
		rw_enqueue(rw);
		pthread_mutex_unlock(&rw->store->lock);
		return RW_WAIT;
	}
	rw_make_fresh(rw, n);
	record(rw, n);
	pthread_mutex_unlock(&rw->store->lock);
	advance(rw, n);
	if (rw->length == 0)
		return pages_done(rw);
	rw->later_ms = 0;
	return RW_LATER;
}

/* Describes the I/O of the bite in hand, as far as a short one has left it. */
static enum rw_next describe_io(struct rw *rw)
{
	uint32_t skip = rw->io_done / PAGE_BYTES;

	rw->fd = rw->store->fd;
	rw->file = rw->store->file;
	rw->position = (off_t)(rw->offset + rw->io_done);
	rw->iovcnt = 0;
	if (!rw->store->share) {
		rw->iov[0].iov_base = rw->data + (size_t)skip * PAGE_BYTES;
		rw->iov[0].iov_len = (size_t)(rw->io_pages - skip) * PAGE_BYTES;
		rw->iovcnt = 1;
		return RW_IO;
	}
	for (uint32_t i = skip; i < rw->io_pages; i++) {
		rw->iov[rw->iovcnt].iov_base = rw->pages[i];
		rw->iov[rw->iovcnt++].iov_len = PAGE_BYTES;
	}
	return RW_IO;
}

/* Lock held. */
static enum rw_next start_io(struct rw *rw, uint32_t pages)
{
	rw->io_pages = pages;
	rw->io_done = 0;
	rw->stuck = rw->reread = false;
	if (rw->op == RW_WRITE)
		rw_mark_in_flight(rw, pages);
	else
		rw_remember(rw, pages);
	rw->store->at_backend++;
	return RW_IO;
}

/* How far the data goes on as it begins: pages of one value each, their values into the marks, or others. */
static uint32_t run_of_data(struct rw *rw, bool *same)
{
	uint32_t n = rw_bite_pages(rw), run;
	uint64_t value;

	*same = page_is_same(rw->data, &value);
	for (run = 0; run < n; run++) {
		if (page_is_same(rw->data + (size_t)run * PAGE_BYTES, &value) != *same)
			break;
		rw->mark[run] = (struct page_mark){ .value = value };
	}
	return run;
}

/* Buffers for the next bite, unless the request's own data serves as such.  Lock held. */
static bool take_buffers(struct rw *rw, uint32_t pages)
{
	struct pool_share *share = rw->store->share;

	return !share || pool_take(share, rw->op == RW_READ, pages, rw->pages);
}

/* Lock held. */
static enum rw_next begin_write(struct rw *rw, uint32_t run)
{
	rw->starved = rw_behind_starved(rw) || rw->store->free_slots == 0 || !take_buffers(rw, run);
	if (rw->starved)
		return rw_enqueue(rw);
	rw_take_slot(rw);
	return start_io(rw, run);
}

/* Pages of one value each: they are only entries.  RW_DONE means: go on.  Lock held. */
static enum rw_next write_same(struct rw *rw, uint32_t run)
{
	rw->starved = !rw_take_slot(rw);
	if (rw->starved)
		return rw_enqueue(rw);
	rw_mark_in_flight(rw, run);
	rw_store_marks(rw, run);
	rw_commit(rw, run, PAGE_SAME);
	record(rw, run);
	return RW_DONE;
}

/* The page that comes next is lost.  Not in the queue of waiters: the write that it waits for would wait behind it. */
static enum rw_next lost(struct rw *rw)
{
	if (atomic_load(&rw->store->awaited) > 0 && rw->awaited++ < AWAIT_MS / AWAIT_STEP_MS) {
		rw->later_ms = AWAIT_STEP_MS;
		return RW_LATER;
	}
	rw->error = EIO;
	return RW_DONE;
}

/* RW_DONE without an error means: the first *run pages are answered by their marks, go on.  Lock held. */
static enum rw_next begin_read(struct rw *rw, uint32_t *run)
{
	const struct entries *x = rw->store->entries;
	uint32_t n = rw_bite_pages(rw), first = 0, written = 0;

	for (; first < n; first++) {
		struct page_view v = entry_read(x, rw_first_page(rw) + first, &rw->mark[first]);

		if (v.state != PAGE_FRESH && v.state != PAGE_SAME)
			break;
		if (v.state == PAGE_FRESH)
			rw->mark[first].value = 0;
	}
	*run = first;
	if (first)
		return RW_DONE;
	while (written < n && table_page(rw->store->table, rw_first_page(rw) + written).state == PAGE_WRITTEN)
		written++;
	if (written == 0)
		return lost(rw);
	rw->starved = rw_behind_starved(rw) || !take_buffers(rw, written);
	return rw->starved ? rw_enqueue(rw) : start_io(rw, written);
}

/* The pages that the table answered. */
static void answered(struct rw *rw, uint32_t pages)
{
	struct table_counters *c = rw->store->counters;

	if (rw->op == RW_READ)
		for (uint32_t i = 0; i < pages; i++)
			page_fill_same(rw->data + (size_t)i * PAGE_BYTES, rw->mark[i].value);
	atomic_fetch_add_explicit(rw->op == RW_READ ? &c->table_pages : &c->same_pages, pages, memory_order_relaxed);
	advance(rw, pages);
}

/* The bite's data goes into the buffers, and its marks into the table, before the backend gets it.  False: they could not be sealed. */
static bool prepare_write(struct rw *rw)
{
	bool direct = !rw->store->share;

	for (uint32_t i = 0; i < rw->io_pages; i++)
		if (!mark_make(&rw->store->marker, rw_first_page(rw) + i, rw->data + (size_t)i * PAGE_BYTES,
			       direct ? NULL : rw->pages[i], &rw->mark[i]))
			return false;
	rw_store_marks(rw, rw->io_pages);
	rw_to_backend(rw);
	return true;
}

enum rw_next rw_begin(struct rw *rw)
{
	struct store *s = rw->store;
	enum rw_next next = RW_DONE;

	if (!rw->started) {
		if (!valid(rw))
			return rw_done(rw, EINVAL);
		/* A large table's entries are in no cache: what follows has something to do until this one is here. */
		__builtin_prefetch(entry_at(s->entries, rw_first_page(rw)), 1);
		count_start(rw);
	}
	if (rw->keep.stage != KEEP_NOT)
		return rw_keep(rw);
	if (rw->io_pages) /* after RW_LATER */
		return rw_resume(rw, &next) ? describe_io(rw) : next;
	if (rw->op == RW_DISCARD && rw->length > 0)
		return discard(rw);
	while (rw->length > 0) {
		uint32_t run = 0;
		bool same = false;

		if (rw->op == RW_WRITE)
			run = run_of_data(rw, &same);
		pthread_mutex_lock(&s->lock);
		rw->cause = rw_refusal(rw);
		if (rw->cause)
			next = RW_DONE;
		else if (rw_must_wait(rw))
			next = rw_enqueue(rw);
		else if (rw->op == RW_WRITE)
			next = same ? write_same(rw, run) : begin_write(rw, run);
		else
			next = begin_read(rw, &run);
		if (next != RW_WAIT)
			rw_dequeue(rw);
		pthread_mutex_unlock(&s->lock);
		if (next != RW_DONE)
			break;
		if (rw->cause)
			return refused(rw);
		if (rw->error) {
			rw_say(rw, NOTICE_LOST_PAGE, 0);
			return rw_done(rw, rw->error);
		}
		answered(rw, run);
	}
	if (rw->length == 0)
		return pages_done(rw);
	if (next != RW_IO)
		return next;
	if (rw->op == RW_WRITE && !prepare_write(rw)) {
		rw_say(rw, ERR_LASTING, ENOKEY);
		return rw_fail(rw, ENOKEY);
	}
	return describe_io(rw);
}

/* ---- complete ---- */

void rw_release(struct rw *rw)
{
	struct store *s = rw->store;
	uint32_t pages = rw->io_pages;

	if (s->share)
		pool_give(s->share, pages, rw->pages);
	rw->io_pages = 0;
	if (!rw->held && --s->at_backend == 0)
		pthread_cond_broadcast(&s->idle);
	rw->held = false;
	rw_wake_waiters(s, rw->op, rw->offset, (uint64_t)pages * PAGE_BYTES);
}

void rw_abandon(struct rw *rw)
{
	if (rw->keep.stage != KEEP_NOT) {
		rw_keep_abandon(rw);
		return;
	}
	if (rw->op == RW_WRITE && !(rw->held && rw->store->draining))
		rw_commit(rw, rw->io_pages, PAGE_LOST);
	rw_release(rw);
}

enum rw_next rw_fail(struct rw *rw, int cause)
{
	struct store *s = rw->store;

	rw->cause = cause;
	pthread_mutex_lock(&s->lock);
	rw_abandon(rw);
	pthread_mutex_unlock(&s->lock);
	return rw_done(rw, EIO); /* whatever the backend said: ENOSPC must not reach a client */
}

static enum rw_next write_completed(struct rw *rw)
{
	struct store *s = rw->store;
	uint32_t pages = rw->io_pages;

	pthread_mutex_lock(&s->lock);
	rw_commit(rw, pages, PAGE_WRITTEN);
	record(rw, pages);
	rw_keep_data(rw);
	rw_release(rw);
	pthread_mutex_unlock(&s->lock);
	advance(rw, pages);
	return rw_begin(rw);
}

static enum rw_next read_completed(struct rw *rw)
{
	struct store *s = rw->store;
	uint32_t pages = rw->io_pages, failed = 0;
	bool bad[RW_BITE_PAGES], current;

	for (uint32_t i = 0; i < pages; i++) {
		unsigned char *data = rw->data + (size_t)i * PAGE_BYTES;

		bad[i] = s->share ? !mark_verify(&s->marker, rw_first_page(rw) + i, &rw->mark[i], rw->pages[i], data)
				  : !mark_verify(&s->marker, rw_first_page(rw) + i, &rw->mark[i], data, NULL);
		failed += bad[i];
	}
	if (failed && !rw->reread) {
		/* Once more, directly: what the storage says twice it means. */
		atomic_fetch_add_explicit(&s->counters->checks_failed, failed, memory_order_relaxed);
		rw->reread = true;
		rw->io_done = 0;
		return describe_io(rw);
	}
	pthread_mutex_lock(&s->lock);
	current = rw_is_current(rw, pages);
	if (current && failed)
		for (uint32_t i = 0; i < pages; i++)
			if (bad[i])
				rw_quarantine(rw, i);
	rw_release(rw);
	pthread_mutex_unlock(&s->lock);
	if (current && failed) {
		atomic_fetch_add_explicit(&s->counters->checks_failed, failed, memory_order_relaxed);
		rw_say(rw, NOTICE_BAD_PAGE, 0);
		rw->cause = EBADMSG;
		return rw_done(rw, EIO);
	}
	if (current && rw->reread)
		atomic_fetch_add_explicit(&s->counters->reread_good, 1, memory_order_relaxed);
	if (current)
		advance(rw, pages);
	return rw_begin(rw);
}

enum rw_next rw_complete(struct rw *rw, ssize_t result)
{
	uint32_t bytes = rw->io_pages * PAGE_BYTES, whole;

	if (rw->keep.stage != KEEP_NOT)
		return rw_keep_completed(rw, result);
	if (result < 0)
		return rw_backend_error(rw, (int)-result);
	whole = (uint32_t)result / PAGE_BYTES * PAGE_BYTES;
	if (whole && rw->retry.tries)
		rw_not_held(rw, true);
	if (rw->io_done + (uint32_t)result >= bytes)
		return rw->op == RW_WRITE ? write_completed(rw) : read_completed(rw);
	/* Direct I/O goes on at a page.  Less than a page is asked for once more, so that the backend can say why. */
	if (whole == 0 && (result == 0 || rw->stuck)) {
		rw->stuck = false;
		return rw_backend_error(rw, rw->op == RW_WRITE ? ENOSPC : ENODATA);
	}
	rw->stuck = whole == 0;
	rw->io_done += whole;
	return describe_io(rw);
}
