/* SPDX-License-Identifier: BSD-3-Clause */
/* survive = host: that an export has passed to another client is in its file before that client is let in. */
#include "config.h"

#include "server/exports.h"

#include "server/log.h"

#include <string.h>

static void keep_run(struct job *job, void *arg)
{
	struct export *x = arg;

	(void)job;
	if (backing_keep_lease(x->backing, x->keep_number, x->keep_holder, &x->keep_error) == 0)
		x->keep_error.code = 0;
}

static void keep_done(void *arg)
{
	struct export *x = arg;
	struct exports *set = x->set;

	if (x->keep_error.code)
		log_line(LOG_ERROR, "export %s: that it passed to client %s cannot be kept: %s", x->conf.name, x->keep_holder, x->keep_error.text);
	x->keeping = false;
	export_give_back(x); /* what begins then may take x away */
	set->ops->kept(set->arg);
}

static const struct job_ops keep_ops = { keep_run, keep_done, NULL };

int export_keep_lease(struct export *x, struct errbuf *e)
{
	if (x->keeping)
		return 0;
	if (x->keep_error.code) {
		*e = x->keep_error;
		x->keep_error.code = 0;
		return -1;
	}
	if (backing_keeps_lease(x->backing, x->lease.number, x->lease.last))
		return 1;
	x->keep_number = x->lease.number;
	strcpy(x->keep_holder, x->lease.last);
	if (job_start(x->set->backends, &keep_ops, x, e) < 0)
		return -1;
	x->keeping = true;
	export_borrow(x);
	return 0;
}
