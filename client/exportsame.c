/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/exportsame.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define PAGE 4096u

/* What the kernel's driver may send, and so needs. */
static const struct {
	uint16_t flag;
	const char *name;
} used_flags[] = {
	{ NBD_FLAG_SEND_FLUSH, "flushes" },
	{ NBD_FLAG_SEND_FUA, "forced writes (FUA)" },
	{ NBD_FLAG_SEND_TRIM, "discards" },
	{ NBD_FLAG_SEND_WRITE_ZEROES, "write-zeroes" },
	{ NBD_FLAG_CAN_MULTI_CONN, "several connections" },
};

struct list {
	char text[sizeof(((struct errbuf *)0)->text) - 160]; /* the remedy has room behind it */
	size_t used;
	bool other, stale; /* another export than was attached; by its generation */
};

static void add(struct list *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct list *l, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (l->used)
		l->used += (size_t)snprintf(l->text + l->used, sizeof(l->text) - l->used, "; ");
	va_start(ap, fmt);
	n = vsnprintf(l->text + l->used, sizeof(l->text) - l->used, fmt, ap);
	va_end(ap);
	l->used += n > 0 ? (size_t)n : 0;
	if (l->used > sizeof(l->text) - 1)
		l->used = sizeof(l->text) - 1;
}

static void compare_generation(struct list *l, const struct nego_export *got,
			       const struct export_expected *want)
{
	char now[GENERATION_TEXT], then[GENERATION_TEXT];

	if (!want->has_generation ||
	    (got->generation_told && generation_equal(&got->generation, &want->generation)))
		return;
	l->other = true;
	l->stale = got->generation_told;
	generation_format(&want->generation, then);
	if (!got->generation_told) {
		add(l, "it does not tell its generation, and told %s when the device was attached", then);
		return;
	}
	generation_format(&got->generation, now);
	if (got->generation.activation != want->generation.activation)
		add(l, "its content began anew (%s, and the device has pages of %s)", now, then);
	else
		add(l, "another client has had the export since (%s, and the device has pages of %s)", now,
		    then);
}

static void compare_flags(struct list *l, const struct nego_export *got, const struct export_expected *want)
{
	if ((got->flags & NBD_FLAG_READ_ONLY) && !(want->flags & NBD_FLAG_READ_ONLY))
		add(l, "it is read-only now");
	else if (!(got->flags & NBD_FLAG_READ_ONLY) && (want->flags & NBD_FLAG_READ_ONLY))
		add(l, "it was read-only and is writable now");
	for (size_t i = 0; i < sizeof(used_flags) / sizeof(used_flags[0]); i++)
		if (want->flags & ~got->flags & used_flags[i].flag)
			add(l, "it no longer takes %s", used_flags[i].name);
}

static void compare_requests(struct list *l, const struct nego_export *got,
			     const struct export_expected *want)
{
	if (got->block_min > PAGE)
		add(l, "it takes no request below %" PRIu32 " bytes, and swap moves pages of %u",
		    got->block_min, PAGE);
	if (got->block_max && got->block_max < want->request_bytes)
		add(l, "it takes no request above %" PRIu32 " bytes, and the device sends up to %" PRIu32,
		    got->block_max, want->request_bytes);
}

int export_same(const struct nego_export *got, const struct export_expected *want, struct errbuf *e)
{
	struct list l = { .used = 0 };

	if (got->size != want->size) {
		l.other = true;
		add(&l, "it has %" PRIu64 " bytes, and the device %" PRIu64, got->size, want->size);
	}
	compare_generation(&l, got, want);
	compare_flags(&l, got, want);
	compare_requests(&l, got, want);
	if (!l.used)
		return 0;
	if (l.other)
		return err_set(e, l.stale ? ESTALE : EMEDIUMTYPE,
			       "gives another export than the device was attached to: %s; bring the right "
			       "one back, or detach and attach anew",
			       l.text);
	return err_set(e, EINVAL,
		       "gives the export in another way than when the device was attached: %s; put its "
		       "configuration back",
		       l.text);
}
