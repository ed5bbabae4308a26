/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/faults/model.h"

#include "store/page.h"

#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORDS (PAGE_BYTES / sizeof(uint64_t))
#define UNDER_WAY UINT64_MAX

/* ---- contents ---- */

uint64_t content_id(struct model *m, enum content_kind kind)
{
	return atomic_fetch_add(&m->next_id, 1) << 2 | kind;
}

/* The word of a mixed page at an index: an own sequence for every id and page. */
static uint64_t word_at(uint64_t id, uint64_t page, uint64_t index)
{
	return (id * UINT64_C(0x9e3779b97f4a7c15) ^ page * UINT64_C(0xd6e8feb86659fd93)) + index * UINT64_C(0xbf58476d1ce4e5b9);
}

void content_make(uint64_t id, uint64_t page, void *out)
{
	uint64_t *w = out;

	w[0] = id;
	for (uint64_t i = 1; i < WORDS; i++)
		w[i] = (id & 3) == CONTENT_MIXED ? word_at(id, page, i) : id;
}

uint64_t content_read(uint64_t page, const void *data)
{
	const uint64_t *w = data;
	uint64_t id = w[0], differ = 0;

	if (id != ID_ZEROS && (id & 3) != CONTENT_MIXED && (id & 3) != CONTENT_SAME)
		return ID_NONE;
	for (uint64_t i = 1; i < WORDS; i++)
		differ |= w[i] ^ ((id & 3) == CONTENT_MIXED ? word_at(id, page, i) : id);
	return differ ? ID_NONE : id;
}

/* ---- histories ---- */

uint64_t model_now(struct model *m)
{
	return atomic_fetch_add(&m->time, 1) + 1;
}

static struct page_model *lock(struct model *m, uint64_t page)
{
	struct page_model *p = &m->page[page];

	while (atomic_exchange_explicit(&p->lock, 1, memory_order_acquire))
		sched_yield();
	return p;
}

static void unlock(struct page_model *p)
{
	atomic_store_explicit(&p->lock, 0, memory_order_release);
}

void model_unlock_all(struct model *m)
{
	for (uint64_t page = 0; page < MODEL_PAGES; page++)
		unlock(&m->page[page]);
}

void model_init(struct model *m)
{
	memset(m, 0, sizeof(*m));
	m->next_id = 1;
	for (uint64_t page = 0; page < MODEL_PAGES; page++)
		model_settle(m, page, ID_ZEROS);
}

/* A place for a new one: a free one, or that of the oldest that has ended. */
static struct version *room(struct model *m, struct page_model *p)
{
	struct version *oldest = NULL;

	for (uint32_t i = 0; i < MODEL_VERSIONS; i++) {
		struct version *v = &p->version[i];

		if (!v->used)
			return v;
		if (v->ended != UNDER_WAY && (!oldest || v->ended < oldest->ended))
			oldest = v;
	}
	if (!oldest)
		abort();
	p->dropped = atomic_load(&m->time);
	return oldest;
}

static void add(struct model *m, struct page_model *p, const struct version *v)
{
	struct version *to = room(m, p);

	to->used = false;
	atomic_signal_fence(memory_order_seq_cst);
	to->id = v->id;
	to->begun = v->begun;
	to->ended = v->ended;
	to->weak = v->weak;
	atomic_signal_fence(memory_order_seq_cst);
	to->used = true;
}

void model_begin(struct model *m, uint64_t page, uint64_t id, uint64_t begun)
{
	struct page_model *p = lock(m, page);

	add(m, p, &(struct version){ .id = id, .begun = begun, .ended = UNDER_WAY });
	unlock(p);
}

void model_answer(struct model *m, uint64_t page, uint64_t id, uint64_t begun, enum model_answer answer)
{
	struct page_model *p = lock(m, page);
	uint64_t now = model_now(m);

	for (uint32_t i = 0; i < MODEL_VERSIONS; i++) {
		struct version *v = &p->version[i];

		if (!v->used || v->id != id || v->begun != begun)
			continue;
		if (answer == ANSWER_LOST)
			v->id = ID_LOST;
		v->weak = answer == ANSWER_UNSURE;
		v->ended = now;
		break;
	}
	if (answer == ANSWER_UNSURE)
		add(m, p, &(struct version){ .id = ID_LOST, .begun = begun, .ended = now, .weak = true });
	unlock(p);
}

void model_found_lost(struct model *m, uint64_t page, uint64_t begun, uint64_t ended)
{
	struct page_model *p = lock(m, page);

	add(m, p, &(struct version){ .id = ID_LOST, .begun = begun, .ended = ended });
	unlock(p);
}

/* What had ended before this was replaced for good before time. */
static uint64_t replaced_until(const struct page_model *p, uint64_t time)
{
	uint64_t latest = 0;

	for (uint32_t i = 0; i < MODEL_VERSIONS; i++) {
		const struct version *v = &p->version[i];

		if (v->used && !v->weak && v->ended < time && v->begun > latest)
			latest = v->begun;
	}
	return latest;
}

enum verdict_of_read model_judge(struct model *m, uint64_t page, uint64_t id, uint64_t begun, uint64_t ended)
{
	struct page_model *p = lock(m, page);
	enum verdict_of_read verdict = p->dropped > begun ? READ_TOO_LONG_AGO : READ_WRONG;
	uint64_t until = replaced_until(p, begun);

	for (uint32_t i = 0; i < MODEL_VERSIONS; i++) {
		const struct version *v = &p->version[i];

		if (v->used && v->id == id && v->begun < ended && v->ended >= until) {
			verdict = READ_RIGHT;
			break;
		}
	}
	unlock(p);
	return verdict;
}

void model_settle(struct model *m, uint64_t page, uint64_t id)
{
	struct page_model *p = &m->page[page];
	uint64_t now = model_now(m);

	for (uint32_t i = 0; i < MODEL_VERSIONS; i++)
		p->version[i].used = false;
	p->dropped = now;
	add(m, p, &(struct version){ .id = id, .begun = now, .ended = now });
}

bool model_under_way(const struct model *m, uint64_t page)
{
	const struct version *v = m->page[page].version;

	for (uint32_t i = 0; i < MODEL_VERSIONS; i++)
		if (v[i].used && v[i].ended == UNDER_WAY)
			return true;
	return false;
}

void model_print(const struct model *m, uint64_t page)
{
	const struct page_model *p = &m->page[page];

	printf("page %" PRIu64 ", history from %" PRIu64 " on:\n", page, p->dropped);
	for (uint32_t i = 0; i < MODEL_VERSIONS; i++) {
		const struct version *v = &p->version[i];

		if (!v->used)
			continue;
		if (v->id == ID_LOST)
			printf("  lost");
		else
			printf("  id %" PRIu64 ".%" PRIu64, v->id >> 2, v->id & 3);
		if (v->ended == UNDER_WAY)
			printf(" from %" PRIu64 ", no end\n", v->begun);
		else
			printf(" from %" PRIu64 " to %" PRIu64 "%s\n", v->begun, v->ended, v->weak ? ", not sure" : "");
	}
}
