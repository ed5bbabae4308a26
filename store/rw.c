/* SPDX-License-Identifier: BSD-3-Clause */
/* swap_rw: begin and complete.
 *
 * A request is worked off in bites.  A bite of a write is up to RW_BITE_PAGES adjacent pages; a bite of a read is a run of adjacent
 * written pages, for the fresh ones between them are answered from the table.
 *
 * While a write is at the backend its pages carry the in-flight mark and a change number that the request remembers.  A discard
 * meanwhile raises the number, so the commit finds that it came too late; it does not touch the mark, so nobody else writes the
 * page until the backend has answered.  A read remembers the numbers too, and reads again when one has changed.
 */
#include "config.h"

#include "store/store_priv.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

#define RETRY_MS 10	      /* after EAGAIN */
#define DISCARD_STEP 65536u   /* entries changed under one hold of the lock: about 0.1 ms */

void rw_init(struct rw *rw, struct store *s, enum rw_op op, uint64_t offset, uint64_t length, void *data,
	     void (*wake)(struct rw *))
{
	rw->store = s;
	rw->op = op;
	rw->offset = offset;
	rw->length = length;
	rw->data = data;
	rw->wake = wake;
	rw->iovcnt = 0;
	rw->error = rw->cause = 0;
	rw->next = NULL;
	rw->queued = rw->started = rw->starved = rw->stuck = false;
	rw->io_pages = rw->io_done = 0;
}

static struct page_entry *first_entry(const struct rw *rw)
{
	return &rw->store->entries[rw->offset / PAGE_BYTES];
}

/* Pages of the next bite, as far as the request goes. */
static uint32_t bite_pages(const struct rw *rw)
{
	uint64_t left = rw->length / PAGE_BYTES;

	return left < RW_BITE_PAGES ? (uint32_t)left : RW_BITE_PAGES;
}

/* ---- waiting (lock held) ---- */

/* Do two requests, each as far as it is still to be done, need an order?  Two reads do not. */
static bool conflict(const struct rw *a, const struct rw *b)
{
	return (a->op == RW_WRITE || b->op == RW_WRITE) && a->offset < b->offset + b->length &&
	       b->offset < a->offset + a->length;
}

static bool must_wait(const struct rw *rw)
{
	const struct store *s = rw->store;
	const struct page_entry *entry = first_entry(rw);

	if (s->draining)
		return true;
	for (uint32_t i = 0, n = bite_pages(rw); i < n; i++)
		if (entry[i].in_flight)
			return true;
	for (const struct rw *w = s->queue; w && w != rw; w = w->next)
		if (conflict(w, rw))
			return true;
	return false;
}

static void wake_waiters(struct store *s)
{
	if (s->draining)
		return;
	for (struct rw *w = s->queue; w; w = w->next)
		if (!must_wait(w))
			w->wake(w); /* it stays queued, so that no later request overtakes it, until it begins */
}

/* Is there an earlier request that waits for buffers which this one may take too?  Without this, small requests would take
 * each buffer as it comes back and a large one would wait for ever.  A write also waits behind a read that found none, not the reverse:
 * reads have buffers that no write may take.
 */
static bool behind_starved(const struct rw *rw)
{
	for (const struct rw *w = rw->store->queue; w && w != rw; w = w->next)
		if (w->starved && (rw->op == RW_WRITE || w->op == RW_READ))
			return true;
	return false;
}

static bool take_buffers(struct rw *rw, uint32_t pages)
{
	rw->starved = behind_starved(rw) || !pool_take(rw->store->share, rw->op == RW_READ, pages, rw->pages);
	return !rw->starved;
}

static enum rw_next enqueue(struct rw *rw)
{
	if (!rw->queued) {
		rw->queued = true;
		rw->next = NULL;
		*rw->store->queue_end = rw;
		rw->store->queue_end = &rw->next;
	}
	return RW_WAIT;
}

static void dequeue(struct rw *rw)
{
	struct store *s = rw->store;
	struct rw **p = &s->queue;

	if (!rw->queued)
		return;
	while (*p != rw)
		p = &(*p)->next;
	*p = rw->next;
	if (!*p)
		s->queue_end = p;
	rw->queued = false;
	wake_waiters(s);
}

