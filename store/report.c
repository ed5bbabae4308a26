/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/report.h"

#include <stdarg.h>
#include <stdio.h>

void report_add(struct report *r, enum verdict verdict, const char *item, const char *fmt, ...)
{
	struct finding *f;
	va_list ap;

	if (!r)
		return;
	if (r->count < REPORT_MAX)
		f = &r->findings[r->count++];
	else if (verdict == VERDICT_FAIL)
		f = &r->findings[REPORT_MAX - 1];
	else
		return;
	f->verdict = verdict;
	f->item = item;
	va_start(ap, fmt);
	vsnprintf(f->text, sizeof(f->text), fmt, ap);
	va_end(ap);
}

enum verdict report_worst(const struct report *r)
{
	enum verdict worst = VERDICT_OK;

	for (size_t i = 0; i < r->count; i++)
		if (r->findings[i].verdict > worst)
			worst = r->findings[i].verdict;
	return worst;
}

const struct finding *report_first(const struct report *r, enum verdict verdict)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->findings[i].verdict == verdict)
			return &r->findings[i];
	return NULL;
}

const char *verdict_name(enum verdict verdict)
{
	switch (verdict) {
	case VERDICT_OK:
		return "ok";
	case VERDICT_SKIP:
		return "skip";
	case VERDICT_WARN:
		return "warn";
	case VERDICT_FAIL:
		break;
	}
	return "fail";
}
