/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/sessions.h"

#include "common/broker.h"
#include "common/exportname.h"
#include "server/jsontext.h"
#include "server/log.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

void lease_clock_now(struct lease_clock *now)
{
	struct timespec ts;

	clock_gettime(CLOCK_BOOTTIME, &ts);
	now->ms = (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
	now->wall = time(NULL);
}

bool sessions_held(const struct export *x)
{
	struct lease_clock now;

	lease_clock_now(&now);
	return lease_held(&x->lease, &now);
}

size_t sessions_count(const struct sessions *s)
{
	size_t n = 0;

	for (const struct session *i = s->first; i; i = i->next)
		n++;
	return n;
}

static void refuse(struct sessions *s, json_int_t id, const char *reason)
{
	worker_send(s->worker, json_pack("{s:I, s:b, s:o}", "id", id, "ok", 0, "error", json_text(reason)), NULL, 0);
}

/* May this client have it?  Takes the lease when it may. */
static struct export *grant(struct sessions *s, const char *text, const char *peer, struct errbuf *e)
{
	struct export_request req;
	char holder[LEASE_HOLDER_MAX];
	struct lease_clock now;
	struct export *x;

	if (export_request_parse(text, &req, e) < 0 || lease_holder(req.client, peer, holder, e) < 0)
		return NULL;
	x = exports_find(s->exports, req.name);
	if (s->closing) {
		err_set(e, ESHUTDOWN, "the server is stopping");
		return NULL;
	}
	if (!x || (x->removed && !sessions_held(x))) {
		err_set(e, ENOENT, "there is no export \"%.64s\" here; nbdinfo --list shows those there are", req.name);
		return NULL;
	}
	if (export_refusal(x, e) < 0)
		return NULL;
	lease_clock_now(&now);
	return lease_open(&x->lease, x->conf.name, holder, peer, &now, e) < 0 ? NULL : x;
}

static void do_open(struct sessions *s, json_int_t id, const json_t *msg)
{
	const char *text = json_string_value(json_object_get(msg, "export"));
	const char *peer = json_string_value(json_object_get(msg, "peer"));
	struct session *session;
	struct errbuf e;
	struct export *x;
	int fds[3];
	size_t nfds = 2;

	if (!text || !peer) {
		refuse(s, id, "open needs export and peer");
		return;
	}
	x = grant(s, text, peer, &e);
	if (!x) {
		log_line(LOG_WARN, "refused to %s: %s", peer, e.text);
		refuse(s, id, e.text);
		return;
	}
	session = calloc(1, sizeof(*session));
	if (!session)
		abort();
	session->id = ++s->last_id;
	session->x = x;
	session->next = s->first;
	s->first = session;
	x->used = true;
	log_line(LOG_NOTE, "export %s: session %llu of %s from %s", x->conf.name, (unsigned long long)session->id,
		 x->lease.holder, peer);
	fds[0] = backing_worker_fd(x->backing);
	fds[1] = table_fd(x->table);
	fds[nfds] = backing_key_fd(x->backing);
	nfds += fds[nfds] >= 0;
	worker_send(s->worker, json_pack("{s:I, s:b, s:I, s:s, s:I, s:s, s:o}", "id", id, "ok", 1, "session",
					 (json_int_t)session->id, "name", x->conf.name, "size",
					 (json_int_t)backing_data_size(x->backing), "backend",
					 backing_backend(x->backing)->name, "path", json_text(backing_path(x->backing))), fds, nfds);
}

static void end_session(struct sessions *s, struct session **p)
{
	struct session *i = *p;
	struct export *x = i->x;

	log_line(LOG_NOTE, "export %s: session %llu has ended", x->conf.name, (unsigned long long)i->id);
	*p = i->next;
	free(i);
	lease_close(&x->lease);
	if (x->removed && !sessions_held(x) && x->state == EXPORT_READY)
		sessions_release(s, x);
}

static void do_close(struct sessions *s, json_int_t id, const json_t *msg)
{
	uint64_t session = (uint64_t)json_integer_value(json_object_get(msg, "session"));

	for (struct session **p = &s->first; *p; p = &(*p)->next)
		if ((*p)->id == session) {
			worker_send(s->worker, json_pack("{s:I, s:b}", "id", id, "ok", 1), NULL, 0);
			end_session(s, p);
			return;
		}
	refuse(s, id, "there is no such session");
}

static void do_list(struct sessions *s, json_int_t id)
{
	size_t used = 128; /* the envelope */
	json_t *list = json_array();
	json_t *answer = json_pack("{s:I, s:b}", "id", id, "ok", 1);

	for (struct export *x = s->exports->first; x; x = x->next) {
		json_t *item;
		size_t size;

		if (x->removed)
			continue;
		item = json_pack("{s:s, s:o}", "name", x->conf.name, "description", json_text(x->conf.description));
		size = json_dumpb(item, NULL, 0, JSON_COMPACT) + 1;
		if (used + size > FDMSG_MAX) {
			json_decref(item);
			json_object_set_new(answer, "truncated", json_true());
			break;
		}
		used += size;
		json_array_append_new(list, item);
	}
	json_object_set_new(answer, "exports", list);
	worker_send(s->worker, answer, NULL, 0);
}

static void refuse_reopen(struct sessions *s, json_int_t id, const struct errbuf *e)
{
	worker_send(s->worker, json_pack("{s:I, s:b, s:b, s:o}", "id", id, "ok", 0, "again", e->code == EAGAIN, "error",
					 json_text(e->text)), NULL, 0);
}

static void do_reopen(struct sessions *s, json_int_t id, const json_t *msg)
{
	const char *name = json_string_value(json_object_get(msg, "export"));
	struct export *x = name ? exports_find(s->exports, name) : NULL;
	struct errbuf e;

	if (!x || !x->used)
		err_set(&e, ENOENT, "this worker has no export \"%.64s\"", name ? name : "");
	else if (export_reopen(x, &e) == 0) {
		x->reopen_id = (uint64_t)id;
		return;
	}
	refuse_reopen(s, id, &e);
}

void sessions_reopened(struct sessions *s, struct export *x)
{
	json_int_t id = (json_int_t)x->reopen_id;
	int fd = backing_fd(x->backing);

	if (id == 0)
		return;
	x->reopen_id = 0;
	if (x->reopened == REOPEN_SAME) {
		worker_send(s->worker, json_pack("{s:I, s:b}", "id", id, "ok", 1), &fd, 1);
		return;
	}
	x->reopen_error.code = x->reopened == REOPEN_LATER ? EAGAIN : ESTALE;
	refuse_reopen(s, id, &x->reopen_error);
}

static void forgotten(struct sessions *s, const json_t *msg)
{
	const char *name = json_string_value(json_object_get(msg, "export"));
	struct export *x = name ? exports_find(s->exports, name) : NULL;

	if (x && x->state == EXPORT_FORGETTING)
		export_release(x);
}

void sessions_message(struct sessions *s, const json_t *msg)
{
	const char *event = json_string_value(json_object_get(msg, "event"));
	const char *op = json_string_value(json_object_get(msg, "op"));
	json_int_t id = json_integer_value(json_object_get(msg, "id"));

	if (event && strcmp(event, "forgotten") == 0)
		forgotten(s, msg);
	else if (op && strcmp(op, "open") == 0)
		do_open(s, id, msg);
	else if (op && strcmp(op, "close") == 0)
		do_close(s, id, msg);
	else if (op && strcmp(op, "reopen") == 0)
		do_reopen(s, id, msg);
	else if (op && strcmp(op, "list") == 0)
		do_list(s, id);
	else if (op)
		refuse(s, id, "unknown op");
	else
		log_line(LOG_ERROR, "the worker sent a message with neither a known event nor an op");
}

/* A write that was held, or begun by a session granted while the worker drained, is not in what "drained" says. */
static bool has_unfinished(struct table *t)
{
	for (uint32_t i = 0; i < SLOTS; i++)
		if (atomic_load(&table_slot(t, i)->use) != SLOT_FREE)
			return true;
	return false;
}

void sessions_worker_died(struct sessions *s, bool drained)
{
	struct lease_clock now;

	lease_clock_now(&now);
	while (s->first) {
		struct session *i = s->first;

		s->first = i->next;
		free(i);
	}
	for (struct export *x = s->exports->first; x; x = x->next) {
		bool unsettled = x->used && (!drained || (x->table && has_unfinished(x->table)));

		lease_end_all(&x->lease, &now, SESSIONS_KEEP_MS);
		x->used = false;
		x->reopen_id = 0;
		x->dirty |= unsettled;
		if (x->state == EXPORT_FORGETTING)
			export_release(x);
		/* Not before the next worker is started, but before it gets the export: one backend that hangs must not
		 * keep all other exports away.  When stopping, the release that follows does the same.
		 */
		else if (x->state == EXPORT_READY && unsettled && !s->closing)
			export_settle(x);
	}
}

void sessions_release(struct sessions *s, struct export *x)
{
	struct lease_clock now;

	if (!x->used) {
		export_release(x);
		return;
	}
	lease_clock_now(&now);
	x->state = EXPORT_FORGETTING;
	x->forget_until_ms = now.ms + SESSIONS_FORGET_MS;
	worker_send(s->worker, json_pack("{s:s, s:s}", "cmd", "forget", "export", x->conf.name), NULL, 0);
}

void sessions_tick(struct sessions *s)
{
	struct lease_clock now;

	lease_clock_now(&now);
	for (struct export *x = s->exports->first; x; x = x->next) {
		if (x->state == EXPORT_FORGETTING && now.ms >= x->forget_until_ms) {
			log_line(LOG_ERROR, "export %s: the worker does not close it; it is released all the same", x->conf.name);
			export_release(x);
		} else if (x->removed && x->state == EXPORT_READY && !sessions_held(x)) {
			sessions_release(s, x);
		}
	}
}
