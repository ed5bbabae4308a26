/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/opens.h"

#include "common/exportname.h"
#include "server/engine/sessmem.h"
#include "server/jsontext.h"
#include "server/log.h"
#include "server/sessions.h"
#include "store/lockedmem.h"

#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* What is asked for, taken apart. */
struct asked {
	json_int_t id;
	const char *peer;
	struct export_request name;
	char holder[LEASE_HOLDER_MAX];
	bool live;
	bool lasts; /* it can go on in another worker */
};

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

static int take_apart(const json_t *msg, int sock, struct asked *out, struct errbuf *e)
{
	const char *text = json_string_value(json_object_get(msg, "export"));
	int type;
	socklen_t n = sizeof(type);

	out->id = json_integer_value(json_object_get(msg, "id"));
	out->peer = json_string_value(json_object_get(msg, "peer"));
	out->live = json_is_true(json_object_get(msg, "live"));
	if (!text || !out->peer)
		return err_set(e, EINVAL, "open needs export and peer");
	if (out->live && (sock < 0 || getsockopt(sock, SOL_SOCKET, SO_TYPE, &type, &n) < 0 || type != SOCK_STREAM))
		return err_set(e, EINVAL, "open: a live session needs its client's socket; if it did not come, too many files are open here"
			       " (LimitNOFILE)");
	if (export_request_parse(text, &out->name, e) < 0)
		return -1;
	/* Only TCP tells how far a session has come (server/engine/tcpaccount.h). */
	n = sizeof(type);
	out->lasts = out->live && getsockopt(sock, SOL_SOCKET, SO_PROTOCOL, &type, &n) == 0 && type == IPPROTO_TCP;
	return lease_holder(out->name.client, out->peer, out->holder, e);
}

/* The export, if clients may have it just now.  Whether this one may, its lease says. */
static struct export *find_open(struct sessions *s, const char *name, struct errbuf *e)
{
	struct export *x = exports_find(s->exports, name);

	if (s->closing) {
		err_set(e, ESHUTDOWN, "the server is stopping");
		return NULL;
	}
	if (!x || (x->removed && !sessions_held(x))) {
		err_set(e, ENOENT, "there is no export \"%.64s\" here; nbdinfo --list shows those there are", name);
		return NULL;
	}
	if (x->state == EXPORT_ADOPTING)
		return x; /* that is waited for */
	return export_refusal(x, e) < 0 ? NULL : x;
}

/* The client's earlier session in the slot that it asks for. */
static struct session *in_slot(const struct sessions *s, const struct export *x, const struct asked *a)
{
	for (struct session *i = s->first; i && a->name.slots; i = i->next)
		if (i->x == x && i->slots && i->slot == a->name.slot && !i->over && strcmp(i->client, a->holder) == 0)
			return i;
	return NULL;
}

static void wait_for(struct sessions *s, uint64_t session, const json_t *msg, int sock)
{
	struct waiting_open *w = calloc(1, sizeof(*w)), **p;
	struct lease_clock now;

	if (!w)
		abort();
	lease_clock_now(&now);
	w->msg = json_incref((json_t *)msg);
	w->sock = sock;
	w->awaits = session;
	w->until_ms = now.ms + OPENS_WAIT_MS;
	for (p = &s->opens; *p; p = &(*p)->next)
		;
	*p = w;
}

static void wait_for_end(struct sessions *s, struct session *i, const json_t *msg, int sock)
{
	wait_for(s, i->id, msg, sock);
	if (i->ending)
		return;
	i->ending = true;
	log_line(LOG_NOTE, "export %s: session %llu ends, for its client connects anew", i->x->conf.name, (unsigned long long)i->id);
	worker_send(s->worker, json_pack("{s:s, s:I}", "cmd", "end", "session", (json_int_t)i->id), NULL, 0);
}

/* The worker counts those that it has.  But those that it is still to take over need their places, too: whoever comes first, while an export is
 * being settled, must not have one of theirs.
 */
