/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/takeover.h"

#include "server/engine/engine.h"
#include "server/engine/sessmem.h"
#include "server/holds.h"
#include "server/keep.h"
#include "server/log.h"
#include "server/statefile.h"
#include "store/lockedmem.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define WORKER_END_MS 10000

static json_int_t number(const json_t *o, const char *name)
{
	return json_integer_value(json_object_get(o, name));
}

static bool flag(const json_t *o, const char *name)
{
	return json_is_true(json_object_get(o, name));
}

static void text(const json_t *o, const char *name, char *out, size_t size)
{
	const char *value = json_string_value(json_object_get(o, name));

	snprintf(out, size, "%s", value ? value : "");
}

/* The descriptor that the text names so; -1: none.  *kept is its owner's. */
static int take(struct takeover *t, struct keep *k, const json_t *o, const char *member, char kind, uint64_t *kept)
{
	uint64_t n = (uint64_t)number(o, member);
	char name[FDSTORE_NAME];
	int fd;

	keep_name(name, kind, n);
	fd = n ? fdstore_take(&t->in, name) : -1;
	*kept = fd >= 0 ? n : 0;
	if (k)
		keep_inherit(k, *kept, kind);
	return fd;
}

/* Want of memory or descriptors says nothing of what was left. */
static bool passes(struct takeover *t, const struct errbuf *e)
{
	if (e->code != ENOMEM && e->code != EMFILE && e->code != ENFILE && e->code != EAGAIN)
		return false;
	t->failed = *e;
	return true;
}

/* ---- when it is not understood ---- */

static void kill_and_wait(int pidfd)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
	if (poll(&p, 1, WORKER_END_MS) <= 0)
		log_line(LOG_ERROR, "the worker of an earlier nbdswapd does not end; the files that it has stay locked until it has");
}

static void remove_kept(char kind, uint64_t kept)
{
	char name[FDSTORE_NAME];

	keep_name(name, kind, kept);
	fdstore_remove(name);
}

static void give_up(struct takeover *t, const char *why)
{
	log_line(LOG_ERROR, "what an earlier nbdswapd left cannot be taken over (%s): its worker is ended, its sessions are cut, and EVERY PAGE OF"
		 " ITS EXPORTS IS LOST until it is written or discarded", why);
	for (size_t i = 0; i < t->in.count; i++)
		if (t->in.item[i].fd >= 0 && t->in.item[i].name[0] == KEEP_WORKER)
			kill_and_wait(t->in.item[i].fd);
	for (size_t i = 0; i < t->listeners.count; i++) {
		close(t->listeners.fd[i]);
		remove_kept('l', t->listeners.kept[i]);
	}
	t->listeners.count = 0;
	if (t->fd >= 0) {
		close(t->fd);
		fdstore_remove(KEEP_STATE);
	}
	t->fd = -1;
	json_decref(t->state);
	t->state = NULL;
	fdstore_drop(&t->in);
}

/* ---- the first step ---- */

static json_t *read_state(struct takeover *t, char *why, size_t size)
{
	struct errbuf e = { .code = 0 };
	char *content;
	json_t *o = NULL;
	size_t bytes;

	t->fd = fdstore_take(&t->in, KEEP_STATE);
	if (t->fd < 0) {
		snprintf(why, size, "it did not say what is what");
		return NULL;
	}
	content = statefile_read(t->fd, &bytes, &e);
	if (content)
		o = json_loadb(content, bytes, 0, NULL);
	free(content);
	if (passes(t, &e))
		;
	else if (!o)
		snprintf(why, size, "%.200s", content ? "its state is no JSON" : e.text);
	else if (number(o, "version") != KEEP_VERSION)
		snprintf(why, size, "its state is of version %d, this nbdswapd's of %d", (int)number(o, "version"), KEEP_VERSION);
	else
		return o;
	json_decref(o);
	return NULL;
}

