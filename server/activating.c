/* SPDX-License-Identifier: BSD-3-Clause */
/* An export's file becomes ready for use, in two jobs: it is opened, locked, allocated, checked and its table made, and then it is marked.  While a
 * job runs, the fields of its export named in the job are the helper thread's.
 */
#include "config.h"

#include "server/exports.h"

#include "common/noswap.h"
#include "server/exportjob.h"
#include "server/log.h"
#include "server/sessions.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define BUSY_TRIES 20 /* a tenth of a second apart */
#define RECALL_MS 60000 /* the watch of a client tries once a second */
#define RETRY_MS 5000
#define ALLOCATIONS_MAX 2 /* at once: each fills a disk's queue */

/* Waits until few enough others write their pages.  False: interrupted. */
static bool may_allocate(struct export *x)
{
	const struct timespec pause = { .tv_nsec = 100 * 1000 * 1000 };
	unsigned others = atomic_load(&x->set->allocating);

	while (!x->allocates && !atomic_load(&x->interrupt)) {
		if (others < ALLOCATIONS_MAX) {
			x->allocates = atomic_compare_exchange_weak(&x->set->allocating, &others, others + 1);
		} else {
			nanosleep(&pause, NULL);
			others = atomic_load(&x->set->allocating);
		}
	}
	return !atomic_load(&x->interrupt);
}

static bool on_progress(void *arg, uint64_t done, uint64_t total)
{
	struct export *x = arg;

	atomic_store(&x->done, done);
	atomic_store(&x->total, total);
	job_poke(x->job);
	return done < total ? may_allocate(x) : !atomic_load(&x->interrupt);
}

/* The lock of a process that has ended goes with the last of its I/O, and where it had a ring that is a while after it was reaped. */
static int activate_when_free(struct export *x, const struct backing_options *opt)
{
	const struct timespec pause = { .tv_nsec = 100 * 1000 * 1000 };

	for (int tries = 0;; tries++) {
		memset(&x->error, 0, sizeof(x->error));
		if (backing_activate(x->conf.file, opt, &x->new_backing, &x->new_report, &x->error) == 0)
			return 0;
		if (x->error.code != EBUSY || tries == BUSY_TRIES || atomic_load(&x->interrupt))
			return -1;
		nanosleep(&pause, NULL);
	}
}

static void activate_run(struct job *job, void *arg)
{
	struct export *x = arg;
	struct backing_options opt = {
		.size = x->conf.size,
		.provision = x->provision,
		.dirfd = AT_FDCWD,
		.allow_unlocked = x->set->allow_unlocked,
		.check = (enum page_check)x->conf.check,
		.seal = (enum page_seal)x->conf.seal,
		.key_file = x->conf.key_file[0] ? x->conf.key_file : NULL,
		.survive = (enum page_survive)x->conf.survive,
		.force = x->force,
		.progress = on_progress,
		.progress_arg = x,
	};
	bool failed;

	x->job = job;
	if (atomic_load(&x->interrupt)) {
		err_set(&x->error, EINTR, "%s: not activated, the daemon is stopping", x->conf.file);
		return;
	}
	/* The key is handed down to workers. */
	if (opt.seal != PAGE_SEAL_NONE && noswap_check(&x->error) < 0) {
		err_prefix(&x->error, "%s: seal = aes-256-gcm", x->conf.file);
		return;
	}
	failed = activate_when_free(x, &opt) < 0;
	if (x->allocates)
		atomic_fetch_sub(&x->set->allocating, 1);
	x->allocates = false;
	if (failed)
		return;
	if (backing_load(x->new_backing, &x->new_table, &x->error) < 0) {
		backing_close(x->new_backing);
		x->new_backing = NULL;
		return;
	}
	x->error.code = 0;
}

static void activate_progress(void *arg)
{
	struct export *x = arg;

	x->set->ops->progress(x->set->arg, x);
}

/* After an unclean end of the machine who had the content has a while to come back to it. */
void export_begin_lease(struct export *x)
{
	struct lease_clock now;

	lease_begin(&x->lease, table_lease(x->table));
	lease_clock_now(&now);
	if (backing_was_resumed(x->backing))
		lease_recall(&x->lease, backing_lease_holder(x->backing), &now, RECALL_MS);
}

/* Not what a check refused, nor what another has, who may be given it back on the word alone, nor a want of space. */
static bool may_pass(int code)
{
	switch (code) {
	case EINVAL:
	case EEXIST:
	case EPROTO:
	case EOVERFLOW:
	case EBUSY:
	case ENOSPC:
	case EDQUOT:
	case EINTR:
		return false;
	}
	return true;
}