static int has_place(const struct sessions *s, struct errbuf *e)
{
	uint64_t n = 0;

	for (const struct session *i = s->first; i; i = i->next)
		n += i->memory >= 0 && !i->over;
	if (n < s->worker->conf->connections)
		return 0;
	return err_set(e, EAGAIN, "all %" PRIu64 " connections are in use, or kept for clients whose sessions the worker is still to take over"
		       " (connections = %" PRIu64 " in nbdswapd.conf); try again later", n, s->worker->conf->connections);
}

/* The memory of a live session, with a place in the pool for its export.  *locked: it itself, where it may have to wait for another worker.
 * -1 with *e.
 */
static int make_memory(struct sessions *s, struct export *x, bool lasts, void **locked, struct errbuf *e)
{
	int memory;

	if (x->reserve < 0)
		x->reserve = poolmem_take(s->exports->pool, e);
	if (x->reserve < 0 || (memory = sessmem_make(e)) < 0)
		return -1;
	if (lasts && !(*locked = lockedmem_map(memory, 0, SESSMEM_BYTES, s->exports->allow_unlocked, "memory of a session", e))) {
		close(memory);
		return -1;
	}
	return memory;
}

static void forget_memory(int memory, void *locked)
{
	close_if_open(memory);
	if (locked)
		munmap(locked, SESSMEM_BYTES);
}

static void answer(struct sessions *s, json_int_t id, const struct session *i)
{
	struct export *x = i->x;
	int fds[4] = { backing_worker_fd(x->backing), table_fd(x->table), backing_key_fd(x->backing) };
	size_t nfds = 2 + (fds[2] >= 0);
	json_t *o = json_pack("{s:I, s:b, s:I, s:s, s:I, s:s, s:o, s:I, s:I}", "id", id, "ok", 1, "session", (json_int_t)i->id, "name", x->conf.name,
			      "size", (json_int_t)backing_data_size(x->backing), "backend", backing_backend(x->backing)->name, "path",
			      json_text(backing_path(x->backing)), "activation", (json_int_t)backing_activation(x->backing), "lease",
			      (json_int_t)x->lease.number);

	if (i->memory >= 0) {
		json_object_set_new(o, "reserve", json_integer(x->reserve));
		fds[nfds++] = i->memory;
	}
	worker_send(s->worker, o, fds, nfds);
}

/* The session that this very request was granted: by a daemon that died before its answer was sent. */
static struct session *granted(const struct sessions *s, json_int_t id)
{
	for (struct session *i = s->first; i && id > 0; i = i->next)
		if (i->request == (uint64_t)id)
			return i;
	return NULL;
}

static void pass(struct export *x, bool resumes, const struct lease_clock *now)
{
	lease_pass(&x->lease, resumes, now);
	table_set_lease(x->table, x->lease.number);
}