static void take_listeners(struct takeover *t)
{
	struct listeners *l = &t->listeners;
	const json_t *item;
	size_t i;

	json_array_foreach(json_object_get(t->state, "listen"), i, item) {
		struct errbuf e;
		char address[LISTEN_TEXT];

		text(item, "text", address, sizeof(address));
		if (l->count == CONF_LISTEN_MAX || listen_parse(address, &l->addr[l->count], &e) < 0)
			continue;
		l->fd[l->count] = take(t, NULL, item, "fd", 'l', &l->kept[l->count]);
		if (l->fd[l->count] >= 0)
			l->count++;
	}
}

void takeover_begin(struct takeover *t)
{
	char why[256];

	*t = (struct takeover){ .fd = -1 };
	fdstore_inherit(&t->in);
	if (t->in.count == 0)
		return;
	t->state = read_state(t, why, sizeof(why));
	if (t->state)
		take_listeners(t);
	else if (!t->failed.code)
		give_up(t, why);
}

struct poolmem *takeover_pool(struct takeover *t, bool allow_unlocked)
{
	const json_t *pool = json_object_get(t->state, "pool");
	struct errbuf e = { .code = 0, .text = "its pool did not come" };
	struct poolmem *p;
	uint64_t kept;
	int fd;

	if (!t->state)
		return NULL;
	fd = take(t, NULL, pool, "fd", 'p', &kept);
	p = fd >= 0 ? poolmem_adopt(fd, (uint64_t)number(pool, "common"), allow_unlocked, &e) : NULL;
	if (p || passes(t, &e))
		return p;
	if (fd >= 0) {
		close(fd);
		remove_kept('p', kept);
	}
	give_up(t, e.text);
	return NULL;
}

/* ---- exports ---- */

static void take_conf(const json_t *o, struct conf_export *c)
{
	memset(c, 0, sizeof(*c));
	text(o, "name", c->name, sizeof(c->name));
	text(o, "file", c->file, sizeof(c->file));
	c->size = (uint64_t)number(o, "size");
	c->create = (uint64_t)number(o, "create");
	c->check = (uint64_t)number(o, "check");
	c->seal = (uint64_t)number(o, "seal");
	c->survive = (uint64_t)number(o, "survive");
	c->key = (uint64_t)number(o, "key");
	text(o, "key_file", c->key_file, sizeof(c->key_file));
	c->retry_time = (uint64_t)number(o, "retry_time");
	text(o, "description", c->description, sizeof(c->description));
}

static void take_lease(const json_t *o, struct lease *l)
{
	text(o, "holder", l->holder, sizeof(l->holder));
	text(o, "peer", l->peer, sizeof(l->peer));
	l->since = (time_t)number(o, "since");
	l->kept_until_ms = (int64_t)number(o, "kept_until_ms");
	l->number = (uint64_t)number(o, "number");
	text(o, "last", l->last, sizeof(l->last));
}

static bool take_trailer(const json_t *in_use, struct trailer *out)
{
	const char *hex = json_string_value(json_object_get(in_use, "trailer"));
	unsigned char *to = (unsigned char *)out;

	if (!hex || strlen(hex) != 2 * sizeof(*out))
		return false;
	for (size_t i = 0; i < sizeof(*out); i++) {
		unsigned byte;

		if (sscanf(hex + 2 * i, "%2x", &byte) != 1)
			return false;
		to[i] = (unsigned char)byte;
	}
	return true;
}

