/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/exports.h"

#include "server/keep.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct export *exports_find(struct exports *s, const char *name)
{
	for (struct export *x = s->first; x; x = x->next)
		if (strcmp(x->conf.name, name) == 0)
			return x;
	return NULL;
}

struct export *exports_add(struct exports *s, const struct conf_export *conf)
{
	struct export *x = calloc(1, sizeof(*x)), **p;

	if (!x)
		abort();
	x->set = s;
	x->conf = *conf;
	x->reserve = -1;
	for (p = &s->first; *p; p = &(*p)->next)
		;
	*p = x;
	return x;
}

void exports_remove(struct exports *s, struct export *x)
{
	struct export **p;

	for (p = &s->first; *p != x; p = &(*p)->next)
		;
	*p = x->next;
	if (x->reserve >= 0)
		poolmem_give(s->pool, x->reserve);
	free(x->kept);
	free(x->kept_text);
	free(x);
}

static bool file_taken(const struct export *x)
{
	for (const struct export *i = x->set->first; i; i = i->next)
		if (i != x && i->state != EXPORT_DOWN && strcmp(i->active_file, x->conf.file) == 0)
			return true;
	return false;
}

void exports_provide(struct export *x)
{
	if (x->deactivated)
		return;
	x->blocked = file_taken(x);
	if (x->blocked)
		err_set(&x->why, EBUSY, "its file %.400s is still another export's, which is being released", x->conf.file);
	else
		export_activate(x, x->conf.create ? PROVISION_CREATE : PROVISION_NEVER, false);
}

void exports_unblock(struct exports *s)
{
	for (struct export *x = s->first; x; x = x->next)
		if (x->blocked && x->state == EXPORT_DOWN)
			exports_provide(x);
}

bool exports_idle(const struct exports *s)
{
	return job_runner_idle(s->backends) && job_runner_idle(s->checks) && job_runner_idle(s->quick);
}

void export_unwanted(struct export *x)
{
	x->removed = true;
	x->again = x->blocked = false;
	if (x->state == EXPORT_ACTIVATING)
		atomic_store(&x->interrupt, true);
}

void exports_interrupt(struct exports *s)
{
	for (struct export *x = s->first; x; x = x->next) {
		atomic_store(&x->interrupt, true);
		export_scrub_stop(x, "the daemon is stopping");
	}
}

int export_refusal(const struct export *x, struct errbuf *e)
{
	uint64_t done = atomic_load(&x->done), total = atomic_load(&x->total);
	const char *name = x->conf.name;

	switch (x->state) {
	case EXPORT_READY:
		if (x->deactivated)
			return err_set(e, EAGAIN, "export \"%s\" is being deactivated; it will be had elsewhere", name);
		if (x->file_lost[0])
			return err_set(e, EIO, "export \"%s\" is lost: %.560s; when that is mended: nbdswapctl activate %s", name,
				       x->file_lost, name);
		if (x->resetting)
			return err_set(e, EAGAIN, "export \"%s\" is being reset; try again", name);
		return 0;
	case EXPORT_ACTIVATING:
		if (total > 0)
			return err_set(e, EAGAIN, "export \"%s\" is being allocated, %u %%; try again when that is done", name,
				       (unsigned)(done / (total / 100 + 1)));
		return err_set(e, EAGAIN, "export \"%s\" is being activated; try again", name);
	case EXPORT_SETTLING:
		return err_set(e, EAGAIN, "export \"%s\" is being brought back after its worker died; try again", name);
	case EXPORT_ADOPTING:
		return err_set(e, EAGAIN, "export \"%s\" is being taken over from an earlier nbdswapd; try again", name);
	case EXPORT_FORGETTING:
	case EXPORT_RELEASING:
		return err_set(e, EAGAIN, "export \"%s\" is being released; try again", name);
	case EXPORT_DOWN:
		break;
	}
	if (x->why.code)
		return err_set(e, EIO, "export \"%s\" is not active: %.600s", name, x->why.text);
	return err_set(e, EIO, "export \"%s\" is not active; nbdswapctl activate %s", name, name);
}

const char *export_state_name(const struct export *x)
{
	switch (x->state) {
	case EXPORT_READY:
		return x->file_lost[0] ? "lost" : "ready";
	case EXPORT_ACTIVATING:
		return atomic_load(&x->total) ? "allocating" : "activating";
	case EXPORT_SETTLING:
		return "settling";
	case EXPORT_ADOPTING:
		return "adopting";
	case EXPORT_FORGETTING:
	case EXPORT_RELEASING:
		return "releasing";
	case EXPORT_DOWN:
		break;
	}
	return x->deactivated ? "deactivated" : x->why.code ? "failed" : "down";
}
