/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's part of a stale file handle: the worker that met it asks, the file is opened anew in a helper thread (store/reopen.h), and
 * the worker gets the new description.  If it is not the same file, the export is lost until an administrator activates it again.
 */
#include "config.h"

#include "server/exports.h"

#include "server/log.h"

#include <errno.h>
#include <stdio.h>

static void reopen_run(struct job *job, void *arg)
{
	struct export *x = arg;

	(void)job;
	x->reopened = backing_reopen(x->backing, table_retry_time(x->table), &x->reopen_error);
}

void export_lose(struct export *x, const char *what, const char *why)
{
	if (x->file_lost[0])
		return;
	snprintf(x->file_lost, sizeof(x->file_lost), "%s: %.440s", what, why);
	log_line(LOG_ERROR, "EXPORT %s IS LOST, every request is answered with an error: %s", x->conf.name, x->file_lost);
}

static void reopen_done(void *arg)
{
	struct export *x = arg;

	x->reopening = false;
	/* Of what passes the worker tells, not too often. */
	if (x->reopened == REOPEN_LOST)
		export_lose(x, EXPORT_FILE_LOST, x->reopen_error.text);
	x->set->ops->reopened(x->set->arg, x);
	export_give_back(x);
}

static const struct job_ops reopen_ops = { reopen_run, reopen_done, NULL };

int export_reopen(struct export *x, struct errbuf *e)
{
	if (x->state != EXPORT_READY || x->reopening)
		return err_set(e, EAGAIN, "export \"%s\" is %s; try again", x->conf.name,
			       x->reopening ? "being opened anew already" : export_state_name(x));
	if (x->file_lost[0])
		return err_set(e, ESTALE, "%s", x->file_lost);
	if (job_start(x->set->backends, &reopen_ops, x, e) < 0) {
		e->code = EAGAIN;
		return -1;
	}
	x->reopening = true;
	export_borrow(x);
	return 0;
}
