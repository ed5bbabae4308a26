/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/scrub.h"

#include "store/lockedmem.h"
#include "store/page.h"
#include "store/retry.h"
#include "store/sys.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define STEP_PAGES 32u	  /* 128 KiB: the most that is read at once */
#define WALK_PAGES 65536u /* entries without pages in the file, walked over before cancel is looked at again */
#define TRIES 8		  /* of a page that is written each time */
#define NAP_MS 50	  /* how late a cancelled scrub may notice */
#define PROGRESS_MS 250

struct scrub {
	int fd;
	enum backend_kind kind;
	struct table *table;
	const struct entries *entries;
	const struct marker *marker;
	unsigned char *buffer; /* STEP_PAGES */
	const struct scrub_control *control;
	struct scrub_totals *totals;
	struct retry held; /* goes on from page to page until one can be read: the backend's absence is waited out once */
	struct page_view view[STEP_PAGES];
	struct page_mark mark[STEP_PAGES];
};

struct scrub *scrub_create(int fd, enum backend_kind kind, struct table *table, const struct marker *marker, bool allow_unlocked,
			   struct errbuf *e)
{
	struct scrub *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set(e, ENOMEM, "no memory for a scrub");
		return NULL;
	}
	s->fd = fd;
	s->kind = kind;
	s->table = table;
	s->entries = table_entries(table);
	s->marker = marker;
	s->buffer = lockedmem_map(-1, 0, STEP_PAGES * PAGE_BYTES, allow_unlocked, "buffer of a scrub", e);
	if (!s->buffer) {
		free(s);
		return NULL;
	}
	return s;
}

void scrub_free(struct scrub *s)
{
	if (!s)
		return;
	munmap(s->buffer, STEP_PAGES * PAGE_BYTES);
	free(s);
}

static void count(_Atomic uint64_t *counter, uint64_t n)
{
	atomic_fetch_add_explicit(counter, n, memory_order_relaxed);
}

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec;
}

/* False: cancelled meanwhile. */
static bool nap(const struct scrub *s, int64_t ms)
{
	while (ms > 0 && !atomic_load(&s->control->cancel)) {
		int64_t slice = ms < NAP_MS ? ms : NAP_MS;
		struct timespec t = { .tv_nsec = slice * 1000000L };

		nanosleep(&t, NULL);
		ms -= slice;
	}
	return !atomic_load(&s->control->cancel);
}

enum outcome { READ_OK, READ_FAILED, READ_CANCELLED };

/* Pages into the buffer, whole or not at all. */
static enum outcome read_pages(struct scrub *s, uint64_t page, uint32_t pages)
{
	size_t want = (size_t)pages * PAGE_BYTES, have = 0;

	while (have < want) {
		ssize_t n = sys_pread(POINT_SCRUB_READ, s->fd, s->buffer + have, want - have, (off_t)(page * PAGE_BYTES + have));
		int ms;

		/* Direct I/O goes on at a page; less than one is the end of the file. */
		if (n >= 0 && n < (ssize_t)PAGE_BYTES)
			return READ_FAILED;
		if (n > 0) {
			s->held.tries = 0;
			have += (size_t)n / PAGE_BYTES * PAGE_BYTES;
			count(&s->totals->bytes, (uint64_t)n);
			continue;
		}
		/* A run is taken apart at once, so that only the page that it is about is waited for. */
		if (pages > 1)
			return READ_FAILED;
		ms = retry_next(&s->held, errno, errclass_of(errno, s->kind), true, now_ns() / 1000000, table_retry_time(s->table));
		if (ms < 0)
			return READ_FAILED;
		if (!nap(s, ms))
			return READ_CANCELLED;
	}
	return READ_OK;
}

static bool mark_says(const struct page_mark *m, const struct table_spec *spec)
{
	return spec->seal != PAGE_SEAL_NONE || m->value != 0;
}

/* Twice it was not what the mark says, while nobody wrote it. */
static bool make_lost(struct scrub *s, uint64_t page, const struct page_view *v)
{
	static const struct page_mark none;

	if (!entry_swap(s->entries, page, v, v->change + 1, PAGE_LOST, false, &none))
		return false;
	count(&s->totals->lost, 1);
	count(&table_counters(s->table)->lost_pages, 1);
	return true;
}

/* What was read is not what the mark says, and nobody wrote the page meanwhile.  first: it is the first look. */
static void count_mismatch(struct scrub *s, bool first)
{
	count(&table_counters(s->table)->checks_failed, 1);
	if (first)
		count(&s->totals->mismatched, 1);
}

/* One page by itself: it did not match (suspect: as its entry was then, else NULL), could not be read with others, or was being
 * written.  False: cancelled, and not counted.
 */
