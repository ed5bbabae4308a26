/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/deactivate.h"

#include "server/daemon.h"
#include "server/jsontext.h"
#include "server/livesessions.h"
#include "server/log.h"
#include "server/waits.h"

#include <errno.h>

#define SESSIONS_END_MS 20000

static bool has_session(const struct daemon *d, const struct export *x)
{
	for (const struct session *i = d->sessions.first; i; i = i->next)
		if (i->x == x)
			return true;
	return false;
}

/* As when a client connects anew to its slot: what is not at the backend yet is dropped, what is there is waited for.  Those that wait for a
 * worker are ended once one has them.
 */
static void end_sessions(struct daemon *d, const struct export *x)
{
	for (struct session *i = d->sessions.first; i; i = i->next)
		if (i->x == x && !i->ending && i->place == SESSION_SERVED) {
			i->ending = true;
			worker_send(&d->worker, json_pack("{s:s, s:I}", "cmd", "end", "session", (json_int_t)i->id), NULL, 0);
		}
}

/* Only a client that said who it is can be known again elsewhere, and does come back by itself. */
static const char *nameless_client(const struct daemon *d, const struct export *x)
{
	for (const struct session *i = d->sessions.first; i; i = i->next)
		if (i->x == x && !i->slots)
			return i->peer;
	return NULL;
}

static void answer_all(struct daemon *d, const struct export *x, const struct errbuf *e)
{
	uint64_t client;

	while (waits_take(d, WAIT_DEACTIVATION, x, &client))
		if (e)
			control_refuse(d->control, client, "%s", e->text);
		else
			control_answer(d->control, client, json_pack("{s:b, s:s}", "ok", 1, "export", x->conf.name));
}

void deactivate_request(struct daemon *d, uint64_t client, const json_t *req)
{
	const char *name = json_string_value(json_object_get(req, "export")), *nameless;
	struct export *x = name ? exports_find(&d->exports, name) : NULL;
	struct lease_clock now;
	struct errbuf e;

	if (!x || x->removed || d->stopping) {
		control_refuse(d->control, client, d->stopping ? "the daemon is stopping" : "deactivate: there is no export \"%.64s\"",
			       name ? name : "");
		return;
	}
	if (x->deactivated && x->state == EXPORT_DOWN) {
		control_answer(d->control, client, json_pack("{s:b, s:s}", "ok", 1, "export", x->conf.name));
		return;
	}
	if (x->state != EXPORT_READY || x->deactivated) {
		if (export_refusal(x, &e) < 0)
			control_refuse(d->control, client, "%s", e.text);
		return;
	}
	if (x->conf.seal && !x->conf.key_file[0]) {
		control_refuse(d->control, client, "export \"%s\" is sealed with a key that ends with its use here (no key-file), so that its pages cannot be"
			       " moved; have its client detach, then stop or remove it", name);
		return;
	}
	nameless = nameless_client(d, x);
	if (nameless && !json_is_true(json_object_get(req, "force"))) {
		control_refuse(d->control, client, "export \"%s\" is in use by %s, which gave no slot, as nbdswap attach does, and may not come back"
			       " after its connection is ended: it would lose its swap; detach it first, or deactivate --force", name, nameless);
		return;
	}
	lease_clock_now(&now);
	x->deactivated = true;
	x->deactivate_until_ms = now.ms + SESSIONS_END_MS;
	waits_add(d, client, WAIT_DEACTIVATION, x);
	log_line(LOG_NOTE, "export %s is given back, as asked for", name);
	end_sessions(d, x);
	deactivate_tick(d);
}

void deactivate_tick(struct daemon *d)
{
	struct lease_clock now;
	struct errbuf e;

	lease_clock_now(&now);
	for (struct export *x = d->exports.first; x; x = x->next) {
		if (!x->deactivated || x->state != EXPORT_READY)
			continue;
		if (!has_session(d, x)) {
			sessions_release(&d->sessions, x);
		} else if (now.ms >= x->deactivate_until_ms) {
			x->deactivated = false;
			err_set(&e, ETIMEDOUT, "export \"%s\": a session has not ended after %d s, so it stays here (is the storage of %s there?)",
				x->conf.name, SESSIONS_END_MS / 1000, x->active_file);
			log_line(LOG_ERROR, "%s", e.text);
			answer_all(d, x, &e);
		} else {
			end_sessions(d, x);
		}
	}
}

bool deactivate_released(struct daemon *d, struct export *x)
{
	if (!x->deactivated)
		return false;
	if (x->why.code)
		answer_all(d, x, &x->why);
	else
		answer_all(d, x, NULL);
	if (!x->why.code)
		err_set(&x->why, ESHUTDOWN, "it was deactivated, to be used elsewhere; to have it here again: nbdswapctl activate %s", x->conf.name);
	log_line(LOG_NOTE, "export %s has been given back: %s", x->conf.name, x->active_file);
	return true;
}
