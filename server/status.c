/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/status.h"

#include "server/confkeys.h"
#include "server/jsontext.h"

#include <linux/tcp.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#define COUNT(c, field) #field, (json_int_t)atomic_load_explicit(&(c)->field, memory_order_relaxed)

static json_t *counters_json(struct table *t)
{
	struct table_counters *c = table_counters(t);
	json_t *o = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", COUNT(c, reads), COUNT(c, writes), COUNT(c, discards),
			      COUNT(c, read_pages), COUNT(c, written_pages), COUNT(c, discarded_pages), COUNT(c, table_pages),
			      COUNT(c, same_pages));
	json_t *bad = json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", COUNT(c, errors), COUNT(c, lost_pages),
				COUNT(c, checks_failed), COUNT(c, reread_good), COUNT(c, retries), COUNT(c, errors_passing),
				COUNT(c, errors_lasting), COUNT(c, errors_impossible), COUNT(c, in_flight), COUNT(c, held));

	json_object_update(o, bad);
	json_decref(bad);
	return o;
}

/* What holds for its pages, of the table that is in use. */
static json_t *rules_json(const struct export *x)
{
	const struct table_spec *spec = table_spec(x->table);
	char check[CONF_WORD_MAX], seal[CONF_WORD_MAX], survive[CONF_WORD_MAX];
	json_t *o = json_pack("{s:s, s:s, s:s, s:I}", "check", conf_key_word("check", spec->check, check), "seal",
			      conf_key_word("seal", spec->seal, seal), "survive", conf_key_word("survive", spec->survive, survive), "retry_time",
			      (json_int_t)table_retry_time(x->table));

	if (spec->seal != PAGE_SEAL_NONE)
		json_object_set_new(o, "key", json_string(x->conf.key_file[0] ? "file" : "ephemeral"));
	return o;
}

json_t *scrub_json(const struct export *x)
{
	const struct export_scrub *s = &x->scrub;
	const struct scrub_totals *t = &s->totals;
	time_t ended = s->state == SCRUB_RUNNING ? time(NULL) : s->ended;
	json_t *o;

	if (s->state == SCRUB_NONE)
		return json_pack("{s:s}", "state", scrub_state_name(s->state));
	o = json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "state", scrub_state_name(s->state),
		      "found_bad", scrub_found_bad(s), "started", (json_int_t)s->started, "seconds",
		      (json_int_t)(ended - s->started), "rate", (json_int_t)atomic_load(&s->control.rate), "pages",
		      (json_int_t)s->pages, COUNT(t, position), COUNT(t, verified), COUNT(t, unchecked), COUNT(t, skipped),
		      COUNT(t, mismatched), COUNT(t, lost), COUNT(t, lost_before), COUNT(t, unreadable));
	json_object_set_new(o, "bytes", json_integer((json_int_t)atomic_load(&t->bytes)));
	if (s->state != SCRUB_RUNNING)
		json_object_set_new(o, "ended", json_integer((json_int_t)s->ended));
	if (s->why.code)
		json_object_set_new(o, "why", json_string(s->why.text));
	return o;
}

static json_t *export_json(struct export *x)
{
	json_t *o = json_pack("{s:s, s:s, s:b, s:o, s:o, s:I, s:i}", "name", x->conf.name, "state", export_state_name(x), "removed",
			      x->removed, "file", json_text(x->conf.file), "description", json_text(x->conf.description), "size",
			      (json_int_t)x->conf.size, "sessions", (int)x->lease.sessions);

	if (x->why.code)
		json_object_set_new(o, "error", json_text(x->why.text));
	if (x->file_lost[0])
		json_object_set_new(o, "error", json_text(x->file_lost));
	if (x->alarm[0])
		json_object_set_new(o, "alarm", json_text(x->alarm));
	if (x->state == EXPORT_ACTIVATING && atomic_load(&x->total) > 0) {
		json_object_set_new(o, "allocated", json_integer((json_int_t)atomic_load(&x->done)));
		json_object_set_new(o, "allocate", json_integer((json_int_t)atomic_load(&x->total)));
	}
	if (sessions_held(x)) {
		json_object_set_new(o, "client", json_text(x->lease.holder));
		json_object_set_new(o, "peer", json_text(x->lease.peer));
		json_object_set_new(o, "since", json_integer((json_int_t)x->lease.since));
	}
	json_object_set_new(o, "scrub", scrub_json(x));
	/* While it is settled or released, its table and backing are a helper thread's. */
	if (x->state != EXPORT_READY)
		return o;
	json_object_set_new(o, "size", json_integer((json_int_t)backing_data_size(x->backing)));
	json_object_set_new(o, "backend", json_string(backing_backend(x->backing)->name));
	json_object_set_new(o, "path", json_text(backing_path(x->backing)));
	json_object_set_new(o, "activation", json_integer((json_int_t)backing_activation(x->backing)));
	json_object_set_new(o, "rules", rules_json(x));
	json_object_set_new(o, "counters", counters_json(x->table));
	json_object_set_new(o, "pages", json_pack("{s:I, s:I, s:I, s:I, s:I}", "fresh", (json_int_t)x->totals.fresh,
						  "same", (json_int_t)x->totals.same, "zero", (json_int_t)x->totals.zero,
						  "written", (json_int_t)x->totals.written, "lost",
						  (json_int_t)x->totals.lost));
	return o;
}