static void activation_failed(struct export *x)
{
	struct lease_clock now;

	lease_clock_now(&now);
	x->retry_ms = x->conf.survive == SURVIVE_HOST && may_pass(x->why.code) ? now.ms + RETRY_MS : 0;
	if (x->retried.code && x->retried.code == x->why.code)
		x->why = x->retried; /* which was said */
	else
		log_line(LOG_ERROR, "export %s is not active: %s%s", x->conf.name, x->why.text, x->retry_ms ? "; it is tried again" : "");
	x->retried.code = 0;
}

static void activate_done(void *arg)
{
	struct export *x = arg;

	x->report = x->new_report;
	x->why = x->error;
	x->backing = x->new_backing;
	x->table = x->new_table;
	x->new_backing = NULL;
	x->new_table = NULL;
	x->loaded = x->marking = false;
	x->dirty = false;
	x->used = false;
	x->alarm[0] = x->file_lost[0] = '\0';
	atomic_store(&x->done, 0);
	atomic_store(&x->total, 0);
	x->state = x->backing ? EXPORT_READY : EXPORT_DOWN;
	if (!x->backing) {
		activation_failed(x);
	} else {
		x->retried.code = 0;
		table_set_retry_time(x->table, (uint32_t)x->conf.retry_time); /* as a reload may have made it meanwhile */
		export_begin_lease(x);
		for (size_t i = 0; i < x->report.count; i++)
			if (x->report.findings[i].verdict == VERDICT_WARN)
				log_line(LOG_WARN, "export %s: %s", x->conf.name, x->report.findings[i].text);
		if (backing_was_unclean(x->backing))
			log_line(LOG_WARN, "export %s: its last use did not end cleanly, so every page is lost until it is written or"
				 " discarded", x->conf.name);
		if (backing_was_resumed(x->backing))
			log_line(LOG_WARN, "export %s: its last use did not end cleanly; it goes on with what its records tell of its pages",
				 x->conf.name);
		log_line(LOG_NOTE, "export %s is ready: %s on %s", x->conf.name, backing_path(x->backing),
			 backing_backend(x->backing)->name);
	}
	x->set->ops->activated(x->set->arg, x);
}

static void mark_run(struct job *job, void *arg)
{
	struct export *x = arg;

	(void)job;
	if (backing_mark(x->new_backing, x->new_table, &x->error) == 0) {
		x->error.code = 0;
		return;
	}
	table_free(x->new_table);
	backing_close(x->new_backing);
	x->new_table = NULL;
	x->new_backing = NULL;
}

static void mark_done(void *arg)
{
	struct export *x = arg;

	if (x->error.code && x->new_backing)
		export_put_off(x, "its use cannot begin");
	else
		activate_done(x);
}

static const struct job_ops mark_ops = { mark_run, mark_done, NULL };

void export_mark(struct export *x)
{
	export_start_job(x, x->set->backends, &mark_ops);
}

/* From the mark on the pages are only in the table, which this daemon must not be the only one to have. */
static void activate_loaded(void *arg)
{
	struct export *x = arg;

	if (!x->new_backing) {
		activate_done(x);
		return;
	}
	x->used = x->dirty = false;
	x->file_lost[0] = '\0';
	x->loaded = true;
	if (x->set->ops->loaded)
		x->set->ops->loaded(x->set->arg, x);
	x->marking = true;
	export_mark(x);
}

static const struct job_ops activate_ops = { activate_run, activate_loaded, activate_progress };

void export_activate(struct export *x, enum provision provision, bool force)
{
	x->state = EXPORT_ACTIVATING;
	x->blocked = x->unstarted = x->told = false;
	x->retry_ms = 0;
	strcpy(x->active_file, x->conf.file);
	x->provision = provision;
	x->force = force;
	x->again = false;
	memset(&x->why, 0, sizeof(x->why));
	export_start_job(x, x->set->backends, &activate_ops);
}

void exports_retry(struct exports *s)
{
	struct lease_clock now;

	lease_clock_now(&now);
	for (struct export *x = s->first; x; x = x->next) {
		if (x->state != EXPORT_DOWN || !x->retry_ms || now.ms < x->retry_ms || x->deactivated || x->removed || x->blocked)
			continue;
		x->retried = x->why;
		export_activate(x, PROVISION_NEVER, false);
	}
}
