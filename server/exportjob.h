/* SPDX-License-Identifier: BSD-3-Clause */
/* What the jobs of exports share (exportjobs.c, activating.c). */
#ifndef NBDSWAP_EXPORTJOB_H
#define NBDSWAP_EXPORTJOB_H

#include "server/exports.h"

/* Starts a job, or calls its completion with the error when it cannot be. */
void export_start_job(struct export *x, struct job_runner *r, const struct job_ops *ops);

/* No thread was to be had: it is tried again (exports_try_again).  what: for the log. */
void export_put_off(struct export *x, const char *what);

/* The second job of an activation. */
void export_mark(struct export *x);

#endif
