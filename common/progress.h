/* SPDX-License-Identifier: BSD-3-Clause */
/* A progress bar for work measured in bytes: done of total, rate, time left.
 * It is drawn only when the stream is a terminal, at most ten times a second; on anything else nothing
 * at all is written.
 */
#ifndef NBDSWAP_PROGRESS_H
#define NBDSWAP_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct progress {
	FILE *out; /* NULL: draws nothing */
	const char *label;
	uint64_t total,
		first; /* first: what was done at the first update, so that the rate is of our own work */
	int64_t began_ms, drawn_ms;
	bool started, drawn;
};

/* label (borrowed until progress_end) names the work; total in bytes, 0 when not known. */
void progress_begin(struct progress *p, FILE *out, const char *label, uint64_t total);
void progress_update(struct progress *p, uint64_t done);
void progress_end(struct progress *p); /* takes the bar off the terminal */

#define PROGRESS_TEXT 128
/* The line without colour or carriage return, for a bar elapsed_ms old; for progress_update and its test. */
char *progress_line(const char *label, uint64_t done, uint64_t total, uint64_t done_since, int64_t elapsed_ms,
		    char out[PROGRESS_TEXT]);

#endif