/* ---- begin ---- */

static void advance(struct rw *rw, uint32_t pages)
{
	uint64_t bytes = (uint64_t)pages * PAGE_BYTES;

	rw->offset += bytes;
	rw->length -= bytes;
	if (rw->data)
		rw->data += bytes;
}

static enum rw_next done(struct rw *rw, int error)
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

/* The table alone changes, at once at any size; the space stays allocated.  It waits for nothing but the end of the store. */
static enum rw_next discard(struct rw *rw)
{
	while (rw->length > 0) {
		uint64_t left = rw->length / PAGE_BYTES;
		uint32_t n = left < DISCARD_STEP ? (uint32_t)left : DISCARD_STEP;
		struct page_entry *entry = first_entry(rw);

		pthread_mutex_lock(&rw->store->lock);
		if (rw->store->draining) {
			/* The table may be on its way into the trailer already. */
			enqueue(rw);
			pthread_mutex_unlock(&rw->store->lock);
			return RW_WAIT;
		}
		for (uint32_t i = 0; i < n; i++) {
			entry[i].change++;
			entry[i].state = PAGE_FRESH;
		}
		pthread_mutex_unlock(&rw->store->lock);
		advance(rw, n);
	}
	return done(rw, 0);
}

/* Describes the I/O of the bite in hand, as far as a short one has left it. */
static enum rw_next describe_io(struct rw *rw)
{
	uint32_t skip = rw->io_done / PAGE_BYTES;

	rw->fd = rw->store->fd;
	rw->position = (off_t)(rw->offset + rw->io_done);
	rw->iovcnt = 0;
	for (uint32_t i = skip; i < rw->io_pages; i++) {
		rw->iov[rw->iovcnt].iov_base = rw->pages[i];
		rw->iov[rw->iovcnt++].iov_len = PAGE_BYTES;
	}
	return RW_IO;
}

static enum rw_next start_io(struct rw *rw, uint32_t pages)
{
	struct page_entry *entry = first_entry(rw);

	rw->io_pages = pages;
	rw->io_done = 0;
	rw->stuck = false;
	for (uint32_t i = 0; i < pages; i++) {
		if (rw->op == RW_WRITE) {
			entry[i].change++;
			entry[i].in_flight = 1;
		}
		rw->change[i] = entry[i].change;
	}
	rw->store->at_backend++;
	return describe_io(rw);
}

static enum rw_next begin_write(struct rw *rw)
{
	uint32_t n = bite_pages(rw);

	return take_buffers(rw, n) ? start_io(rw, n) : enqueue(rw);
}

/* RW_DONE with error 0 here means: the first *fresh pages are answered from the table, go on. */
static enum rw_next begin_read(struct rw *rw, uint32_t *fresh)
{
	uint32_t n = bite_pages(rw), run = 0;
	const struct page_entry *entry = first_entry(rw);

	while (*fresh < n && entry[*fresh].state == PAGE_FRESH)
		++*fresh;
	if (*fresh)
		return RW_DONE;
	while (run < n && entry[run].state == PAGE_WRITTEN)
		run++;
	if (run == 0) {
		rw->error = EIO; /* lost */
		return RW_DONE;
	}
	return take_buffers(rw, run) ? start_io(rw, run) : enqueue(rw);
}

enum rw_next rw_begin(struct rw *rw)
{
	struct store *s = rw->store;
	enum rw_next next = RW_DONE;

