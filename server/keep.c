/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/keep.h"

#include "common/cleanup.h"
#include "server/daemon.h"
#include "server/engine/engine.h"
#include "server/holds.h"
#include "server/jsontext.h"
#include "server/keepexport.h"
#include "server/log.h"
#include "server/statefile.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

void keep_name(char out[FDSTORE_NAME], char kind, kept_t number)
{
	snprintf(out, FDSTORE_NAME, "%c%" PRIu64, kind, number);
}

/* ---- descriptors ---- */

/* Kinds of descriptors, for whoever looks at the store; what one is the text says. */
enum { LISTENER = 'l', POOL = 'p', BROKER = 'b', FILE_ = 'f', TABLE = 't', MASTER = 'k', SOCKET = 's', MEMORY = 'm' };

void keep_inherit(struct keep *k, kept_t number, char kind)
{
	size_t i;

	if (number == 0)
		return;
	if (k->count == k->size) {
		k->size = k->size ? 2 * k->size : 64;
		k->item = realloc(k->item, k->size * sizeof(*k->item));
		if (!k->item)
			abort();
	}
	/* In order; a new one comes last. */
	for (i = k->count++; i > 0 && k->item[i - 1].number > number; i--)
		k->item[i] = k->item[i - 1];
	k->item[i].number = number;
	k->item[i].kind = kind;
	k->item[i].named = true;
	if (number > k->last)
		k->last = number;
}

static void tell_once(struct keep *k, const struct errbuf *e)
{
	if (!k->told)
		log_line(LOG_WARN, "should nbdswapd die, its successor will not know of everything that it had: %s", e->text);
	k->told = true;
}

/* Gives fd into keeping unless it is; *number is its owner's. */
static void put(struct keep *k, int fd, kept_t *number, char kind)
{
	char name[FDSTORE_NAME];
	struct errbuf e;

	if (fd < 0 || *number)
		return;
	keep_name(name, kind, k->last + 1);
	if (fdstore_put(fd, name, &e) < 0) {
		tell_once(k, &e);
		return;
	}
	*number = k->last + 1;
	keep_inherit(k, *number, kind);
	k->item[k->count - 1].named = false;
}

static int compare(const void *a, const void *b)
{
	const kept_t *x = a, *y = b; /* the first member */

	return *x < *y ? -1 : *x > *y;
}

json_t *keep_named(struct keep *k, kept_t number)
{
	void *found = number ? bsearch(&number, k->item, k->count, sizeof(*k->item), compare) : NULL;

	if (!found)
		return json_null();
	k->item[(size_t)((char *)found - (char *)k->item) / sizeof(*k->item)].named = true;
	return json_integer((json_int_t)number);
}

/* What the text does not name any more goes. */
static void remove_others(struct keep *k)
{
	size_t n = 0;

	for (size_t i = 0; i < k->count; i++) {
		char name[FDSTORE_NAME];

		if (k->item[i].named) {
			k->item[n++] = k->item[i];
			continue;
		}
		keep_name(name, k->item[i].kind, k->item[i].number);
		fdstore_remove(name);
	}
	k->count = n;
}

/* ---- putting into keeping what there is ---- */

static void keep_export(struct keep *k, struct export *x)
{
	bool begins = x->state == EXPORT_ACTIVATING && x->loaded && !x->marking;
	struct backing_parts p;

	/* A helper thread may have the backing otherwise; what is kept is what it was before. */
	if (!begins && (x->reopening || x->keeping || (x->state != EXPORT_READY && x->state != EXPORT_FORGETTING)))
		return;
	backing_parts(begins ? x->new_backing : x->backing, &p);
	if (!x->kept && !(x->kept = calloc(1, sizeof(*x->kept))))
		abort();
	if (x->kept->reopened != p.reopened)
		x->kept->file = 0;
	x->kept->reopened = p.reopened;
	x->kept->ephemeral = p.ephemeral;
	x->kept->resumed = p.resumed;
	x->kept->backend = *p.backend;
	x->kept->trailer = *p.trailer;
	snprintf(x->kept->path, sizeof(x->kept->path), "%s", p.path);
	put(k, p.file, &x->kept->file, FILE_);
	put(k, table_fd(begins ? x->new_table : x->table), &x->kept->table, TABLE);
	put(k, p.master, &x->kept->master, MASTER);
}

