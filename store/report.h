/* SPDX-License-Identifier: BSD-3-Clause */
/* The findings of the activation checks: one line per thing looked at, each with its own verdict,
 * reason and remedy.  The same report refuses an activation, warns in the log and is what
 * `nbdswapctl check` prints.
 */
#ifndef NBDSWAP_REPORT_H
#define NBDSWAP_REPORT_H

#include <stdbool.h>
#include <stddef.h>

enum verdict {
	VERDICT_OK,
	VERDICT_SKIP, /* cannot be told on this backend; the reason says why */
	VERDICT_WARN, /* served, but said */
	VERDICT_FAIL, /* refused */
};

struct finding {
	enum verdict verdict;
	const char *item; /* short stable identifier, e.g. "holes"; static storage */
	char text[512];	  /* "has 3 holes, first at 12 MiB; run `nbdswapctl activate ws1` to allocate them" */
};

#define REPORT_MAX 48

struct report {
	size_t count;
	struct finding findings[REPORT_MAX];
};

/* Adds a finding (item must be a string literal).  The array holds more than there are checks; were it ever full, a
 * FAIL replaces the last one, so that a refusal cannot be dropped.
 */
void report_add(struct report *r, enum verdict verdict, const char *item, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* The worst verdict in the report (VERDICT_OK when it is empty). */
enum verdict report_worst(const struct report *r);

/* The first finding with this verdict, or NULL. */
const struct finding *report_first(const struct report *r, enum verdict verdict);

const char *verdict_name(enum verdict verdict); /* "ok", "skip", "warn", "fail" */

#endif
