/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/scrubs.h"

#include "server/exports.h"
#include "server/log.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static uint64_t get(const _Atomic uint64_t *counter)
{
	return atomic_load_explicit(counter, memory_order_relaxed);
}

static void on_progress(void *arg)
{
	struct export *x = arg;

	job_poke(x->scrub.job);
}

static void scrub_job_run(struct job *job, void *arg)
{
	struct export *x = arg;
	struct export_scrub *s = &x->scrub;
	struct marker marker;
	struct scrub *scrub;

	s->job = job;
	marker_init(&marker, x->table);
	scrub = scrub_create(backing_fd(x->backing), backing_backend(x->backing)->kind, x->table, &marker, x->set->allow_unlocked, &s->job_error);
	if (scrub && scrub_run(scrub, &s->control, &s->totals, on_progress, x, &s->job_error) == 0)
		s->job_error.code = 0;
	scrub_free(scrub);
}

static void scrub_job_progress(void *arg)
{
	struct export *x = arg;

	x->set->ops->scrub_progress(x->set->arg, x);
}

/* Its end in one line of the log. */
static void report(const struct export *x)
{
	const struct export_scrub *s = &x->scrub;

	if (s->state != SCRUB_DONE)
		log_line(s->state == SCRUB_FAILED ? LOG_ERROR : LOG_NOTE, "export %s: the scrub has ended early, after %" PRIu64 " of %"
			 PRIu64 " pages: %s", x->conf.name, get(&s->totals.position), s->pages, s->why.text);
	else
		log_line(LOG_NOTE, "export %s: the scrub is done, %" PRIu64 " pages verified", x->conf.name, get(&s->totals.verified));
	if (scrub_found_bad(s))
		log_line(LOG_ERROR, "export %s: the scrub found %" PRIu64 " pages that did not match, of which %" PRIu64 " are lost now"
			 " (nbdswapctl lost %s), and %" PRIu64 " that could not be read; see to the storage", x->conf.name,
			 get(&s->totals.mismatched), get(&s->totals.lost), x->conf.name, get(&s->totals.unreadable));
}

static void finish(struct export *x)
{
	struct export_scrub *s = &x->scrub;

	s->ended = time(NULL);
	report(x);
	x->set->ops->scrubbed(x->set->arg, x);
}

static void scrub_job_done(void *arg)
{
	struct export *x = arg;
	struct export_scrub *s = &x->scrub;

	s->working = false;
	if (s->state == SCRUB_STOPPED) {
		finish(x);
	} else if (s->job_error.code == 0) {
		s->state = SCRUB_DONE;
		finish(x);
	} else if (s->job_error.code != EINTR) {
		s->state = SCRUB_FAILED;
		s->why = s->job_error;
		finish(x);
	}
	export_give_back(x); /* what begins then may fail and take x away */
}

static const struct job_ops scrub_job_ops = { scrub_job_run, scrub_job_done, scrub_job_progress };

static void go_on(struct export *x)
{
	struct export_scrub *s = &x->scrub;

	memset(&s->job_error, 0, sizeof(s->job_error));
	atomic_store(&s->control.cancel, false);
	s->working = true;
	export_borrow(x);
	if (job_start(x->set->backends, &scrub_job_ops, x, &s->job_error) < 0)
		scrub_job_done(x);
}

bool export_scrub(struct export *x, uint64_t rate)
{
	struct export_scrub *s = &x->scrub;

	atomic_store(&s->control.rate, rate);
	if (s->state == SCRUB_RUNNING)
		return false;
	s->state = SCRUB_RUNNING;
	s->started = time(NULL);
	s->pages = table_pages(x->table);
	memset(&s->totals, 0, sizeof(s->totals));
	memset(&s->why, 0, sizeof(s->why));
	log_line(LOG_NOTE, "export %s: a scrub begins", x->conf.name);
	go_on(x);
	return true;
}

void export_scrub_stop(struct export *x, const char *why)
{
	struct export_scrub *s = &x->scrub;

	if (s->state != SCRUB_RUNNING)
		return;
	s->state = SCRUB_STOPPED;
	err_set(&s->why, EINTR, "%s", why);
	if (s->working)
		atomic_store(&s->control.cancel, true);
	else
		finish(x);
}

void export_scrub_pause(struct export *x)
{
	if (x->scrub.working)
		atomic_store(&x->scrub.control.cancel, true);
}

void export_scrub_resume(struct export *x)
{
	if (x->scrub.state == SCRUB_RUNNING && !x->scrub.working && x->state == EXPORT_READY)
		go_on(x);
}

const char *scrub_state_name(enum scrub_state state)
{
	static const char *const names[] = { "none", "running", "done", "stopped", "failed" };

	return names[state];
}

bool scrub_found_bad(const struct export_scrub *s)
{
	return get(&s->totals.mismatched) > 0 || get(&s->totals.unreadable) > 0;
}
