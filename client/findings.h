/* SPDX-License-Identifier: BSD-3-Clause */
/* What the preflight found: all of it, so that a person mends everything at once and not one refusal
 * after the other.
 */
#ifndef NBDSWAP_CLIENT_FINDINGS_H
#define NBDSWAP_CLIENT_FINDINGS_H

#include "common/exitcodes.h"

#include <jansson.h>
#include <stddef.h>

enum finding_kind { FINDING_OK, FINDING_WARN, FINDING_REFUSE };

struct finding {
	enum finding_kind kind;
	enum exit_code code; /* of a refusal */
	const char *item; /* short stable identifier; static storage */
	char text[640];
};

#define FINDINGS_MAX 40

struct findings {
	size_t count;
	struct finding list[FINDINGS_MAX];
};

void finding_ok(struct findings *f, const char *item, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void finding_warn(struct findings *f, const char *item, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
void finding_refuse(struct findings *f, enum exit_code code, const char *item, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* The exit code of the first refusal, EX_OK_ when there is none. */
enum exit_code findings_verdict(const struct findings *f);

/* A new array of {"item", "verdict", "text"}, with the exit "code" of a refusal; the caller's reference. */
json_t *findings_json(const struct findings *f);

#endif
