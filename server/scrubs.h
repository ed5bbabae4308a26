/* SPDX-License-Identifier: BSD-3-Clause */
/* Scrubs of exports: one at a time each, in a helper thread, remembered until the next.
 *
 * A scrub looks at an export that is ready and may be in use.  When its worker dies the scrub pauses, because the table is
 * settled then, and goes on afterwards; when the export is released it is stopped.  Everything here runs on the loop's thread.
 */
#ifndef NBDSWAP_SCRUBS_H
#define NBDSWAP_SCRUBS_H

#include "common/errbuf.h"
#include "store/scrub.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum scrub_state {
	SCRUB_NONE, /* never */
	SCRUB_RUNNING,
	SCRUB_DONE,
	SCRUB_STOPPED, /* before its end; why says by what */
	SCRUB_FAILED,  /* why */
};

struct export_scrub {
	enum scrub_state state;
	bool working;	     /* its job is under way */
	time_t started, ended; /* ended: of DONE, STOPPED and FAILED */
	uint64_t pages;	     /* of the export */
	struct scrub_control control;
	struct scrub_totals totals;
	struct errbuf why;
	struct job *job;	 /* helper thread only */
	struct errbuf job_error; /* code 0: it came to the end */
};

struct export;

/* Begins a scrub (rate in bytes a second); when one is running, rate is its rate from now on.  x is ready.  Returns true when it is a
 * new one.  The end is told by ops->scrubbed.
 */
bool export_scrub(struct export *x, uint64_t rate);

/* Ends a running scrub soon; why is for people.  Nothing happens when none is running. */
void export_scrub_stop(struct export *x, const char *why);

/* Ends the job at hand, because the table is to be settled or released. */
void export_scrub_pause(struct export *x);

/* Goes on with one that was paused, if the export is ready. */
void export_scrub_resume(struct export *x);

const char *scrub_state_name(enum scrub_state state);

/* Did it find pages that were not right, or could not be read? */
bool scrub_found_bad(const struct export_scrub *s);

#endif