	if (!rw->started) {
		if (!valid(rw))
			return done(rw, EINVAL);
		count_start(rw);
	}
	if (rw->io_pages)
		return describe_io(rw); /* after RW_LATER */
	if (rw->op == RW_DISCARD)
		return discard(rw);
	while (rw->length > 0) {
		uint32_t fresh = 0;

		pthread_mutex_lock(&s->lock);
		if (must_wait(rw))
			next = enqueue(rw);
		else
			next = rw->op == RW_WRITE ? begin_write(rw) : begin_read(rw, &fresh);
		if (next != RW_WAIT)
			dequeue(rw);
		pthread_mutex_unlock(&s->lock);
		if (next != RW_DONE)
			break;
		if (rw->error)
			return done(rw, rw->error);
		memset(rw->data, 0, (size_t)fresh * PAGE_BYTES);
		atomic_fetch_add_explicit(&s->counters->table_pages, fresh, memory_order_relaxed);
		advance(rw, fresh);
	}
	if (rw->length == 0)
		return done(rw, 0);
	if (next == RW_IO && rw->op == RW_WRITE)
		for (uint32_t i = 0; i < rw->io_pages; i++)
			memcpy(rw->pages[i], rw->data + (size_t)i * PAGE_BYTES, PAGE_BYTES);
	return next;
}

/* ---- complete ---- */

/* Releases the bite: buffers back, waiters woken (lock held). */
static void release(struct rw *rw)
{
	struct store *s = rw->store;

	pool_give(s->share, rw->io_pages, rw->pages);
	rw->io_pages = 0;
	if (--s->at_backend == 0)
		pthread_cond_broadcast(&s->idle);
	wake_waiters(s);
}

/* The entries take the state of what the backend said, unless a discard came in between. */
static void commit_write(struct rw *rw, bool good)
{
	struct page_entry *entry = first_entry(rw);

	for (uint32_t i = 0; i < rw->io_pages; i++) {
		assert(entry[i].in_flight);
		if (entry[i].change == rw->change[i]) {
			if (!good && entry[i].state != PAGE_LOST)
				atomic_fetch_add_explicit(&rw->store->counters->lost_pages, 1, memory_order_relaxed);
			entry[i].state = good ? PAGE_WRITTEN : PAGE_LOST;
		}
		entry[i].in_flight = 0;
	}
}

/* Is what was read still the content of these pages? */
static bool read_is_current(const struct rw *rw)
{
	const struct page_entry *entry = first_entry(rw);

	for (uint32_t i = 0; i < rw->io_pages; i++)
		if (entry[i].change != rw->change[i])
			return false;
	return true;
}

static enum rw_next fail(struct rw *rw, int cause)
{
	struct store *s = rw->store;

	rw->cause = cause;
	pthread_mutex_lock(&s->lock);
	if (rw->op == RW_WRITE)
		commit_write(rw, false);
	release(rw);
	pthread_mutex_unlock(&s->lock);
	return done(rw, EIO); /* whatever the backend said: ENOSPC must not reach a client */
}

enum rw_next rw_complete(struct rw *rw, ssize_t result)
{
	struct store *s = rw->store;
	uint32_t bytes = rw->io_pages * PAGE_BYTES, pages = rw->io_pages;
	bool current = true;

	if (result == -EINTR || result == -EAGAIN) {
		rw->later_ms = result == -EINTR ? 0 : RETRY_MS;
		return RW_LATER;
	}
	if (result < 0)
		return fail(rw, (int)-result);
	if (rw->io_done + (uint32_t)result < bytes) {
		uint32_t whole = (uint32_t)result / PAGE_BYTES * PAGE_BYTES;

		/* Direct I/O goes on at a page.  Less than a page is asked for once more, so that the backend can say why. */
		if (whole == 0 && (result == 0 || rw->stuck))
			return fail(rw, rw->op == RW_WRITE ? ENOSPC : ENODATA);
		rw->stuck = whole == 0;
		rw->io_done += whole;
		return describe_io(rw);
	}
	if (rw->op == RW_READ)
		for (uint32_t i = 0; i < pages; i++)
			memcpy(rw->data + (size_t)i * PAGE_BYTES, rw->pages[i], PAGE_BYTES);
	pthread_mutex_lock(&s->lock);
	if (rw->op == RW_WRITE)
		commit_write(rw, true);
	else
		current = read_is_current(rw);
	release(rw);
	pthread_mutex_unlock(&s->lock);
	if (current)
		advance(rw, pages);
	return rw_begin(rw);
}
