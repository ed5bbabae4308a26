/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/settle.h"

#include "common/cleanup.h"
#include "store/errclass.h"
#include "store/fullio.h"
#include "store/mark.h"
#include "store/page.h"
#include "store/records.h"
#include "store/retry.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#define PATIENCE_MS 10000 /* for errors that pass, over the whole settling: nobody is served meanwhile */

struct settling {
	struct table *table;
	const struct entries *entries;
	struct marker marker;
	int fd;
	void *buffer;
	int waited_ms;
	struct settled *out;
};

static const struct page_mark no_mark;

/* Of what kind the backend is does not matter to the errors that are waited for here: those that say nothing of the page anywhere. */
static bool read_page(struct settling *s, uint64_t page)
{
	int ms = RETRY_FIRST_MS;

	if (s->fd < 0)
		return false;
	while (full_pread(POINT_SETTLE_READ, s->fd, s->buffer, PAGE_BYTES, (off_t)(page * PAGE_BYTES)) < 0) {
		struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

		if (errclass_of(errno, BACKEND_NFS) != ERR_PASSING || s->waited_ms >= PATIENCE_MS)
			return false;
		nanosleep(&t, NULL);
		s->waited_ms += ms;
		ms = 2 * ms < RETRY_MOST_MS ? 2 * ms : RETRY_MOST_MS;
	}
	return true;
}

/* No mark without a check can say that a content is its own. */
static bool matches(const struct settling *s, uint64_t page, const struct page_mark *m)
{
	return m->value && mark_verify(&s->marker, page, m, s->buffer, NULL);
}

/* Nobody else uses the table, so the entry is simply stored. */
static void store(const struct settling *s, uint64_t page, uint32_t change, enum page_state state,
		  const struct page_mark *m)
{
	entry_store_mark(s->entries, page, m);
	atomic_store_explicit(&entry_at(s->entries, page)->word, entry_word(s->entries, page, change, state, false, m),
			      memory_order_release);
	records_touch(s->table, page, 1);
}

static void lose(const struct settling *s, uint64_t page, uint32_t change)
{
	store(s, page, change, PAGE_LOST, &no_mark);
	s->out->lost++;
}

/* The page as slot has it from before its write.  True when that is what it is now.  A slot that was scribbled may be of a write of long
 * ago: where the file is not asked, only the change number tells that it belongs to the write that now has the page in flight.
 */
static bool restore_old(const struct settling *s, const struct slot *slot, uint32_t index, const struct page_view *now,
			bool readable)
{
	struct entries old = *s->entries;
	uint64_t page = slot->first_page + index;
	struct page_mark m;
	struct page_view v;
	bool of_this_write;

	old.base = (unsigned char *)slot->old - slot->first_page * old.stride; /* entry_at(page) is the one at index */
	v = entry_read(&old, page, &m);
	if (!v.valid || v.in_flight || v.state == PAGE_LOST)
		return false;
	of_this_write = now->change == v.change + 1;
	if (!of_this_write || (v.state == PAGE_WRITTEN && atomic_load(&slot->use) == SLOT_IO))
		if (v.state != PAGE_WRITTEN || !readable || !matches(s, page, &m))
			return false;
	store(s, page, now->change + 1, v.state, &m);
	return true;
}

static void settle_page(struct settling *s, const struct slot *slot, uint32_t index)
{
	uint64_t page = slot->first_page + index;
	struct page_mark m;
	struct page_view v = entry_read(s->entries, page, &m);
	uint32_t change = v.change + 1; /* a predecessor's commit, did it still come, would find that it is too late */
	bool at_backend = atomic_load(&slot->use) == SLOT_IO;

	if (v.valid && !v.in_flight)
		return; /* not begun, or committed */
	if (!v.valid) {
		lose(s, page, change); /* scribbled: it alone knew whether the page was discarded meanwhile */
		return;
	}
	if (v.state == PAGE_FRESH) {
		store(s, page, change, PAGE_FRESH, &no_mark); /* discarded while in flight */
		return;
	}
	/* Before the backend gets a page its entry may still have a mark of long ago, which the file may match. */
	for (int look = 0; look < 2; look++) { /* as for a read: what the storage says twice it means */
		bool readable = at_backend && read_page(s, page);

		if (readable && matches(s, page, &m)) {
			store(s, page, change, PAGE_WRITTEN, &m);
			s->out->kept_new++;
			return;
		}
		if (restore_old(s, slot, index, &v, readable)) {
			s->out->kept_old++;
			return;
		}
	}
	lose(s, page, change);
}

/* What a slot says is believed only as far as it can be true. */
static bool plausible(const struct settling *s, const struct slot *slot)
{
	uint64_t pages = table_pages(s->table);

	return slot->pages <= SLOT_PAGES && slot->pages <= pages && slot->first_page <= pages - slot->pages;
}

int table_settle(struct table *t, int fd, struct settled *out, struct errbuf *e)
{
	struct settled mine = { 0 };
	struct settling s = { .table = t, .entries = table_entries(t), .fd = fd, .out = &mine };
	CLEANUP_FREE void *buffer = NULL;

	if (posix_memalign(&buffer, PAGE_BYTES, PAGE_BYTES) != 0)
		return err_set(e, ENOMEM, "no memory to settle unfinished writes");
	s.buffer = buffer;
	marker_init(&s.marker, t);
	for (uint32_t i = 0; i < SLOTS; i++) {
		struct slot *slot = table_slot(t, i);

		if (atomic_load(&slot->use) != SLOT_FREE && plausible(&s, slot))
			for (uint32_t k = 0; k < slot->pages; k++)
				settle_page(&s, slot, k);
		atomic_store(&slot->use, SLOT_FREE);
	}
	/* In flight without a slot: the slot was scribbled. */
	for (uint64_t page = 0; page < table_pages(t); page++) {
		struct page_view v = table_page(t, page);

		if (v.in_flight)
			lose(&s, page, v.change + 1);
	}
	atomic_fetch_add(&table_counters(t)->lost_pages, mine.lost);
	atomic_store(&table_counters(t)->in_flight, 0);
	atomic_store(&table_counters(t)->held, 0);
	if (out) {
		out->kept_new += mine.kept_new;
		out->kept_old += mine.kept_old;
		out->lost += mine.lost;
	}
	return 0;
}
