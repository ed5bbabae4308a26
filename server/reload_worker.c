/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/reload_worker.h"

#include "server/daemon.h"
#include "server/log.h"
#include "server/waits.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

void reload_worker_request(struct daemon *d, uint64_t client, const json_t *req)
{
	struct worker *w = &d->worker;
	size_t cut = sessions_cut_by_end(&d->sessions);
	const char *program = worker_program(w->conf);

	if (d->stopping) {
		control_refuse(d->control, client, "the daemon is stopping");
		return;
	}
	if (w->sup.state != WORKER_READY && w->sup.state != WORKER_STARTING && w->sup.state != WORKER_BACKOFF) {
		control_refuse(d->control, client, "the worker is %s; try again when it is ready", worker_state_name(w->sup.state));
		return;
	}
	if (cut > 0 && !json_is_true(json_object_get(req, "force"))) {
		char text[320];

		snprintf(text, sizeof(text), "%zu sessions would be cut, for they cannot outlive their worker (%s): their clients lose"
			 " their swap; detach them first, or reload-worker --force", cut, engine_name(w->engine));
		control_answer(d->control, client, json_pack("{s:b, s:b, s:s}", "ok", 0, "busy", 1, "error", text));
		return;
	}
	/* What it does once it runs is not known, but without it the sessions would wait for nothing. */
	if (access(program, X_OK) < 0) {
		control_refuse(d->control, client, "%s cannot be run (%s), so the worker stays as it is", program, strerror(errno));
		return;
	}
	log_line(LOG_NOTE, "the worker is replaced, as asked for");
	w->no_uring = false; /* it may be another program, or another kernel's mind */
	d->reload = w->pid > 0 ? RELOAD_ENDING : RELOAD_STARTING;
	if (json_is_true(json_object_get(req, "wait")))
		waits_add(d, client, WAIT_RELOAD, NULL);
	else
		control_answer(d->control, client, json_pack("{s:b}", "ok", 1));
	worker_event(w, WORKER_EV_RENEW);
}

void reload_worker_died(struct daemon *d)
{
	uint64_t client;

	if (d->reload == RELOAD_ENDING) {
		d->reload = RELOAD_STARTING;
		return;
	}
	if (d->reload == RELOAD_NONE)
		return;
	d->reload = RELOAD_NONE;
	d->reload_kept = false;
	while (waits_take(d, WAIT_RELOAD, NULL, &client))
		control_refuse(d->control, client, "the new worker did not come into service: %s; it is tried again, and sessions wait for it",
			       d->worker.last_exit);
}

static json_t *answer(const struct daemon *d)
{
	const struct resumption *r = &d->sessions.resumption;
	json_t *o = json_pack("{s:b, s:i, s:s}", "ok", 1, "pid", (int)d->worker.pid, "engine", engine_name(d->worker.engine));

	if (d->reload_kept) {
		json_object_set_new(o, "resumed", json_integer(r->resumed));
		json_object_set_new(o, "cut", json_integer(r->lost));
		json_object_set_new(o, "ms", json_integer((json_int_t)r->ms));
	}
	return o;
}

void reload_worker_check(struct daemon *d)
{
	uint64_t client;

	if (d->reload == RELOAD_NONE)
		return;
	if (d->stopping) {
		d->reload = RELOAD_NONE;
		while (waits_take(d, WAIT_RELOAD, NULL, &client))
			control_refuse(d->control, client, "the daemon is stopping");
		return;
	}
	d->reload_kept |= d->reload == RELOAD_STARTING && d->sessions.resumption.under_way;
	if (d->reload != RELOAD_STARTING || d->worker.sup.state != WORKER_READY || d->sessions.resumption.under_way)
		return;
	while (waits_take(d, WAIT_RELOAD, NULL, &client))
		control_answer(d->control, client, answer(d));
	d->reload = RELOAD_NONE;
	d->reload_kept = false;
}
