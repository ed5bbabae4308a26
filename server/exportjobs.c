/* SPDX-License-Identifier: BSD-3-Clause */
/* What blocks: waiting for orphan writes, deactivation, re-checks (activation: activating.c).  While a job runs, the fields of its export
 * named in the job are the helper thread's.
 */
#include "config.h"

#include "server/exports.h"

#include "server/exportjob.h"
#include "server/log.h"
#include "server/sessions.h"
#include "store/errclass.h"
#include "store/retry.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

void export_start_job(struct export *x, struct job_runner *r, const struct job_ops *ops)
{
	memset(&x->error, 0, sizeof(x->error));
	x->note[0] = '\0';
	if (job_start(r, ops, x, &x->error) < 0)
		ops->done(x);
}

void export_put_off(struct export *x, const char *what)
{
	if (!x->told)
		log_line(LOG_ERROR, "export %s: %s just now: %s", x->conf.name, what, x->error.text);
	x->unstarted = x->told = true;
}

/* Waits for what the dead worker left at the backend.  An error that may pass is held like a write's (contract 9): it says nothing of the
 * pages.  A stale handle is opened anew first, for the dead worker's own request for that was lost with it.
 */
static int pass_barrier(struct export *x, struct errbuf *e)
{
	const struct backend *b = backing_backend(x->backing);
	uint32_t patience = table_retry_time(x->table);
	struct retry held = { .tries = 0 };

	for (;;) {
		enum err_class class;
		struct timespec t;
		int ms;

		if (backing_barrier(x->backing, e) == 0)
			return 0;
		class = errclass_of(e->code, b->kind);
		if (class == ERR_STALE) {
			x->reopened = backing_reopen(x->backing, patience, &x->reopen_error);
			if (x->reopened == REOPEN_LOST) {
				*e = x->reopen_error;
				return -1;
			}
			if (x->reopened == REOPEN_SAME)
				class = ERR_PASSING;
		}
		clock_gettime(CLOCK_MONOTONIC, &t);
		ms = retry_next(&held, e->code, class, true, (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000, patience);
		if (ms < 0 || atomic_load(&x->interrupt))
			return -1;
		t = (struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };
		nanosleep(&t, NULL);
	}
}

/* Could a page that somebody else wrote be handed out? */
static bool is_unchecked(const struct export *x)
{
	const struct table_spec *spec = table_spec(x->table);

	return spec->check == CHECK_NONE && spec->seal == PAGE_SEAL_NONE;
}

/* No write of a dead worker may land later than this. Where that cannot be known, no page's content is known either. */
static void wait_for_orphans(struct export *x)
{
	struct errbuf e, failed;

	x->orphans = pass_barrier(x, &e) < 0;
	if (!x->orphans)
		return;
	if (backing_lost(x->backing, x->table, &failed) < 0)
		e = failed;
	snprintf(x->note, sizeof(x->note), "its worker died and writes that it left behind cannot be waited for (%.400s)%s",
		 e.text, is_unchecked(x) ? "" : ", so EVERY PAGE IS LOST until it is written or discarded");
}

static void settle_run(struct job *job, void *arg)
{
	struct export *x = arg;
	struct settled settled = { 0 };
	struct errbuf e;

	(void)job;
	wait_for_orphans(x);
	if (table_settle(x->table, backing_fd(x->backing), &settled, &e) < 0) {
		backing_lost(x->backing, x->table, NULL);
		snprintf(x->note, sizeof(x->note), "%.300s: EVERY PAGE IS LOST until it is written or discarded", e.text);
	} else if (!x->note[0] && settled.lost > 0) {
		snprintf(x->note, sizeof(x->note), "its worker died with %" PRIu64 " pages in flight: %" PRIu64 " are lost until they are"
			 " written again", settled.kept_new + settled.kept_old + settled.lost, settled.lost);
	}
	x->settled = settled;
}

static void settle_done(void *arg)
{
	struct export *x = arg;

	if (x->error.code) { /* nothing was waited for, so nobody gets it yet */
		export_put_off(x, "its worker died, and what that left cannot be settled");
		return;
	}
	if (x->reopened == REOPEN_LOST)
		export_lose(x, EXPORT_FILE_LOST, x->reopen_error.text);
	x->dirty = false;
	x->state = EXPORT_READY;
	if (x->orphans && is_unchecked(x)) {
		export_lose(x, "without checks (check = none) a page that was written anew could not be told from one that comes late", x->note);
		x->note[0] = '\0';
	}
	if (!x->note[0] && x->settled.kept_new + x->settled.kept_old > 0)
		log_line(LOG_NOTE, "export %s: its worker died with %" PRIu64 " pages in flight: %" PRIu64 " have arrived, %" PRIu64
			 " are what they were before", x->conf.name, x->settled.kept_new + x->settled.kept_old, x->settled.kept_new,
			 x->settled.kept_old);
	if (x->note[0])
		log_line(LOG_ERROR, "export %s: %s", x->conf.name, x->note);
	export_scrub_resume(x);
	x->set->ops->settled(x->set->arg, x);
}

static const struct job_ops settle_ops = { settle_run, settle_done, NULL };

static void release_run(struct job *job, void *arg)
{
	struct export *x = arg;

	(void)job;
	if (x->dirty)
		wait_for_orphans(x);
	if (backing_end(x->backing, x->table, &x->error) == 0)
		x->error.code = 0;
	/* A page of the next use could not be told from one that comes late, so that does not begin before the last has come. */
	if (x->orphans && is_unchecked(x))
		backing_leave_locked(x->backing);
	backing_close(x->backing); /* which gives the lock back, and that a server may be asked for */
	x->backing = NULL;
}

static void release_done(void *arg)
{
	struct export *x = arg;

	if (x->backing) { /* its pages are only in the table yet */
		export_put_off(x, "it cannot be released");
		return;
	}
	if (x->note[0])
		log_line(LOG_ERROR, "export %s: %s", x->conf.name, x->note);
	if (x->error.code)
		log_line(LOG_ERROR, "export %s was not ended cleanly, its pages are lost: %s", x->conf.name, x->error.text);
	table_free(x->table);
	x->table = NULL;
	x->dirty = false;
	x->state = EXPORT_DOWN;
	x->why = x->error;
	x->set->ops->released(x->set->arg, x);
}

static const struct job_ops release_ops = { release_run, release_done, NULL };

static void end_look(struct export *x)
{
	x->looking = false;
	export_give_back(x);
}

static void recheck_run(struct job *job, void *arg)
{
	struct export *x = arg;

	(void)job;
	x->new_report.count = 0;
	backing_recheck(x->backing, &x->new_report);
}

static void recheck_done(void *arg)
{
	struct export *x = arg;
	/* A look for which there was no thread says nothing. */
	bool looked = !x->error.code;
	const struct finding *f = looked ? report_first(&x->new_report, VERDICT_FAIL) : NULL;

	if (!looked) {
		log_line(LOG_WARN, "export %s: not checked again this time: %s", x->conf.name, x->error.text);
	} else if (!f) {
		if (x->alarm[0])
			log_line(LOG_NOTE, "export %s: the alarm is over", x->conf.name);
		x->alarm[0] = '\0';
	} else if (strcmp(x->alarm, f->text) != 0) {
		snprintf(x->alarm, sizeof(x->alarm), "%s", f->text);
		log_line(LOG_ERROR, "ALARM: export %s is no longer safe to swap on: %s", x->conf.name, x->alarm);
	}
	end_look(x);
}

static const struct job_ops recheck_ops = { recheck_run, recheck_done, NULL };

/* A backing is used by one thread at a time. */
static void start_or_wait(struct export *x)
{
	x->waiting = x->borrowed > 0;
	if (!x->waiting) {
		/* The table is of no use from then on, which who takes over must not learn too late. */
		if (x->state == EXPORT_RELEASING && x->set->ops->loaded)
			x->release_due = true;
		else
			export_start_job(x, x->set->backends, x->state == EXPORT_SETTLING ? &settle_ops : &release_ops);
		return;
	}
	export_scrub_pause(x);
	/* A re-check that has not begun may be behind others', whose backends do not answer. */
	if (x->looking && job_take_back(x->set->checks, &recheck_ops, x))
		end_look(x);
}

void exports_known(struct exports *s)
{
	for (struct export *x = s->first; x; x = x->next)
		if (x->release_due) {
			x->release_due = false;
			export_start_job(x, s->backends, &release_ops);
		}
}

void export_settle(struct export *x)
{
	x->state = EXPORT_SETTLING;
	x->dirty = true;
	x->unstarted = x->told = false;
	x->reopened = REOPEN_SAME;
	start_or_wait(x);
}

void exports_try_again(struct exports *s)
{
	for (struct export *x = s->first; x; x = x->next) {
		if (!x->unstarted)
			continue;
		x->unstarted = false; /* under way from now on, and that may last */
		if (x->state == EXPORT_ADOPTING)
			export_adopt_start(x);
		else if (x->state == EXPORT_ACTIVATING)
			export_mark(x);
		else
			start_or_wait(x);
	}
	job_try_again(s->backends);
	job_try_again(s->checks);
	job_try_again(s->quick);
}

void export_release(struct export *x)
{
	x->state = EXPORT_RELEASING;
	x->unstarted = x->told = false;
	export_scrub_stop(x, "the export is released");
	start_or_wait(x);
}

void export_borrow(struct export *x)
{
	x->borrowed++;
}

void export_give_back(struct export *x)
{
	if (--x->borrowed == 0 && x->waiting)
		start_or_wait(x);
}

void export_recheck(struct export *x)
{
	if (x->state != EXPORT_READY || x->looking || x->file_lost[0])
		return;
	x->looking = true;
	export_borrow(x);
	export_start_job(x, x->set->checks, &recheck_ops);
}

static void count_run(struct job *job, void *arg)
{
	struct export *x = arg;

	(void)job;
	table_count(x->table, &x->totals);
}

static void count_done(void *arg)
{
	struct export *x = arg;
	struct exports *set = x->set;

	end_look(x); /* what begins then may fail and take x away */
	set->ops->counted(set->arg);
}

static const struct job_ops count_ops = { count_run, count_done, NULL };

bool export_count(struct export *x)
{
	struct errbuf e;

	if (x->state != EXPORT_READY || x->looking || job_start(x->set->quick, &count_ops, x, &e) < 0)
		return false;
	x->looking = true;
	export_borrow(x);
	return true;
}