static void keep_all(struct daemon *d)
{
	struct keep *k = &d->keep;

	for (size_t i = 0; i < d->listeners.count; i++)
		put(k, d->listeners.fd[i], &d->listeners.kept[i], LISTENER);
	put(k, poolmem_fd(d->pool), &d->pool_kept, POOL);
	put(k, d->worker.pidfd, &d->worker.kept_pidfd, KEEP_WORKER);
	put(k, d->worker.sock, &d->worker.kept_sock, BROKER);
	for (struct export *x = d->exports.first; x; x = x->next) {
		if (x->state == EXPORT_DOWN || (x->state == EXPORT_ACTIVATING && !x->loaded)) {
			free(x->kept);
			x->kept = NULL;
		}
		keep_export(k, x);
	}
	for (struct session *i = d->sessions.first; i; i = i->next) {
		put(k, i->sock, &i->kept_sock, SOCKET);
		put(k, i->memory, &i->kept_memory, MEMORY);
	}
}

/* ---- the text ---- */

static json_t *listeners_json(struct daemon *d)
{
	json_t *list = json_array();

	for (size_t i = 0; i < d->listeners.count; i++)
		json_array_append_new(list, json_pack("{s:s, s:o}", "text", d->listeners.addr[i].text, "fd",
						      keep_named(&d->keep, d->listeners.kept[i])));
	return list;
}

static json_t *pool_json(struct daemon *d)
{
	json_t *taken = json_array();

	for (int i = 0; i < poolmem_places(); i++)
		if (poolmem_taken(d->pool, i))
			json_array_append_new(taken, json_integer(i));
	return json_pack("{s:o, s:I, s:o}", "fd", keep_named(&d->keep, d->pool_kept), "common", (json_int_t)poolmem_common(d->pool), "taken", taken);
}

static json_t *worker_json(struct daemon *d)
{
	const struct worker *w = &d->worker;

	if (w->pid <= 0)
		return json_null();
	return json_pack("{s:i, s:i, s:o, s:o, s:i, s:i, s:I, s:I, s:b}", "state", (int)w->sup.state, "pid", (int)w->pid, "pidfd",
			 keep_named(&d->keep, w->kept_pidfd), "sock", keep_named(&d->keep, w->kept_sock), "engine", (int)w->engine, "interface",
			 ENGINE_INTERFACE, "epoch", (json_int_t)w->epoch, "ready_ms", (json_int_t)w->sup.ready_ms, "renew", w->renew);
}

static json_t *session_json(struct keep *k, const struct session *i)
{
	return json_pack("{s:I, s:I, s:s, s:o, s:o, s:i, s:i, s:I, s:I, s:i, s:i, s:b, s:b, s:b, s:b, s:o, s:o}", "id", (json_int_t)i->id, "request",
			 (json_int_t)i->request, "export", i->x->conf.name, "client", json_text(i->client), "peer", json_text(i->peer), "slot",
			 (int)i->slot, "slots", (int)i->slots, "since", (json_int_t)i->since, "activation", (json_int_t)i->activation,
			 "place", (int)i->place, "deaths", (int)i->deaths, "blame", i->blame, "ending", i->ending, "over", i->over, "held",
			 i->held, "sock", keep_named(k, i->kept_sock), "memory", keep_named(k, i->kept_memory));
}

static json_t *resumption_json(const struct resumption *r)
{
	return json_pack("{s:b, s:I, s:i, s:i, s:I}", "under_way", r->under_way, "since_ms", (json_int_t)r->since_ms, "resumed",
			 (int)r->resumed, "lost", (int)r->lost, "ms", (json_int_t)r->ms);
}