static bool take_backend(const json_t *in_use, struct backend *out)
{
	text(in_use, "backend", out->name, sizeof(out->name));
	text(in_use, "mount_point", out->mount_point, sizeof(out->mount_point));
	text(in_use, "mount_source", out->mount_source, sizeof(out->mount_source));
	text(in_use, "mount_options", out->mount_options, sizeof(out->mount_options));
	return backend_kind_of(out->name, &out->kind) == 0;
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

/* Its descriptors, and what is known of them.  NULL: they are not all there. */
static struct adopting *take_use(struct takeover *t, struct daemon *d, struct export *x, const json_t *in_use)
{
	struct adopting *a = calloc(1, sizeof(*a));
	struct export_kept *k = calloc(1, sizeof(*k));
	struct errbuf e = { .code = 0, .text = "a descriptor did not come" };
	bool sealed = json_is_integer(json_object_get(in_use, "master"));
	int table;

	if (!a || !k)
		abort();
	a->file = take(t, &d->keep, in_use, "file", 'f', &k->file);
	table = take(t, &d->keep, in_use, "table", 't', &k->table);
	a->master = take(t, &d->keep, in_use, "master", 'k', &k->master);
	k->ephemeral = flag(in_use, "ephemeral");
	k->resumed = flag(in_use, "resumed");
	text(in_use, "path", k->path, sizeof(k->path));
	if (a->file >= 0 && table >= 0 && (a->master >= 0 || !sealed) && take_trailer(in_use, &k->trailer) &&
	    take_backend(in_use, &k->backend))
		a->table = table_map(table, d->exports.allow_unlocked, &e);
	close_if_open(table);
	x->kept = k;
	if (a->table || passes(t, &e))
		return a;
	log_line(LOG_ERROR, "export %s: what an earlier nbdswapd left of it cannot be taken over (%s), its pages are lost", x->conf.name, e.text);
	close_if_open(a->file);
	close_if_open(a->master);
	free(a);
	free(k);
	x->kept = NULL;
	return NULL;
}

/* False: the worker may have it, and this daemon cannot.  Nothing is done about it yet. */
static bool take_export(struct takeover *t, struct daemon *d, const json_t *o)
{
	const json_t *in_use = json_object_get(o, "in_use"), *again = json_object_get(o, "again");
	enum export_state state = (enum export_state)number(o, "state");
	struct conf_export c;
	struct adopting *a;
	struct export *x;
	struct errbuf e;
	int reserve;

	take_conf(json_object_get(o, "conf"), &c);
	x = exports_add(&d->exports, &c);
	x->removed = flag(o, "removed");
	x->deactivated = flag(o, "deactivated");
	take_lease(json_object_get(o, "lease"), &x->lease);
	reserve = (int)number(o, "reserve");
	if (reserve >= 0 && poolmem_take_again(d->pool, reserve, &e) == 0)
		x->reserve = reserve;
	else if (reserve >= 0 && passes(t, &e))
		return false;
	if (!in_use)
		return true;
	a = take_use(t, d, x, in_use);
	if (!a)
		return !flag(o, "used");
	if (state == EXPORT_ADOPTING)
		state = (enum export_state)number(o, "was");
	a->release = state == EXPORT_RELEASING;
	a->forget = state == EXPORT_FORGETTING;
	a->marking = state == EXPORT_ACTIVATING;
	x->used = flag(o, "used");
	x->dirty = flag(o, "dirty");
	x->orphans = flag(o, "orphans");
	x->blocked = flag(o, "blocked");
	text(o, "lost", x->file_lost, sizeof(x->file_lost));
	if (json_is_object(again)) {
		x->again = true;
		x->provision = (enum provision)number(again, "provision");
		x->force = flag(again, "force");
	}
	x->incomplete = true;
	x->state = EXPORT_ADOPTING;
	x->adopting = a;
	text(o, "active_file", x->active_file, sizeof(x->active_file));
	return true;
}

static bool take_exports(struct takeover *t, struct daemon *d)
{
	const json_t *item;
	bool all = true;
	size_t i;

	json_array_foreach(json_object_get(t->state, "exports"), i, item) {
		all &= take_export(t, d, item);
		if (t->failed.code)
			return false;
	}
	return all;
}

/* As they are known here now; a reload compares them with the file. */
static void put_conf(struct daemon *d)
{
	size_t n = 0;

	for (const struct export *x = d->exports.first; x; x = x->next)
		n++;
	free(d->conf->exports);
	d->conf->exports = calloc(n + 1, sizeof(*d->conf->exports));
	if (!d->conf->exports)
		abort();
	d->conf->nexports = 0;
	for (const struct export *x = d->exports.first; x; x = x->next)
		if (!x->removed)
			d->conf->exports[d->conf->nexports++] = x->conf;
}

/* ---- sessions ---- */

static void take_session(struct takeover *t, struct daemon *d, const json_t *o)
{
	const char *name = json_string_value(json_object_get(o, "export"));
	struct export *x = name ? exports_find(&d->exports, name) : NULL;
	struct session *i;
	struct errbuf e;

	if (!x || x->state != EXPORT_ADOPTING)
		return; /* its descriptors are closed with the rest; the worker ends it */
	i = session_adopt(&d->sessions, x, (uint64_t)number(o, "id"));
	i->request = (uint64_t)number(o, "request");
	text(o, "client", i->client, sizeof(i->client));
	text(o, "peer", i->peer, sizeof(i->peer));
	i->slot = (unsigned)number(o, "slot");
	i->slots = (unsigned)number(o, "slots");
	i->since = (time_t)number(o, "since");
	i->activation = (uint64_t)number(o, "activation");
	i->place = (enum session_place)number(o, "place");
	i->deaths = (unsigned)number(o, "deaths");
	i->blame = flag(o, "blame");
	i->ending = flag(o, "ending");
	i->over = flag(o, "over");
	i->held = flag(o, "held");
	i->sock = take(t, &d->keep, o, "sock", 's', &i->kept_sock);
	i->memory = take(t, &d->keep, o, "memory", 'm', &i->kept_memory);
	if (i->sock >= 0 && i->memory >= 0 &&
	    !(i->locked = lockedmem_map(i->memory, 0, SESSMEM_BYTES, d->exports.allow_unlocked, "memory of a session", &e)))
		log_line(LOG_WARN, "export %s: session %" PRIu64 ": %s", x->conf.name, i->id, e.text);
	x->lease.sessions++;
}

static void take_sessions(struct takeover *t, struct daemon *d)
{
	const json_t *r = json_object_get(t->state, "resumption"), *item;
	size_t i;

	json_array_foreach(json_object_get(t->state, "sessions"), i, item)
		take_session(t, d, item);
	d->sessions.last_id = (uint64_t)number(t->state, "last_session");
	d->sessions.resumption = (struct resumption){ .under_way = flag(r, "under_way"), .since_ms = number(r, "since_ms"),
						      .resumed = (unsigned)number(r, "resumed"), .lost = (unsigned)number(r, "lost"),
						      .ms = number(r, "ms") };
	if (holds_adopt(&d->sessions, json_object_get(t->state, "holds")) < 0)
		log_line(LOG_WARN, "pages of the pool that are held for dead workers' I/O are not all known any more");
}

/* ---- the worker ---- */

/* Only where the store had no room for it: its number may be another's by now. */
static int find_worker(pid_t pid)
{
	char path[64], name[32] = "";
	int fd = pid > 1 ? (int)syscall(SYS_pidfd_open, pid, 0) : -1;
	FILE *f;

	if (fd < 0)
		return -1;
	snprintf(path, sizeof(path), "/proc/%d/comm", (int)pid);
	f = fopen(path, "re");
	if (f && !fgets(name, sizeof(name), f))
		name[0] = '\0';
	if (f)
		fclose(f);
	if (strncmp(name, "nbdswap-engine", 14) == 0 || strncmp(name, "nbdkit", 6) == 0)
		return fd;
	close(fd);
	return -1;
}

/* False: there is none. */
static bool take_worker(struct takeover *t, struct daemon *d, bool listeners_changed, bool end)
{
	const json_t *o = json_object_get(t->state, "worker");
	struct worker_left left = { .state = (enum worker_state)number(o, "state"), .pid = (pid_t)number(o, "pid"),
				    .engine = (enum conf_engine)number(o, "engine"), .epoch = (uint64_t)number(o, "epoch"),
				    .ready_ms = number(o, "ready_ms"), .other_interface = number(o, "interface") != ENGINE_INTERFACE };
	struct worker *w = &d->worker;

	w->no_uring = flag(t->state, "no_uring");
	w->sup.restarts = (uint32_t)number(t->state, "restarts");
	if (!json_is_object(o))
		return false;
	left.pidfd = take(t, &d->keep, o, "pidfd", KEEP_WORKER, &w->kept_pidfd);
	left.sock = take(t, &d->keep, o, "sock", 'b', &w->kept_sock);
	if (left.pidfd < 0)
		left.pidfd = find_worker(left.pid);
	if (left.pidfd < 0) {
		struct worker_end gone = { .killed = true };

		close_if_open(left.sock);
		w->kept_sock = 0;
		sessions_worker_died(&d->sessions, &gone);
		return false;
	}
	if (end || left.sock < 0)
		left.state = WORKER_KILLED;
	if (left.engine != (enum conf_engine)d->conf->server.engine && !w->no_uring)
		log_line(LOG_WARN, "the worker that was taken over is %s, the configuration says %s: nbdswapctl reload-worker puts one of that kind"
			 " in its place", engine_name(left.engine), engine_name((enum conf_engine)d->conf->server.engine));
	worker_adopt(w, &left, flag(o, "renew") || listeners_changed);
	return true;
}

/* ---- the second step ---- */

static bool same_listeners(const struct listeners *a, const struct listeners *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (strcmp(a->addr[i].text, b->addr[i].text) != 0)
			return false;
	return true;
}

/* Workers that a text which could not be written would have named: none of them is known here, and there must not be two. */
static bool end_strays(struct takeover *t)
{
	bool any = false;

	for (size_t i = 0; i < t->in.count; i++)
		if (t->in.item[i].fd >= 0 && t->in.item[i].name[0] == KEEP_WORKER) {
			kill_and_wait(t->in.item[i].fd);
			any = true;
		}
	return any;
}

bool takeover_run(struct takeover *t, struct daemon *d)
{
	const json_t *pool = json_object_get(t->state, "pool"), *place;
	bool all, worker, strays;
	struct errbuf e;
	size_t i;

	if (!t->state)
		return false;
	d->keep.last = (uint64_t)number(t->state, "last");
	d->takeovers = (unsigned)number(t->state, "takeovers") + 1;
	for (i = 0; i < t->listeners.count; i++) /* also of those that are not listened on any more: then they are removed */
		keep_inherit(&d->keep, t->listeners.kept[i], 'l');
	d->pool_kept = (uint64_t)number(pool, "fd");
	keep_inherit(&d->keep, d->pool_kept, 'p');
	all = take_exports(t, d);
	if (t->failed.code)
		return false;
	json_array_foreach(json_object_get(pool, "taken"), i, place) {
		int k = (int)json_integer_value(place);

		if (k >= 0 && k < poolmem_places() && !poolmem_taken(d->pool, k))
			poolmem_take_again(d->pool, k, &e); /* nobody's, for a dead worker's I/O may still come there */
	}
	take_sessions(t, d);
	worker = take_worker(t, d, !same_listeners(&t->listeners, &d->listeners), !all);
	log_line(LOG_NOTE, "taken over from an earlier nbdswapd: %zu sessions, %s", sessions_count(&d->sessions), worker ? "its worker" : "no worker");
	put_conf(d);
	d->took_over = true;
	strays = end_strays(t);
	fdstore_drop(&t->in);
	json_decref(t->state);
	t->state = NULL;
	if (!worker)
		worker_event(&d->worker, WORKER_EV_START);
	for (struct export *x = d->exports.first, *next; x; x = next) {
		next = x->next;
		x->dirty |= strays && x->state == EXPORT_ADOPTING;
		if (x->state == EXPORT_ADOPTING)
			export_adopt_start(x);
		else if (x->state == EXPORT_DOWN && x->removed)
			exports_remove(&d->exports, x);
		else if (x->state == EXPORT_DOWN)
			exports_provide(x);
	}
	return true;
}
