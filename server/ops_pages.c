/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/ops_pages.h"

#include "server/log.h"
#include "server/status.h"
#include "server/waits.h"
#include "store/lostlist.h"
#include "store/page.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#define LOST_RUNS_MAX 2048 /* in one answer */

static struct export *find(struct daemon *d, uint64_t client, const json_t *req)
{
	const char *name = json_string_value(json_object_get(req, "export"));
	struct export *x = name ? exports_find(&d->exports, name) : NULL;

	if (!name)
		control_refuse(d->control, client, "the request needs \"export\"");
	else if (!x)
		control_refuse(d->control, client, "there is no export \"%s\"; nbdswapctl status lists them", name);
	return x;
}

/* One whose table can be looked at; else NULL, and that has been answered. */
static struct export *find_ready(struct daemon *d, uint64_t client, const json_t *req)
{
	struct export *x = find(d, client, req);
	struct errbuf e;

	if (!x)
		return NULL;
	if (d->stopping) {
		control_refuse(d->control, client, "the daemon is stopping");
		return NULL;
	}
	if (x->state != EXPORT_READY) {
		export_refusal(x, &e);
		control_refuse(d->control, client, "%s", e.text);
		return NULL;
	}
	return x;
}

/* ---- lost and reset: a walk over the table, in a helper thread ---- */

struct walk {
	struct daemon *d;
	uint64_t client;
	struct export *x;
	uint64_t from;	/* page to begin at; afterwards where to go on, table_pages when there is no more */
	uint64_t reset; /* pages made fresh */
	size_t count;
	struct lost_run run[LOST_RUNS_MAX];
};

static bool start_walk(struct daemon *d, uint64_t client, struct export *x, uint64_t from, const struct job_ops *ops)
{
	struct walk *w = calloc(1, sizeof(*w));
	struct errbuf e;

	if (!w)
		abort();
	w->d = d;
	w->client = client;
	w->x = x;
	w->from = from;
	if (job_start(d->exports.quick, ops, w, &e) < 0) {
		control_refuse(d->control, client, "%s", e.text);
		free(w);
		return false;
	}
	export_borrow(x);
	return true;
}

static void lost_run(struct job *job, void *arg)
{
	struct walk *w = arg;

	(void)job;
	while (w->count < LOST_RUNS_MAX && lost_next(w->x->table, w->from, &w->run[w->count])) {
		w->from = w->run[w->count].first + w->run[w->count].count;
		w->count++;
	}
	if (w->count < LOST_RUNS_MAX)
		w->from = table_pages(w->x->table);
}

static void lost_done(void *arg)
{
	struct walk *w = arg;
	uint64_t pages = table_pages(w->x->table);
	json_t *runs = json_array(), *answer;

	for (size_t i = 0; i < w->count; i++)
		json_array_append_new(runs, json_pack("[I, I]", (json_int_t)w->run[i].first, (json_int_t)w->run[i].count));
	answer = json_pack("{s:b, s:s, s:i, s:I, s:o}", "ok", 1, "export", w->x->conf.name, "page_bytes", (int)PAGE_BYTES, "pages",
			   (json_int_t)pages, "lost", runs);
	if (w->from < pages)
		json_object_set_new(answer, "next", json_integer((json_int_t)w->from));
	control_answer(w->d->control, w->client, answer);
	export_give_back(w->x);
	free(w);
}

static const struct job_ops lost_ops = { lost_run, lost_done, NULL };

void ops_lost(struct daemon *d, uint64_t client, const json_t *req)
{
	struct export *x = find_ready(d, client, req);
	json_int_t from = json_integer_value(json_object_get(req, "from"));

	if (x)
		start_walk(d, client, x, from > 0 ? (uint64_t)from : 0, &lost_ops);
}

static void reset_run(struct job *job, void *arg)
{
	struct walk *w = arg;

	(void)job;
	w->reset = lost_reset(w->x->table);
}

static void reset_done(void *arg)
{
	struct walk *w = arg;

	w->x->resetting = false;
	log_line(LOG_WARN, "export %s: %" PRIu64 " lost pages were reset and read as zeros from now on", w->x->conf.name, w->reset);
	control_answer(w->d->control, w->client,
		       json_pack("{s:b, s:s, s:I}", "ok", 1, "export", w->x->conf.name, "reset", (json_int_t)w->reset));
	export_give_back(w->x);
	free(w);
}

static const struct job_ops reset_ops = { reset_run, reset_done, NULL };

void ops_reset(struct daemon *d, uint64_t client, const json_t *req)
{
	struct export *x = find_ready(d, client, req);

	if (!x)
		return;
	/* Whoever has it may still hold a page's only good knowledge: that it is lost. */
	if (sessions_held(x)) {
		control_refuse(d->control, client, "export \"%s\" is in use by client %s, to whom its lost pages would become zeros; it must"
			       " detach first", x->conf.name, x->lease.holder);
		return;
	}
	x->resetting = start_walk(d, client, x, 0, &reset_ops);
}

/* ---- scrub ---- */

static void answer_scrub(struct daemon *d, uint64_t client, const struct export *x)
{
	control_answer(d->control, client, json_pack("{s:b, s:s, s:o}", "ok", 1, "export", x->conf.name, "scrub", scrub_json(x)));
}

void ops_scrub(struct daemon *d, uint64_t client, const json_t *req)
{
	const json_t *rate = json_object_get(req, "rate");
	json_int_t bytes = rate ? json_integer_value(rate) : (json_int_t)SCRUB_RATE_DEFAULT;
	struct export *x = find_ready(d, client, req);

	if (!x)
		return;
	if (bytes < (json_int_t)SCRUB_RATE_MIN || bytes > (json_int_t)SCRUB_RATE_MAX) {
		control_refuse(d->control, client, "the rate is not between %" PRIu64 " and %" PRIu64 " bytes a second", SCRUB_RATE_MIN,
			       SCRUB_RATE_MAX);
		return;
	}
	if (x->scrub.working && x->scrub.state != SCRUB_RUNNING) {
		control_refuse(d->control, client, "the scrub of export \"%s\" that was stopped has not ended yet; try again", x->conf.name);
		return;
	}
	if (x->scrub.state == SCRUB_RUNNING && !rate)
		bytes = (json_int_t)atomic_load(&x->scrub.control.rate);
	if (json_is_true(json_object_get(req, "wait")))
		waits_add(d, client, WAIT_SCRUB, x);
	export_scrub(x, (uint64_t)bytes);
	if (!json_is_true(json_object_get(req, "wait")))
		answer_scrub(d, client, x);
}

void ops_scrub_status(struct daemon *d, uint64_t client, const json_t *req)
{
	struct export *x = find(d, client, req);

	if (x)
		answer_scrub(d, client, x);
}

void ops_scrub_stop(struct daemon *d, uint64_t client, const json_t *req)
{
	struct export *x = find(d, client, req);

	if (!x)
		return;
	if (x->scrub.state != SCRUB_RUNNING) {
		answer_scrub(d, client, x);
		return;
	}
	waits_add(d, client, WAIT_SCRUB, x);
	export_scrub_stop(x, "by nbdswapctl scrub --stop");
}

void ops_scrub_progress(struct daemon *d, const struct export *x)
{
	waits_progress(d, WAIT_SCRUB, x, atomic_load(&x->scrub.totals.position) * PAGE_BYTES, x->scrub.pages * PAGE_BYTES);
}

void ops_scrubbed(struct daemon *d, const struct export *x)
{
	uint64_t client;

	while (waits_take(d, WAIT_SCRUB, x, &client))
		answer_scrub(d, client, x);
}