/* All but exports and sessions, of which there may be many. */
static char *rest_text(struct daemon *d)
{
	json_t *o = json_pack("{s:i, s:s, s:i, s:I, s:o, s:o, s:o, s:b, s:i, s:I, s:o, s:o}", "version", KEEP_VERSION, "program", PACKAGE_VERSION,
			      "takeovers", (int)d->takeovers, "last", (json_int_t)d->keep.last, "listen", listeners_json(d), "pool", pool_json(d),
			      "worker", worker_json(d), "no_uring", d->worker.no_uring, "restarts", (int)d->worker.sup.restarts, "last_session",
			      (json_int_t)d->sessions.last_id, "holds", holds_json(&d->sessions), "resumption",
			      resumption_json(&d->sessions.resumption));
	char *text = o ? json_dumps(o, JSON_COMPACT) : NULL;

	json_decref(o);
	return text;
}

/* Changes when anything does that is in the text. */
static uint64_t make_print(const struct daemon *d, const char *rest)
{
	uint64_t print = XXH3_64bits(rest, strlen(rest));

	for (const struct export *x = d->exports.first; x; x = x->next)
		print = XXH3_64bits_withSeed(&(uint64_t){ keepexport_print(x) }, sizeof(uint64_t), print);
	for (const struct session *i = d->sessions.first; i; i = i->next)
		print = XXH3_64bits_withSeed(i, sizeof(*i), print);
	return print;
}

static void write_text(struct daemon *d, const char *rest, FILE *out)
{
	struct keep *k = &d->keep;
	const char *comma = "";

	fputs("{\"exports\":[", out);
	for (struct export *x = d->exports.first; x; x = x->next, comma = ",")
		fprintf(out, "%s%s", comma, keepexport_text(k, x));
	fputs("],\"sessions\":[", out);
	comma = "";
	for (const struct session *i = d->sessions.first; i; i = i->next, comma = ",") {
		json_t *o = session_json(k, i);

		fputs(comma, out);
		json_dumpf(o, out, JSON_COMPACT);
		json_decref(o);
	}
	fprintf(out, "],%s", rest + 1); /* its brace is there already */
}

/* The whole text, the caller's; NULL without memory.  Names what is in it. */
static char *make_text(struct daemon *d, const char *rest, size_t *bytes)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, bytes);

	if (!out)
		return NULL;
	write_text(d, rest, out);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

bool keep_sync(struct daemon *d)
{
	CLEANUP_FREE char *rest = NULL, *text = NULL;
	struct keep *k = &d->keep;
	struct errbuf e;
	uint64_t print;
	size_t bytes;

	if (!k->on)
		return true;
	keep_all(d);
	for (size_t i = 0; i < k->count; i++)
		k->item[i].named = false;
	rest = rest_text(d);
	print = rest ? make_print(d, rest) : 0;
	if (rest && k->written && print == k->print)
		return true;
	text = rest ? make_text(d, rest, &bytes) : NULL;
	if (!text)
		err_set(&e, ENOMEM, "no memory");
	if (!text || statefile_write(k->fd, text, bytes, &e) < 0) {
		tell_once(k, &e);
		return false;
	}
	k->print = print;
	k->written = true;
	remove_others(k);
	return true;
}

int keep_begin(struct keep *k, int fd, struct errbuf *e)
{
	k->fd = fd;
	if (k->fd < 0) {
		k->fd = statefile_create(e);
		if (k->fd < 0 || fdstore_put(k->fd, KEEP_STATE, e) < 0)
			return -1;
	}
	k->on = true;
	return 0;
}

void keep_end(struct keep *k)
{
	if (!k->on)
		return;
	k->on = false;
	for (size_t i = 0; i < k->count; i++)
		k->item[i].named = false;
	fdstore_remove(KEEP_STATE);
	remove_others(k);
	close(k->fd);
	free(k->item);
	*k = (struct keep){ .fd = -1 };
}
