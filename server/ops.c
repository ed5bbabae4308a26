/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/ops.h"

#include "server/deactivate.h"
#include "server/jsontext.h"
#include "server/ops_pages.h"
#include "server/reload.h"
#include "server/status.h"
#include "server/upgrade.h"
#include "server/waits.h"

#include <string.h>

struct op {
	const char *name;
	const char *members; /* those it knows beside op, "a:s b:b c:i": a string, a boolean, an integer; all optional here */
	void (*run)(struct daemon *d, uint64_t client, const json_t *req);
};

static bool flag(const json_t *req, const char *name)
{
	return json_is_true(json_object_get(req, name));
}

void ops_counted(struct daemon *d)
{
	uint64_t client;

	if (--d->counting == 0)
		while (waits_take(d, WAIT_COUNT, NULL, &client))
			control_answer(d->control, client, status_json(d));
}

/* Pages are counted in helper threads; who asks meanwhile gets the same figures. */
static void op_status(struct daemon *d, uint64_t client, const json_t *req)
{
	(void)req;
	if (d->counting == 0)
		for (struct export *x = d->exports.first; x; x = x->next)
			d->counting += export_count(x);
	if (d->counting > 0)
		waits_add(d, client, WAIT_COUNT, NULL);
	else
		control_answer(d->control, client, status_json(d));
}

/* The findings that an administrator should see after an activation. */
static json_t *report_json(const struct report *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:o}", "verdict", verdict_name(r->findings[i].verdict), "item",
						      r->findings[i].item, "text", json_text(r->findings[i].text)));
	return list;
}

static void answer_activated(struct daemon *d, uint64_t client, const struct export *x, bool already)
{
	json_t *answer = json_pack("{s:b, s:s, s:b, s:o}", "ok", x->state == EXPORT_READY, "export", x->conf.name, "already",
				   already, "report", report_json(&x->report));

	if (x->state == EXPORT_READY)
		json_object_set_new(answer, "size", json_integer((json_int_t)backing_data_size(x->backing)));
	else
		json_object_set_new(answer, "error", json_text(x->why.code ? x->why.text : "it was released"));
	control_answer(d->control, client, answer);
}

static void op_activate(struct daemon *d, uint64_t client, const json_t *req)
{
	const char *name = json_string_value(json_object_get(req, "export"));
	struct export *x = name ? exports_find(&d->exports, name) : NULL;
	bool rewrite = flag(req, "rewrite"), no_rewrite = flag(req, "no_rewrite"), force = flag(req, "force");
	struct errbuf e;

	if (!name || (rewrite && no_rewrite)) {
		control_refuse(d->control, client, name ? "activate: rewrite and no_rewrite contradict each other" :
							  "activate needs \"export\"");
		return;
	}
	if (!x || x->removed || d->stopping) {
		control_refuse(d->control, client, d->stopping ? "the daemon is stopping" : "there is no export \"%s\" in the"
			       " configuration; add [export %s] and reload", name, name);
		return;
	}
	if (x->state != EXPORT_READY && x->state != EXPORT_DOWN) {
		export_refusal(x, &e);
		control_refuse(d->control, client, "%s", e.text);
		return;
	}
	if (x->state == EXPORT_READY && !rewrite && !x->file_lost[0]) {
		answer_activated(d, client, x, true);
		return;
	}
	if (sessions_held(x)) {
		control_refuse(d->control, client, "export \"%s\" is in use by client %s; it must detach first", name,
			       x->lease.holder);
		return;
	}
	waits_add(d, client, WAIT_ACTIVATION, x);
	x->deactivated = false;
	atomic_store(&x->interrupt, false);
	x->provision = rewrite ? PROVISION_RENEW : no_rewrite ? PROVISION_CREATE : PROVISION_REWRITE;
	x->force = force;
	if (x->state == EXPORT_READY) {
		x->again = true;
		sessions_release(&d->sessions, x);
	} else {
		export_activate(x, x->provision, force);
	}
}

void ops_progress(struct daemon *d, const struct export *x)
{
	waits_progress(d, WAIT_ACTIVATION, x, atomic_load(&x->done), atomic_load(&x->total));
}

void ops_activated(struct daemon *d, const struct export *x)
{
	uint64_t client;

	while (waits_take(d, WAIT_ACTIVATION, x, &client))
		answer_activated(d, client, x, false);
}

static void op_stop(struct daemon *d, uint64_t client, const json_t *req)
{
	if (!flag(req, "force"))
		for (const struct export *x = d->exports.first; x; x = x->next)
			if (sessions_held(x)) {
				control_refuse(d->control, client, "export \"%s\" is in use by client %s, which would lose its swap;"
					       " detach it first, or stop --force", x->conf.name, x->lease.holder);
				return;
			}
	if (d->stop_client) {
		control_refuse(d->control, client, "the daemon is stopping already");
		return;
	}
	d->stop_client = client; /* answered at the very end */
	daemon_stop(d);
}

static void op_reload(struct daemon *d, uint64_t client, const json_t *req)
{
	(void)req;
	control_answer(d->control, client, daemon_reload(d));
}

static const struct op ops[] = {
	{ "status", "", op_status },
	{ "activate", "export:s rewrite:b no_rewrite:b force:b", op_activate },
	{ "deactivate", "export:s force:b", deactivate_request },
	{ "stop", "force:b", op_stop },
	{ "reload", "", op_reload },
	{ "upgrade", "", upgrade_request },
	{ "reload_worker", "force:b wait:b", reload_worker_request },
	{ "lost", "export:s from:i", ops_lost },
	{ "reset", "export:s", ops_reset },
	{ "scrub", "export:s rate:i wait:b", ops_scrub },
	{ "scrub_status", "export:s", ops_scrub_status },
	{ "scrub_stop", "export:s", ops_scrub_stop },
};

/* Unknown members and wrong types are refused: a mistyped "force" must not be taken for its absence. */
static bool members_ok(struct daemon *d, uint64_t client, const struct op *op, const json_t *req)
{
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)req, key, value) {
		const char *at = op->members;
		size_t n = strlen(key);

		if (strcmp(key, "op") == 0)
			continue;
		while (*at && !(strncmp(at, key, n) == 0 && at[n] == ':')) {
			at += strcspn(at, " ");
			at += strspn(at, " ");
		}
		if (!*at) {
			control_refuse(d->control, client, "%s: unknown member \"%.64s\"", op->name, key);
			return false;
		}
		if (!(at[n + 1] == 's' ? json_is_string(value) : at[n + 1] == 'i' ? json_is_integer(value) : json_is_boolean(value))) {
			control_refuse(d->control, client, "%s: \"%s\" must be %s", op->name, key,
				       at[n + 1] == 's' ? "a string" : at[n + 1] == 'i' ? "an integer" : "true or false");
			return false;
		}
	}
	return true;
}

void ops_request(void *arg, uint64_t client, const json_t *req)
{
	struct daemon *d = arg;
	const char *name = json_string_value(json_object_get(req, "op"));

	if (!name) {
		control_refuse(d->control, client, "the request has no \"op\" (a string)");
		return;
	}
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (strcmp(ops[i].name, name) == 0) {
			if (members_ok(d, client, &ops[i], req))
				ops[i].run(d, client, req);
			return;
		}
	control_refuse(d->control, client, "unknown op \"%.64s\"; nbdswapctl(8) lists those there are", name);
}
