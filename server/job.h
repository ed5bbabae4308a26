/* SPDX-License-Identifier: BSD-3-Clause */
/* Blocking work in helper threads, so that the event loop never waits for a backend.
 *
 * A job is a function run in a thread of its own; when it has returned, its completion is called on the loop's thread.
 * While it runs it may ask for a call on the loop's thread (job_poke), for progress.
 */
#ifndef NBDSWAP_JOB_H
#define NBDSWAP_JOB_H

#include "common/errbuf.h"

#include <ev.h>
#include <stdbool.h>

struct job_runner;
struct job;

struct job_ops {
	void (*run)(struct job *job, void *arg); /* required; helper thread */
	void (*done)(void *arg);		 /* required; loop's thread, once, after run; job is gone */
	void (*progress)(void *arg);		 /* optional; loop's thread, some time after job_poke */
};

/* At most max_running jobs run at once, more wait in order.  NULL with *e on failure. */
struct job_runner *job_runner_create(struct ev_loop *loop, unsigned max_running, struct errbuf *e);

/* No job may be left (job_runner_idle), else threads would outlive what they use. NULL is fine. */
void job_runner_free(struct job_runner *r);
bool job_runner_idle(const struct job_runner *r);

/* Queues a job; arg must live until done is called.  Returns 0; -1 with *e when it could not be made: done is not called.
 * When a thread cannot be started now, the job waits for the next to end or for job_try_again (or fails if none runs).
 */
int job_start(struct job_runner *r, const struct job_ops *ops, void *arg, struct errbuf *e);

/* Now and then: starts what waits for a thread that could not be started then, for those that run may do so for long. */
void job_try_again(struct job_runner *r);

/* Takes back the job that was queued with ops and arg, if it has not begun: done is not called.  False: it has begun, or there is none. */
bool job_take_back(struct job_runner *r, const struct job_ops *ops, const void *arg);

/* From run(): have progress called. */
void job_poke(struct job *job);

#endif
