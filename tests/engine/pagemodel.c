/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/engine/pagemodel.h"

#include "store/page.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS (PAGE_BYTES / sizeof(uint64_t))
#define NEVER UINT64_MAX

struct version {
	bool used;
	uint64_t version;
	uint64_t begun, ended, found, dead; /* NEVER: not yet */
};

struct page {
	uint32_t under_way; /* reads and writes */
	struct version v[MODEL_VERSIONS];
};

struct pagemodel {
	uint32_t pages;
	uint64_t now;
	uint64_t versions;
	struct page page[];
};

/* ---- contents ---- */

/* A page's words tell each for itself of which page and version they are: the id, changed by a key for every place.  A page that is all one value
 * is its id, with a bit that the others have not.
 */
#define SAME_BIT (UINT64_C(1) << 63)
#define VERSION_BITS 40
#define NUMBER(version) ((version) >> 8)
#define WRITER(version) ((unsigned)((version) & 255))

static uint64_t id_of(uint32_t page, uint64_t version)
{
	return (uint64_t)(page + 1) << VERSION_BITS | version;
}

static uint64_t version_of(uint64_t id)
{
	return id & ((UINT64_C(1) << VERSION_BITS) - 1);
}

static uint64_t key(size_t i)
{
	uint64_t x = (i + 1) * UINT64_C(0x9e3779b97f4a7c15);

	return ((x ^ x >> 29) * UINT64_C(0xbf58476d1ce4e5b9)) >> 1;
}

static bool is_same(uint64_t version)
{
	return NUMBER(version) % 8 == 0;
}

void pagemodel_fill(uint32_t page, uint64_t version, void *out)
{
	uint64_t *w = out, id = id_of(page, version);

	if (version == VERSION_ZEROS) {
		memset(out, 0, PAGE_BYTES);
		return;
	}
	for (size_t i = 0; i < WORDS; i++)
		w[i] = is_same(version) ? id | SAME_BIT : id ^ key(i);
}

static uint64_t id_at(const uint64_t *w, size_t i)
{
	return w[i] == 0 ? 0 : w[i] & SAME_BIT ? w[i] & ~SAME_BIT : w[i] ^ key(i);
}

/* The id of all of the page; false: not all of it has one. */
static bool whole_id(const uint64_t *w, uint64_t *id)
{
	bool same = w[0] & SAME_BIT;

	*id = id_at(w, 0);
	for (size_t i = 1; i < WORDS; i++)
		if (id_at(w, i) != *id || (bool)(w[i] & SAME_BIT) != same)
			return false;
	return *id == 0 || is_same(version_of(*id)) == same;
}

/* ---- words ---- */

struct words {
	char *text;
	size_t bytes, used;
};

static void __attribute__((format(printf, 2, 3))) say(struct words *w, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (w->used >= w->bytes)
		return;
	va_start(ap, fmt);
	n = vsnprintf(w->text + w->used, w->bytes - w->used, fmt, ap);
	va_end(ap);
	w->used += n > 0 ? (size_t)n : 0;
}

static void say_id(struct words *w, const struct pagemodel *m, uint64_t id)
{
	uint64_t page = id >> VERSION_BITS, version = version_of(id);

	if (id == 0)
		say(w, "zeros");
	else if (page == 0 || page > m->pages || NUMBER(version) == 0 || NUMBER(version) > m->versions)
		say(w, "nothing that was ever written (%016" PRIx64 ")", id);
	else
		say(w, "page %" PRIu64 ", version %" PRIu64 " of connection %u", page - 1, NUMBER(version), WRITER(version));
}

static void say_content(struct words *w, const struct pagemodel *m, const uint64_t *data)
{
	uint64_t last = 1;

	for (size_t i = 0; i < WORDS; i++) {
		uint64_t id = id_at(data, i);

		if (i > 0 && id == last)
			continue;
		if (i > 0)
			say(w, "; ");
		say(w, "from byte %zu on ", i * sizeof(uint64_t));
		say_id(w, m, id);
		last = id;
		if (w->used > w->bytes / 2) {
			say(w, "; ...");
			return;
		}
	}
}

static void say_history(struct words *w, const struct page *p)
{
	for (unsigned i = 0; i < MODEL_VERSIONS; i++) {
		const struct version *v = &p->v[i];

		if (!v->used)
			continue;
		if (v->version == VERSION_ZEROS)
			say(w, "\n  zeros: made at %" PRIu64, v->begun);
		else
			say(w, "\n  version %" PRIu64 " of connection %u: made at %" PRIu64, NUMBER(v->version), WRITER(v->version), v->begun);
		if (v->ended != NEVER)
			say(w, ", answered at %" PRIu64, v->ended);
		if (v->found != NEVER)
			say(w, ", first found at %" PRIu64, v->found);
		if (v->dead != NEVER)
			say(w, ", replaced for good by %" PRIu64, v->dead);
	}
}

