/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/roundtrip.h"

#include "common/cleanup.h"
#include "common/progress.h"

#include <errno.h>
#include <string.h>

#define PAGE 4096u
#define RESTORE_TRIES 8

struct page_test {
	uint64_t offset;
	bool saved; /* content is in its place of the save buffer */
	bool touched; /* the pattern was sent, so the old content must be put back */
	bool written; /* and the server said that it was taken */
};

struct run {
	struct session *s;
	const struct roundtrip_options *o;
	struct roundtrip_result *out;
	struct page_test *pages;
	unsigned char *saved;
	uint64_t *write_ns, *read_ns;
	size_t writes, reads;
	struct progress bar;
	uint64_t steps;
};

static uint64_t mix(uint64_t x)
{
	x += 0x9e3779b97f4a7c15u;
	x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
	x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
	return x ^ (x >> 31);
}

/* Every word depends on seed, place and position, so a shifted, swapped or stale page is told. */
static void pattern(uint64_t seed, uint64_t offset, unsigned char page[PAGE])
{
	uint64_t state = mix(seed ^ mix(offset));

	for (size_t i = 0; i < PAGE; i += sizeof(state)) {
		state = mix(state);
		memcpy(page + i, &state, sizeof(state));
	}
}

/* One page in each of o->pages equal stretches of the export, at a place that the seed chooses. */
static void choose(struct run *r)
{
	uint64_t total = r->o->size / PAGE;

	for (uint64_t i = 0; i < r->out->pages; i++) {
		/* 128 bits: page numbers of a large export times a million overflow 64. */
		uint64_t from = (uint64_t)((unsigned __int128)total * i / r->out->pages);
		uint64_t to = (uint64_t)((unsigned __int128)total * (i + 1) / r->out->pages);

		r->pages[i].offset = (from + mix(r->o->seed + i) % (to - from)) * PAGE;
	}
}

static void step(struct run *r)
{
	progress_update(&r->bar, ++r->steps * PAGE);
}

/* Counts an error of a page; -1 when the connection is gone and nothing more can be done. */
static int page_error(struct run *r, uint64_t *counter, const struct page_test *p, const struct errbuf *e)
{
	++*counter;
	if (!r->out->first_error[0])
		snprintf(r->out->first_error, sizeof(r->out->first_error), "page at byte %llu: %s",
			 (unsigned long long)p->offset, e->text);
	return e->code == ENOTCONN || e->code == ETIMEDOUT ? -1 : 0;
}

static int save_all(struct run *r, struct errbuf *e)
{
	for (uint64_t i = 0; i < r->out->pages && !*r->o->stop; i++, step(r)) {
		struct page_test *p = &r->pages[i];

		if (session_read(r->s, r->saved + i * PAGE, PAGE, p->offset, NULL, e) == 0)
			p->saved = true;
		else if (page_error(r, &r->out->unreadable, p, e) < 0)
			return -1;
	}
	return 0;
}

static int write_all(struct run *r, struct errbuf *e)
{
	unsigned char page[PAGE];

	for (uint64_t i = 0; i < r->out->pages && !*r->o->stop; i++, step(r)) {
		struct page_test *p = &r->pages[i];

		if (!p->saved)
			continue;
		pattern(r->o->seed, p->offset, page);
		p->touched = true;
		p->written = session_write(r->s, page, PAGE, p->offset, &r->write_ns[r->writes], e) == 0;
		if (p->written)
			r->writes++;
		else if (page_error(r, &r->out->write_errors, p, e) < 0)
			return -1;
	}
	return 0;
}

static int compare_all(struct run *r, struct errbuf *e)
{
	unsigned char page[PAGE], want[PAGE];

	for (uint64_t i = 0; i < r->out->pages && !*r->o->stop; i++, step(r)) {
		struct page_test *p = &r->pages[i];

		if (!p->written)
			continue;
		if (session_read(r->s, page, PAGE, p->offset, &r->read_ns[r->reads], e) < 0) {
			if (page_error(r, &r->out->read_errors, p, e) < 0)
				return -1;
			continue;
		}
		r->reads++;
		pattern(r->o->seed, p->offset, want);
		if (memcmp(page, want, PAGE) != 0) {
			err_set(e, EIO, "came back other than it was written");
			page_error(r, &r->out->mismatches, p, e);
		}
	}
	return 0;
}