static bool look_at(struct scrub *s, uint64_t page, const struct page_view *suspect)
{
	for (int try = 0; try < TRIES; try++) {
		struct page_mark m;
		struct page_view v = entry_read(s->entries, page, &m);
		bool again = suspect && suspect->word == v.word;

		if (v.state != PAGE_WRITTEN || (!v.in_flight && !mark_says(&m, table_spec(s->table))))
			break; /* discarded, found bad or written in another way meanwhile */
		if (v.in_flight) {
			if (!nap(s, 1 << try))
				return false;
			continue;
		}
		for (;;) {
			enum outcome o = read_pages(s, page, 1);

			if (o == READ_CANCELLED)
				return false;
			if (o == READ_FAILED) {
				count(&s->totals->unreadable, 1);
				return true;
			}
			if (mark_verify(s->marker, page, &m, s->buffer, NULL)) {
				count(&s->totals->verified, 1);
				if (again)
					count(&table_counters(s->table)->reread_good, 1);
				return true;
			}
			if (table_page(s->table, page).word != v.word)
				break; /* overtaken by a write: what was read says nothing */
			count_mismatch(s, !again);
			if (again && make_lost(s, page, &v))
				return true;
			if (again)
				break;
			again = true;
		}
	}
	count(&s->totals->skipped, 1);
	return true;
}

/* How far pages go on from first that can be read together, their entries into view and mark. */
static uint32_t run_from(struct scrub *s, uint64_t first)
{
	uint64_t end = table_pages(s->table);
	uint32_t n;

	for (n = 0; n < STEP_PAGES && first + n < end; n++) {
		s->view[n] = entry_read(s->entries, first + n, &s->mark[n]);
		if (s->view[n].state != PAGE_WRITTEN || s->view[n].in_flight || !mark_says(&s->mark[n], table_spec(s->table)))
			break;
	}
	return n;
}

/* Reads a run and compares it; what is not right is looked at again by itself.  Returns how many pages were dealt with: fewer when
 * it was cancelled.
 */
static uint32_t verify_run(struct scrub *s, uint64_t first, uint32_t pages)
{
	bool bad[STEP_PAGES];
	enum outcome o = read_pages(s, first, pages);

	if (o == READ_CANCELLED)
		return 0;
	for (uint32_t i = 0; i < pages; i++)
		bad[i] = o != READ_OK ||
			 !mark_verify(s->marker, first + i, &s->mark[i], s->buffer + (size_t)i * PAGE_BYTES, NULL);
	for (uint32_t i = 0; i < pages; i++) {
		bool suspect = o == READ_OK && table_page(s->table, first + i).word == s->view[i].word;

		if (!bad[i]) {
			count(&s->totals->verified, 1);
			continue;
		}
		if (suspect)
			count_mismatch(s, true);
		if (!look_at(s, first + i, suspect ? &s->view[i] : NULL))
			return i;
	}
	return pages;
}

/* One step from page on: a run of written pages, or a walk over others.  Returns how many pages were dealt with. */
static uint32_t step(struct scrub *s, uint64_t page)
{
	uint64_t end = table_pages(s->table);
	uint32_t n = run_from(s, page);

	if (n > 0)
		return verify_run(s, page, n);
	for (; n < WALK_PAGES && page + n < end; n++) {
		struct page_mark m;
		struct page_view v = entry_read(s->entries, page + n, &m);

		if (v.state == PAGE_WRITTEN && v.in_flight)
			return look_at(s, page + n, NULL) ? n + 1 : n;
		if (v.state == PAGE_WRITTEN && mark_says(&m, table_spec(s->table)))
			break;
		if (v.state == PAGE_WRITTEN)
			count(&s->totals->unchecked, 1);
		else if (v.state == PAGE_LOST)
			count(&s->totals->lost_before, 1);
	}
	return n;
}

/* Waits until as many bytes may have been read, or for cancel.  Time that the backend took beyond that is not made up for. */
static void pace(const struct scrub *s, uint64_t bytes, int64_t *due)
{
	int64_t now = now_ns();

	if (*due < now - NAP_MS * INT64_C(1000000))
		*due = now;
	*due += (int64_t)(bytes * 1000000000 / atomic_load(&s->control->rate));
	if (*due > now)
		nap(s, (*due - now) / 1000000);
}

int scrub_run(struct scrub *s, struct scrub_control *control, struct scrub_totals *totals, void (*progress)(void *arg), void *arg,
	      struct errbuf *e)
{
	int64_t due = now_ns(), told = 0;

	s->control = control;
	s->totals = totals;
	while (atomic_load(&totals->position) < table_pages(s->table)) {
		uint64_t before = atomic_load(&totals->bytes);

		if (atomic_load(&control->cancel))
			return err_set(e, EINTR, "the scrub was stopped");
		count(&totals->position, step(s, atomic_load(&totals->position)));
		pace(s, atomic_load(&totals->bytes) - before, &due);
		if (progress && now_ns() - told >= PROGRESS_MS * INT64_C(1000000)) {
			told = now_ns();
			progress(arg);
		}
	}
	return 0;
}