/* ---- histories ---- */

struct pagemodel *pagemodel_make(uint32_t pages)
{
	struct pagemodel *m = calloc(1, sizeof(*m) + pages * sizeof(m->page[0]));

	if (!m)
		abort();
	m->pages = pages;
	for (uint32_t i = 0; i < pages; i++)
		m->page[i].v[0] = (struct version){ .used = true, .found = NEVER, .dead = NEVER };
	return m;
}

void pagemodel_free(struct pagemodel *m)
{
	free(m);
}

uint64_t pagemodel_now(struct pagemodel *m)
{
	return ++m->now;
}

uint64_t pagemodel_version(struct pagemodel *m, unsigned writer)
{
	return ++m->versions << 8 | (writer & 255);
}

static uint64_t effect(const struct version *v)
{
	return v->ended < v->found ? v->ended : v->found;
}

static void drop_dead(struct page *p)
{
	if (p->under_way)
		return;
	for (unsigned i = 0; i < MODEL_VERSIONS; i++)
		if (p->v[i].dead != NEVER)
			p->v[i].used = false;
}

static struct version *room(struct page *p)
{
	for (unsigned i = 0; i < MODEL_VERSIONS; i++)
		if (!p->v[i].used)
			return &p->v[i];
	return NULL;
}

bool pagemodel_may_write(struct pagemodel *m, uint32_t page)
{
	drop_dead(&m->page[page]);
	return room(&m->page[page]) != NULL;
}

void pagemodel_write_begins(struct pagemodel *m, uint32_t page, uint64_t version, uint64_t now)
{
	struct page *p = &m->page[page];
	struct version *v = room(p);

	*v = (struct version){ .used = true, .version = version, .begun = now, .ended = NEVER, .found = NEVER, .dead = NEVER };
	p->under_way++;
}

/* w is in effect by now: those that were before w was begun, or before a read that found it, are dead. */
static void replace(struct page *p, const struct version *w, uint64_t before, uint64_t now)
{
	for (unsigned i = 0; i < MODEL_VERSIONS; i++) {
		struct version *v = &p->v[i];

		if (v->used && v != w && effect(v) < before && v->dead == NEVER)
			v->dead = now;
	}
}

void pagemodel_write_ended(struct pagemodel *m, uint32_t page, uint64_t version, uint64_t begun, uint64_t now)
{
	struct page *p = &m->page[page];

	p->under_way--;
	for (unsigned i = 0; i < MODEL_VERSIONS; i++) {
		struct version *v = &p->v[i];

		if (!v->used || v->version != version || v->begun != begun)
			continue;
		v->ended = now;
		replace(p, v, v->begun, now);
		return;
	}
}

void pagemodel_read_begins(struct pagemodel *m, uint32_t page)
{
	drop_dead(&m->page[page]);
	m->page[page].under_way++;
}

/* The versions that the read can have found; of zeros there may be several. */
static unsigned candidates(struct page *p, uint64_t version, uint64_t begun, struct version **one)
{
	unsigned n = 0;

	for (unsigned i = 0; i < MODEL_VERSIONS; i++) {
		struct version *v = &p->v[i];

		if (v->used && v->version == version && v->dead >= begun) {
			*one = v;
			n++;
		}
	}
	return n;
}

bool pagemodel_read_ended(struct pagemodel *m, uint32_t page, const void *data, uint64_t begun, uint64_t now, char *text, size_t bytes)
{
	struct page *p = &m->page[page];
	struct version *v = NULL;
	struct words words = { text, bytes, 0 };
	uint64_t id;
	unsigned n = 0;

	p->under_way--;
	if (whole_id(data, &id) && (id == 0 || id >> VERSION_BITS == page + 1))
		n = candidates(p, version_of(id), begun, &v);
	if (n == 0) {
		say(&words, "page %u, read from %" PRIu64 " to %" PRIu64 ", holds: ", page, begun, now);
		say_content(&words, m, data);
		say(&words, "\n  It may be one of those not replaced before the read:");
		say_history(&words, p);
		return false;
	}
	if (n == 1) {
		if (v->found > now)
			v->found = now;
		replace(p, v, v->begun > begun ? v->begun : begun, now);
	}
	return true;
}
