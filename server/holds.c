/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/holds.h"

#include "server/engine/sessmem.h"
#include "server/log.h"
#include "server/sessions.h"
#include "store/page.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of a session that is over. */
struct hold {
	struct hold *next;
	int reserve; /* its export's, by which it is known: it may have been removed since; -1: it has been released */
	bool for_good; /* nobody knows when its I/O has ended */
	unsigned n;
	struct {
		uint32_t first, pages;
	} range[SESSMEM_REQUESTS];
};

/* What the session's requests have: as its worker left it, so nothing of it is taken for granted. */
static void find(const struct session *i, struct hold *h)
{
	static struct sess_request request[SESSMEM_REQUESTS];

	h->n = 0;
	h->for_good = false;
	h->reserve = i->x->reserve;
	if (i->memory < 0 || pread(i->memory, request, sizeof(request), offsetof(struct sess_mem, request)) != sizeof(request))
		return;
	for (unsigned k = 0; k < SESSMEM_REQUESTS; k++) {
		if (!request[k].use || request[k].buffer == SESSMEM_NO_BUFFER)
			continue;
		h->range[h->n].first = request[k].buffer;
		h->range[h->n++].pages = request[k].length / PAGE_BYTES;
	}
}

static void set(struct sessions *s, const struct hold *h, bool held)
{
	for (unsigned k = 0; k < h->n; k++)
		poolmem_hold(s->exports->pool, h->range[k].first, h->range[k].pages, held);
}

void holds_worker_died(struct sessions *s)
{
	static struct hold h;

	poolmem_hold_nothing(s->exports->pool);
	for (const struct hold *over = s->holds; over; over = over->next)
		set(s, over, true);
	for (struct session *i = s->first; i; i = i->next) {
		find(i, &h);
		set(s, &h, true);
		i->held = true;
	}
}

void holds_session_resumed(struct session *i)
{
	i->held = false;
}

void holds_session_over(struct sessions *s, struct session *i)
{
	struct hold *h;

	if (!i->held)
		return;
	i->held = false;
	h = malloc(sizeof(*h));
	if (!h)
		abort();
	find(i, h);
	if (h->n == 0) {
		free(h);
		return;
	}
	h->next = s->holds;
	s->holds = h;
}

/* Has the backend nothing of it any more? */
static bool settled(const struct sessions *s, struct hold *h)
{
	for (const struct export *x = s->exports->first; x; x = x->next) {
		if (h->reserve < 0 || x->reserve != h->reserve)
			continue;
		if (x->dirty || (x->state != EXPORT_READY && x->state != EXPORT_DOWN))
			return false;
		h->for_good = x->orphans; /* until a later barrier is passed, which waits for them too */
		break;
	}
	return !h->for_good;
}

void holds_let_go(struct sessions *s)
{
	for (struct hold **p = &s->holds, *h; (h = *p);) {
		if (!settled(s, h)) {
			p = &h->next;
			continue;
		}
		*p = h->next;
		set(s, h, false);
		free(h);
	}
}

void holds_export_released(struct sessions *s, struct export *x)
{
	unsigned pages = 0;

	if (!x->orphans)
		return;
	for (struct hold *h = s->holds; h; h = h->next) {
		if (h->reserve < 0 || h->reserve != x->reserve)
			continue;
		h->for_good = true;
		h->reserve = -1;
		for (unsigned k = 0; k < h->n; k++)
			pages += h->range[k].pages;
	}
	if (x->reserve >= 0)
		log_line(LOG_WARN, "export %s: %u pages of the pool and its own buffers are given to nobody until nbdswapd is restarted, for a dead"
			 " worker's I/O may still be on its way to them", x->conf.name, pages);
	x->reserve = -1;
	x->orphans = false;
}

json_t *holds_json(const struct sessions *s)
{
	json_t *list = json_array();

	for (const struct hold *h = s->holds; h; h = h->next) {
		json_t *ranges = json_array();

		for (unsigned k = 0; k < h->n; k++)
			json_array_append_new(ranges, json_pack("[I, I]", (json_int_t)h->range[k].first, (json_int_t)h->range[k].pages));
		json_array_append_new(list, json_pack("{s:i, s:b, s:o}", "reserve", h->reserve, "for_good", h->for_good, "ranges", ranges));
	}
	return list;
}

int holds_adopt(struct sessions *s, const json_t *list)
{
	const json_t *item;
	size_t i;

	json_array_foreach(list, i, item) {
		const json_t *ranges = json_object_get(item, "ranges"), *range;
		struct hold *h = calloc(1, sizeof(*h));
		size_t k;

		if (!h)
			abort();
		h->next = s->holds;
		s->holds = h;
		h->reserve = (int)json_integer_value(json_object_get(item, "reserve"));
		h->for_good = json_is_true(json_object_get(item, "for_good"));
		if (json_array_size(ranges) > SESSMEM_REQUESTS)
			return -1;
		json_array_foreach(ranges, k, range) {
			h->range[k].first = (uint32_t)json_integer_value(json_array_get(range, 0));
			h->range[k].pages = (uint32_t)json_integer_value(json_array_get(range, 1));
			h->n++;
		}
	}
	return 0;
}

void holds_free(struct sessions *s)
{
	while (s->holds) {
		struct hold *h = s->holds;

		s->holds = h->next;
		free(h);
	}
}