/* 0: answered, or waits; -1 with *e: to be refused, and sock is still the caller's. */
static int try_open(struct sessions *s, const json_t *msg, int sock, struct errbuf *e)
{
	struct asked a = { .id = 0 };
	struct session *before, *i;
	struct lease_clock now;
	struct export *x;
	void *locked = NULL;
	int memory = -1;

	if (take_apart(msg, sock, &a, e) < 0)
		return -1;
	i = granted(s, a.id);
	if (i && i->x->state == EXPORT_READY) {
		if (export_refusal(i->x, e) < 0)
			return -1;
		close_if_open(sock);
		answer(s, a.id, i);
		return 0;
	}
	x = find_open(s, a.name.name, e);
	if (!x)
		return -1;
	if (x->incomplete || x->state == EXPORT_ADOPTING) {
		wait_for(s, 0, msg, sock);
		return 0;
	}
	if (a.name.resumes &&
	    lease_resumes(&x->lease, x->conf.name, a.holder, backing_activation(x->backing), &a.name.generation, e) < 0)
		return -1;
	before = in_slot(s, x, &a);
	if (before) {
		/* Who begins anew may be a second attach on the same machine, whose first has live pages here: only who comes back to what the
		 * session in this slot has, and says so, is that client's device.
		 */
		if (a.name.resumes)
			wait_for_end(s, before, msg, sock);
		else
			wait_for(s, before->id, msg, sock);
		return 0;
	}
	if (a.live && has_place(s, e) < 0)
		return -1;
	if (a.live && (memory = make_memory(s, x, a.lasts, &locked, e)) < 0)
		return -1;
	lease_clock_now(&now);
	if (lease_open(&x->lease, x->conf.name, a.holder, a.peer, &now, e) < 0) {
		forget_memory(memory, locked);
		return -1;
	}
	/* Of the native worker a session that is not live is a question (INFO). */
	if (!a.name.looks && (a.live || s->worker->engine != ENGINE_NATIVE)) {
		int kept;

		pass(x, a.name.resumes, &now);
		kept = export_keep_lease(x, e);
		if (kept <= 0) {
			lease_lose(&x->lease, &now, SESSIONS_KEEP_MS);
			x->awaited = true;
			forget_memory(memory, locked);
			if (kept == 0)
				wait_for(s, 0, msg, sock);
			return kept;
		}
		if (x->awaited || a.name.slots || !a.name.client[0]) /* else it may be a look */
			lease_returned(&x->lease);
		x->awaited = false;
	}
	if (!a.lasts)
		close_if_open(sock);
	i = session_add(s, x, a.holder, a.peer, a.lasts ? sock : -1, memory, locked);
	i->slot = a.name.slot;
	i->slots = a.name.slots;
	i->looks = a.name.looks;
	i->request = (uint64_t)a.id;
	x->used = true;
	log_line(LOG_NOTE, "export %s: session %llu of %s from %s", x->conf.name, (unsigned long long)i->id, i->client, a.peer);
	answer(s, a.id, i);
	return 0;
}

static void refuse(struct sessions *s, const json_t *msg, const struct errbuf *e)
{
	const char *peer = json_string_value(json_object_get(msg, "peer"));
	struct session *i = granted(s, json_integer_value(json_object_get(msg, "id")));

	/* The worker does not know it, so nobody would ever close it. */
	if (i)
		session_end(s, i, true);
	log_line(LOG_WARN, "refused to %s: %s", peer ? peer : "a client", e->text);
	worker_send(s->worker, json_pack("{s:I, s:b, s:b, s:o}", "id", json_integer_value(json_object_get(msg, "id")), "ok", 0, "again",
					 e->code == EAGAIN, "error", json_text(e->text)), NULL, 0);
}

void opens_request(struct sessions *s, const json_t *msg, int sock)
{
	struct errbuf e;

	if (try_open(s, msg, sock, &e) == 0)
		return;
	close_if_open(sock);
	refuse(s, msg, &e);
}

static void drop(struct waiting_open *w)
{
	json_decref(w->msg);
	free(w);
}

static void look_again(struct sessions *s, uint64_t session)
{
	struct waiting_open *all = s->opens;

	/* Those whose turn it is may wait again, for each other. */
	s->opens = NULL;
	while (all) {
		struct waiting_open *w = all, **p;

		all = w->next;
		if (w->awaits == session) {
			opens_request(s, w->msg, w->sock);
			drop(w);
			continue;
		}
		w->next = NULL;
		for (p = &s->opens; *p; p = &(*p)->next)
			;
		*p = w;
	}
}

void opens_session_ended(struct sessions *s, uint64_t session)
{
	look_again(s, session);
}

void opens_complete(struct sessions *s)
{
	look_again(s, 0);
}

void opens_worker_died(struct sessions *s)
{
	while (s->opens) {
		struct waiting_open *w = s->opens;

		s->opens = w->next;
		close_if_open(w->sock);
		drop(w);
	}
}

void opens_tick(struct sessions *s)
{
	struct lease_clock now;

	lease_clock_now(&now);
	for (struct waiting_open **p = &s->opens; *p;) {
		struct waiting_open *w = *p;
		struct errbuf e;

		if (now.ms < w->until_ms) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		close_if_open(w->sock);
		err_set(&e, EAGAIN, w->awaits ? "the earlier connection in its slot has not ended yet; try again later (with gen= it would take that one's"
						" place)" :
						"the sessions of a worker that ended are not all back yet; try again later");
		refuse(s, w->msg, &e);
		drop(w);
	}
}
