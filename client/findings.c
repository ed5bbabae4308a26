/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/findings.h"

#include <stdarg.h>
#include <stdio.h>

static void add(struct findings *f, enum finding_kind kind, enum exit_code code, const char *item,
		const char *fmt, va_list ap)
{
	/* Were the list ever full, the newest takes the last place: a refusal must not be dropped. */
	struct finding *n = &f->list[f->count < FINDINGS_MAX ? f->count++ : FINDINGS_MAX - 1];

	n->kind = kind;
	n->code = code;
	n->item = item;
	vsnprintf(n->text, sizeof(n->text), fmt, ap);
}

void finding_ok(struct findings *f, const char *item, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(f, FINDING_OK, EX_OK_, item, fmt, ap);
	va_end(ap);
}

void finding_warn(struct findings *f, const char *item, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(f, FINDING_WARN, EX_OK_, item, fmt, ap);
	va_end(ap);
}

void finding_refuse(struct findings *f, enum exit_code code, const char *item, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	add(f, FINDING_REFUSE, code, item, fmt, ap);
	va_end(ap);
}

enum exit_code findings_verdict(const struct findings *f)
{
	for (size_t i = 0; i < f->count; i++)
		if (f->list[i].kind == FINDING_REFUSE)
			return f->list[i].code;
	return EX_OK_;
}

json_t *findings_json(const struct findings *f)
{
	static const char *const names[] = { "ok", "warn", "refuse" };
	json_t *array = json_array();

	for (size_t i = 0; i < f->count; i++) {
		const struct finding *x = &f->list[i];
		json_t *j = json_pack("{s:s, s:s, s:s}", "item", x->item, "verdict", names[x->kind], "text",
				      x->text);

		if (x->kind == FINDING_REFUSE)
			json_object_set_new(j, "code", json_integer((int)x->code));
		json_array_append_new(array, j);
	}
	return array;
}
