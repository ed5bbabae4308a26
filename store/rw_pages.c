/* SPDX-License-Identifier: BSD-3-Clause */
/* What requests do to the entries of their pages.
 *
 * While a write is at the backend its pages are in flight and carry a change number that the request remembers.  A discard meanwhile
 * raises the number, so the commit finds that it came too late; it does not end the flight, so nobody else writes the page
 * until the backend has answered.  A read remembers the numbers too, and reads again when one has changed.
 */
#include "config.h"

#include "store/store_priv.h"

#include "store/records.h"

static const struct page_mark no_mark;

bool rw_take_slot(struct rw *rw)
{
	struct store *s = rw->store;

	if (s->free_slots == 0)
		return false;
	rw->slot = s->slots[--s->free_slots];
	return true;
}

static void free_slot(struct rw *rw)
{
	struct store *s = rw->store;

	atomic_store_explicit(&rw->slot->use, SLOT_FREE, memory_order_release);
	s->slots[s->free_slots++] = rw->slot;
	rw->slot = NULL;
}

void rw_mark_in_flight(struct rw *rw, uint32_t pages)
{
	const struct entries *x = rw->store->entries;
	struct slot *slot = rw->slot;
	uint64_t first = rw_first_page(rw);

	slot->first_page = first;
	slot->pages = pages;
	entry_save(x, first, pages, slot->old);
	atomic_store_explicit(&slot->use, SLOT_TABLE, memory_order_release);
	for (uint32_t i = 0; i < pages; i++) {
		struct page_mark m;
		struct page_view v;

		/* Only a scrub can come in between, and what it says of the old content does not matter any more. */
		do {
			v = entry_read(x, first + i, &m);
			rw->change[i] = v.change + 1;
		} while (!entry_swap(x, first + i, &v, v.change + 1, PAGE_WRITTEN, true, &no_mark));
	}
}

void rw_store_marks(struct rw *rw, uint32_t pages)
{
	for (uint32_t i = 0; i < pages; i++)
		entry_store_mark(rw->store->entries, rw_first_page(rw) + i, &rw->mark[i]);
}

void rw_to_backend(struct rw *rw)
{
	atomic_store_explicit(&rw->slot->use, SLOT_IO, memory_order_release);
}

void rw_commit(struct rw *rw, uint32_t pages, enum page_state state)
{
	const struct entries *x = rw->store->entries;

	for (uint32_t i = 0; i < pages; i++) {
		uint64_t page = rw_first_page(rw) + i;
		struct page_mark m;
		struct page_view v = entry_read(x, page, &m);
		enum page_state next = state;

		if (!v.valid)
			next = PAGE_LOST; /* scribbled */
		else if (v.change != rw->change[i])
			next = v.state; /* discarded meanwhile */
		if (next == PAGE_LOST)
			atomic_fetch_add_explicit(&rw->store->counters->lost_pages, 1, memory_order_relaxed);
		entry_swap(x, page, &v, v.change, next, false, &m); /* in flight: nobody else changes it under this lock */
	}
	records_touch(rw->store->table, rw_first_page(rw), pages);
	free_slot(rw);
}

void rw_remember(struct rw *rw, uint32_t pages)
{
	for (uint32_t i = 0; i < pages; i++)
		rw->change[i] = entry_read(rw->store->entries, rw_first_page(rw) + i, &rw->mark[i]).change;
}

bool rw_is_current(const struct rw *rw, uint32_t pages)
{
	for (uint32_t i = 0; i < pages; i++)
		if (table_page(rw->store->table, rw_first_page(rw) + i).change != rw->change[i])
			return false;
	return true;
}

void rw_quarantine(struct rw *rw, uint32_t index)
{
	const struct entries *x = rw->store->entries;
	uint64_t page = rw_first_page(rw) + index;
	struct page_mark m;
	struct page_view v = entry_read(x, page, &m);

	if (v.change == rw->change[index] && v.state == PAGE_WRITTEN && !v.in_flight &&
	    entry_swap(x, page, &v, v.change + 1, PAGE_LOST, false, &no_mark))
		atomic_fetch_add_explicit(&rw->store->counters->lost_pages, 1, memory_order_relaxed);
}

void rw_make_fresh(struct rw *rw, uint32_t pages)
{
	const struct entries *x = rw->store->entries;

	for (uint32_t i = 0; i < pages; i++) {
		uint64_t page = rw_first_page(rw) + i;
		struct page_mark m;
		struct page_view v;

		do
			v = entry_read(x, page, &m);
		while (!entry_swap(x, page, &v, v.change + 1, PAGE_FRESH, v.in_flight, &no_mark));
	}
	records_touch(rw->store->table, rw_first_page(rw), pages);
}
