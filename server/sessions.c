/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/sessions.h"

#include "common/broker.h"
#include "server/holds.h"
#include "server/jsontext.h"
#include "server/log.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

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

bool session_outlives(const struct session *i)
{
	int protocol = 0;

	return i->sock >= 0 && getsockopt(i->sock, SOL_SOCKET, SO_PROTOCOL, &protocol, &(socklen_t){ sizeof(protocol) }) == 0 &&
	       protocol == IPPROTO_TCP;
}

size_t sessions_cut_by_end(const struct sessions *s)
{
	size_t n = 0;

	for (const struct session *i = s->first; i; i = i->next)
		n += !session_outlives(i);
	return n;
}

struct session *sessions_find(const struct sessions *s, uint64_t id)
{
	struct session *i;

	for (i = s->first; i && i->id != id; i = i->next)
		;
	return i;
}

static void refuse(struct sessions *s, json_int_t id, const char *reason)
{
	worker_send(s->worker, json_pack("{s:I, s:b, s:o}", "id", id, "ok", 0, "error", json_text(reason)), NULL, 0);
}

static void do_close(struct sessions *s, json_int_t id, const json_t *msg)
{
	uint64_t session = (uint64_t)json_integer_value(json_object_get(msg, "session"));
	struct session *i = sessions_find(s, session);
	bool lost;

	if (!i) {
		refuse(s, id, "there is no such session");
		return;
	}
	worker_send(s->worker, json_pack("{s:I, s:b}", "id", id, "ok", 1), NULL, 0);
	/* A client that was cut off comes back; one whose place another connection has taken is there. */
	lost = json_is_true(json_object_get(msg, "lost")) && !i->ending && !i->looks;
	log_line(LOG_NOTE, "export %s: session %llu has ended%s", i->x->conf.name, (unsigned long long)session,
		 lost ? ": its client did not disconnect, so the export is kept for it for a while" : "");
	session_end(s, i, lost);
	opens_session_ended(s, session);
}

static void ended(struct sessions *s, const json_t *msg)
{
	struct session *i = sessions_find(s, (uint64_t)json_integer_value(json_object_get(msg, "session")));

	if (!i || !i->ending || i->over)
		return;
	i->over = true;
	session_shut(i);
	opens_session_ended(s, i->id);
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

	if (x && x->state == EXPORT_FORGETTING) {
		x->used = false; /* what becomes of the worker from now on is nothing to it */
		export_release(x);
	}
}

void sessions_message(struct sessions *s, const json_t *msg, const int fds[], size_t nfds)
{
	bool open = false;
	const char *event = json_string_value(json_object_get(msg, "event"));
	const char *op = json_string_value(json_object_get(msg, "op"));
	json_int_t id = json_integer_value(json_object_get(msg, "id"));

	/* Asked before it heard of this daemon, and asked again since. */
	if (op && json_integer_value(json_object_get(msg, "epoch")) != (json_int_t)s->worker->epoch)
		;
	else if (event && strcmp(event, "here") == 0)
		livesessions_here(s, msg);
	else if (event && strcmp(event, "forgotten") == 0)
		forgotten(s, msg);
	else if (event && strcmp(event, "resumed") == 0)
		livesessions_resumed(s, msg);
	else if (event && strcmp(event, "ended") == 0)
		ended(s, msg);
	else if (op && strcmp(op, "open") == 0)
		open = true;
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
	for (size_t i = open && nfds > 0; i < nfds; i++) /* only a socket is wanted, and with nothing else */
		close(fds[i]);
	if (open)
		opens_request(s, msg, nfds > 0 ? fds[0] : -1);
}

/* A write that was held, or begun by a session granted while the worker drained, is not in what "drained" says. */
static bool has_unfinished(struct table *t)
{
	for (uint32_t i = 0; i < SLOTS; i++)
		if (atomic_load(&table_slot(t, i)->use) != SLOT_FREE)
			return true;
	return false;
}

void sessions_settle(struct sessions *s, struct export *x)
{
	struct lease_clock now;

	(void)s;
	lease_clock_now(&now);
	x->settle_told_ms = now.ms + SESSIONS_SETTLE_TELL_MS;
	lease_expire(&x->lease, &now); /* who had not come before is not kept out by this (sessions_settled) */
	export_settle(x);
}

void sessions_worker_died(struct sessions *s, const struct worker_end *end)
{
	holds_worker_died(s);
	opens_worker_died(s);
	livesessions_worker_died(s, end);
	for (struct export *x = s->exports->first; x; x = x->next) {
		bool unsettled = x->used && (!end->drained || !x->table || has_unfinished(x->table));

		x->used = false;
		x->reopen_id = 0;
		x->dirty |= unsettled;
		if (x->state == EXPORT_FORGETTING)
			export_release(x);
		/* Not before the next worker is started, but before it gets the export: one backend that hangs must not
		 * keep all other exports away.  When stopping, the release that follows does the same.
		 */
		else if (x->state == EXPORT_READY && unsettled && !s->closing) {
			sessions_settle(s, x);
		}
	}
}

void sessions_go_on(struct sessions *s)
{
	holds_let_go(s);
	livesessions_resume(s);
}

void sessions_settled(struct sessions *s, struct export *x)
{
	struct lease_clock now;

	lease_clock_now(&now);
	lease_keep(&x->lease, &now, SESSIONS_KEEP_MS);
	livesessions_resume(s);
}

static void ask_to_forget(struct sessions *s, struct export *x, int64_t now_ms)
{
	x->forget_until_ms = now_ms + SESSIONS_FORGET_MS;
	worker_send(s->worker, json_pack("{s:s, s:s}", "cmd", "forget", "export", x->conf.name), NULL, 0);
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
	x->forget_told = false;
	ask_to_forget(s, x, now.ms);
}

/* Not released under its hands: what it still writes would land in the pages of the export's next use. */
static void ask_again(struct sessions *s, struct export *x, int64_t now_ms)
{
	if (!x->forget_told)
		log_line(LOG_ERROR, "export %s: the worker does not close it after %d s, so it is not released yet (is the storage of %s there?); where"
			 " it never does: nbdswapctl reload-worker", x->conf.name, SESSIONS_FORGET_MS / 1000, x->active_file);
	x->forget_told = true;
	ask_to_forget(s, x, now_ms);
}

static void tell_if_it_lasts(struct export *x, int64_t now_ms)
{
	if (!x->settle_told_ms || now_ms < x->settle_told_ms)
		return;
	x->settle_told_ms = 0;
	log_line(LOG_WARN, "export %s: what its dead worker left at %s has not ended after %d s; until it has, its clients wait (is the storage"
		 " there?)", x->conf.name, x->active_file, SESSIONS_SETTLE_TELL_MS / 1000);
}

void sessions_tick(struct sessions *s)
{
	struct lease_clock now;

	livesessions_tick(s);
	holds_let_go(s);
	opens_tick(s);
	lease_clock_now(&now);
	for (struct export *x = s->exports->first; x; x = x->next) {
		if (x->state == EXPORT_FORGETTING && now.ms >= x->forget_until_ms) {
			ask_again(s, x, now.ms);
		} else if (x->removed && x->state == EXPORT_READY && !sessions_held(x)) {
			sessions_release(s, x);
		} else if (x->state == EXPORT_SETTLING) {
			tell_if_it_lasts(x, now.ms);
		}
	}
}