/* What passed its socket so far, as the socket knows. */
static void add_bytes(json_t *o, int sock)
{
	struct tcp_info info;
	socklen_t n = sizeof(info);

	if (getsockopt(sock, IPPROTO_TCP, TCP_INFO, &info, &n) < 0 || n < offsetof(struct tcp_info, tcpi_segs_out))
		return; /* not TCP */
	json_object_set_new(o, "received", json_integer((json_int_t)info.tcpi_bytes_received));
	json_object_set_new(o, "acknowledged", json_integer((json_int_t)info.tcpi_bytes_acked));
}

static json_t *session_json(const struct session *i)
{
	json_t *o = json_pack("{s:I, s:s, s:o, s:o, s:I, s:b, s:s}", "epoch", (json_int_t)i->id, "export", i->x->conf.name, "client",
			      json_text(i->client), "peer", json_text(i->peer), "since", (json_int_t)i->since, "live", session_outlives(i),
			      "state", session_state_name(i));

	if (i->slots)
		json_object_set_new(o, "slot", json_sprintf("%u/%u", i->slot, i->slots));
	if (i->sock >= 0)
		add_bytes(o, i->sock);
	return o;
}

static json_t *sessions_json(const struct sessions *s)
{
	json_t *list = json_array();

	for (const struct session *i = s->first; i; i = i->next)
		json_array_insert_new(list, 0, session_json(i)); /* the oldest first */
	return list;
}

static json_t *resumption_json(const struct resumption *r)
{
	json_t *o = json_pack("{s:b, s:i, s:i}", "under_way", r->under_way, "resumed", (int)r->resumed, "cut", (int)r->lost);

	if (!r->under_way)
		json_object_set_new(o, "ms", json_integer((json_int_t)r->ms));
	return o;
}

static json_t *worker_json(const struct worker *w, const struct resumption *r)
{
	json_t *o = json_pack("{s:s, s:s, s:i, s:i}", "state", worker_state_name(w->sup.state), "engine", engine_name(w->engine), "pid",
			      (int)w->pid, "restarts", (int)w->sup.restarts);

	if (w->unheard)
		json_object_set_new(o, "unheard", json_true());
	if (r->under_way || r->ms >= 0)
		json_object_set_new(o, "resumption", resumption_json(r));

	if (w->sup.state == WORKER_READY) {
		json_object_set_new(o, "locked_kib", json_integer((json_int_t)w->locked_kib));
		json_object_set_new(o, "warnings", w->warnings ? json_deep_copy(w->warnings) : json_array());
	}
	if (w->last_exit[0])
		json_object_set_new(o, "last_exit", json_text(w->last_exit));
	return o;
}

json_t *status_json(struct daemon *d)
{
	json_t *exports = json_array(), *listen = json_array();

	for (struct export *x = d->exports.first; x; x = x->next)
		json_array_append_new(exports, export_json(x));
	for (size_t i = 0; i < d->listeners.count; i++) {
		char text[LISTEN_TEXT];

		listen_bound(d->listeners.fd[i], &d->listeners.addr[i], text);
		json_array_append_new(listen, json_text(text));
	}
	return json_pack("{s:b, s:s, s:i, s:i, s:I, s:b, s:o, s:o, s:o, s:o, s:o}", "ok", 1, "version", PACKAGE_VERSION, "pid",
			 (int)getpid(), "takeovers", (int)d->takeovers, "started", (json_int_t)d->started, "stopping", d->stopping > 0, "config", json_text(d->conf->path),
			 "listen", listen, "worker", worker_json(&d->worker, &d->sessions.resumption), "exports", exports, "sessions",
			 sessions_json(&d->sessions));
}

void status_line(const struct daemon *d, char *out, size_t size)
{
	size_t total = 0, ready = 0, alarms = 0;

	for (const struct export *x = d->exports.first; x; x = x->next) {
		total++;
		ready += x->state == EXPORT_READY && !x->file_lost[0];
		alarms += x->alarm[0] || x->file_lost[0];
	}
	snprintf(out, size, "%sworker %s, %zu of %zu exports ready, %zu sessions%s", d->stopping ? "stopping; " : "",
		 worker_state_name(d->worker.sup.state), ready, total, sessions_count(&d->sessions),
		 alarms ? ", ALARM (nbdswapctl status)" : "");
}
