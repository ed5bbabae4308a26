/* SPDX-License-Identifier: BSD-3-Clause */
/* Who waits for whom.  The store's lock is held in all of it. */
#include "config.h"

#include "store/store_priv.h"

/* Do two requests, each as far as it is still to be done, need an order?  Two reads do not. */
static bool conflict(const struct rw *a, const struct rw *b)
{
	return (a->op == RW_WRITE || b->op == RW_WRITE) && a->offset < b->offset + b->length &&
	       b->offset < a->offset + a->length;
}

static bool waits_for_page(const struct rw *rw)
{
	uint64_t first = rw_first_page(rw);

	for (uint32_t i = 0, n = rw_bite_pages(rw); i < n; i++)
		if (table_page(rw->store->table, first + i).in_flight)
			return true;
	return false;
}

static bool waits_for_waiter(const struct rw *rw)
{
	for (const struct rw *w = rw->store->queue; w && w != rw; w = w->next)
		if (conflict(w, rw))
			return true;
	return false;
}

bool rw_must_wait(const struct rw *rw)
{
	const struct store *s = rw->store;

	return s->draining || s->reopening || waits_for_page(rw) || waits_for_waiter(rw);
}

/* Without this, small requests would take each buffer as it comes back and a large one would wait for ever.  A write also waits
 * behind a read that found none, not the reverse: reads have buffers that no write may take.
 */
bool rw_behind_starved(const struct rw *rw)
{
	for (const struct rw *w = rw->store->queue; w && w != rw; w = w->next)
		if (w->starved && (rw->op == RW_WRITE || w->op == RW_READ))
			return true;
	return false;
}

/* Of those who found too few buffers, only who is behind nobody else of them has a use for what has come free (rw_behind_starved). The others wait
 * for something in their own range, and a read is in the way of no read.  So one look at the queue is enough, and a look at all of it for each waiter is not needed.
 */
void rw_wake_waiters(struct store *s, enum rw_op gone, uint64_t offset, uint64_t length)
{
	bool writes = false, starved = false, starved_reads = false; /* among those before */

	if (s->draining || s->reopening)
		return;
	for (struct rw *w = s->queue; w; w = w->next) {
		bool behind = w->op == RW_WRITE ? starved : starved_reads;
		bool overlaps = w->offset < offset + length && offset < w->offset + w->length;
		bool concerned = w->starved ? !behind : overlaps && (gone != RW_READ || w->op == RW_WRITE);

		if (concerned && !waits_for_page(w) && !((writes || w->op == RW_WRITE) && waits_for_waiter(w)))
			w->wake(w); /* it stays queued, so that no later request overtakes it, until it begins */
		writes |= w->op == RW_WRITE;
		starved |= w->starved;
		starved_reads |= w->starved && w->op == RW_READ;
	}
}

enum rw_next rw_enqueue(struct rw *rw)
{
	if (!rw->queued) {
		rw->queued = true;
		rw->next = NULL;
		*rw->store->queue_end = rw;
		rw->store->queue_end = &rw->next;
	}
	return RW_WAIT;
}

void rw_dequeue(struct rw *rw)
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
	rw_wake_waiters(s, rw->op, rw->offset, rw->length);
}