static bool is_zero(const unsigned char *page)
{
	return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

static int put_back(struct run *r, const struct page_test *p, const unsigned char *old, struct errbuf *e)
{
	unsigned char page[PAGE];

	/* A page never written becomes one again by a discard, where the server reads discarded pages
	 * as zeros.
	 */
	if (r->o->can_trim && is_zero(old) && session_trim(r->s, PAGE, p->offset, e) == 0 &&
	    session_read(r->s, page, PAGE, p->offset, NULL, e) == 0 && is_zero(page))
		return 0;
	if (session_write(r->s, old, PAGE, p->offset, NULL, e) < 0 ||
	    session_read(r->s, page, PAGE, p->offset, NULL, e) < 0)
		return -1;
	return memcmp(page, old, PAGE) == 0 ? 0 : err_set(e, EIO, "the old content does not read back");
}

/* 0 when the page holds its old content again.  An error may pass, and the content has no other copy:
 * tried several times.
 */
static int restore_one(struct run *r, const struct page_test *p, const unsigned char *old, struct errbuf *e)
{
	for (int tries = 1;; tries++) {
		if (put_back(r, p, old, e) == 0)
			return 0;
		if (tries == RESTORE_TRIES || e->code == ENOTCONN || e->code == ETIMEDOUT)
			return -1;
	}
}

static int restore_all(struct run *r, struct errbuf *e)
{
	for (uint64_t i = 0; i < r->out->pages; i++, step(r)) {
		struct page_test *p = &r->pages[i];

		if (!p->touched || restore_one(r, p, r->saved + i * PAGE, e) == 0)
			continue;
		if (page_error(r, &r->out->not_restored, p, e) < 0) {
			/* This one is counted; so are all that come after it. */
			for (i++; i < r->out->pages; i++)
				r->out->not_restored += r->pages[i].touched;
			return -1;
		}
	}
	return 0;
}

int roundtrip_run(struct session *s, const struct roundtrip_options *o, struct roundtrip_result *out,
		  struct errbuf *e)
{
	uint64_t n = o->pages < o->size / PAGE ? o->pages : o->size / PAGE;
	CLEANUP_FREE struct page_test *pages = calloc(n, sizeof(*pages));
	CLEANUP_FREE unsigned char *saved = malloc(n * PAGE);
	CLEANUP_FREE uint64_t *write_ns = calloc(n, sizeof(*write_ns));
	CLEANUP_FREE uint64_t *read_ns = calloc(n, sizeof(*read_ns));
	struct run r = { .s = s,
			 .o = o,
			 .out = out,
			 .pages = pages,
			 .saved = saved,
			 .write_ns = write_ns,
			 .read_ns = read_ns };
	struct errbuf restore_error = { 0 };
	int rc;

	memset(out, 0, sizeof(*out));
	if (!pages || !saved || !write_ns || !read_ns)
		return err_set(e, ENOMEM, "no memory for %llu pages; use fewer with --pages",
			       (unsigned long long)n);
	out->pages = n;
	choose(&r);
	progress_begin(&r.bar, o->bar, "check", 4 * n * PAGE);
	rc = save_all(&r, e);
	if (rc == 0)
		rc = write_all(&r, e);
	if (rc == 0)
		rc = compare_all(&r, e);
	/* In any case, and also after a signal: the export is to be as it was. */
	if (restore_all(&r, &restore_error) < 0 && rc == 0) {
		rc = -1;
		if (e)
			*e = restore_error;
	}
	progress_end(&r.bar);
	out->interrupted = *o->stop != 0;
	latency_compute(write_ns, r.writes, &out->write);
	latency_compute(read_ns, r.reads, &out->read);
	return rc;
}
