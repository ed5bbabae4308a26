/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/waits.h"

#include <stdlib.h>

void waits_add(struct daemon *d, uint64_t client, enum control_wait_for what, const struct export *x)
{
	struct control_wait *w = calloc(1, sizeof(*w));

	if (!w)
		abort();
	w->client = client;
	w->what = what;
	w->x = x;
	w->next = d->waits;
	d->waits = w;
}

bool waits_take(struct daemon *d, enum control_wait_for what, const struct export *x, uint64_t *client)
{
	for (struct control_wait **p = &d->waits; *p; p = &(*p)->next) {
		struct control_wait *w = *p;

		if (w->what != what || w->x != x)
			continue;
		*client = w->client;
		*p = w->next;
		free(w);
		return true;
	}
	return false;
}

void waits_progress(struct daemon *d, enum control_wait_for what, const struct export *x, uint64_t done, uint64_t total)
{
	for (const struct control_wait *w = d->waits; w; w = w->next)
		if (w->what == what && w->x == x)
			control_progress(d->control, w->client, json_pack("{s:I, s:I}", "done", (json_int_t)done, "total",
									  (json_int_t)total));
}
