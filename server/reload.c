/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/reload.h"

#include "common/cleanup.h"
#include "server/confkeys.h"
#include "server/jsontext.h"
#include "server/log.h"

#include <errno.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

static int find_fd(const struct listeners *l, const char *text, uint64_t *kept)
{
	for (size_t i = 0; i < l->count; i++)
		if (strcmp(l->addr[i].text, text) == 0) {
			*kept = l->kept[i];
			return l->fd[i];
		}
	*kept = 0;
	return -1;
}

void listeners_close_others(struct listeners *l, const struct listeners *keep)
{
	uint64_t kept;

	for (size_t i = 0; i < l->count; i++)
		if (find_fd(keep, l->addr[i].text, &kept) < 0) {
			close(l->fd[i]);
			listen_unlink(&l->addr[i]);
		}
	l->count = 0;
}

int listeners_prepare(const struct conf_server *want, const struct listeners *have, struct listeners *out, struct errbuf *e)
{
	out->count = 0;
	for (size_t i = 0; i < want->nlisten; i++) {
		const struct listen_addr *a = &want->listen[i];
		uint64_t kept;
		int fd = find_fd(have, a->text, &kept);

		if (fd < 0)
			fd = listen_open(a, e);
		if (fd < 0 && a->optional && e->code == EAFNOSUPPORT) {
			log_line(LOG_WARN, "%s; it was only a default and is left out", e->text);
			continue;
		}
		if (fd < 0) {
			listeners_close_others(out, have);
			return -1;
		}
		out->addr[out->count] = *a;
		out->kept[out->count] = kept;
		out->fd[out->count++] = fd;
	}
	if (out->count == 0)
		return err_set(e, EAFNOSUPPORT, "no address to listen on; give one with listen = ADDR:PORT");
	return 0;
}

struct plan {
	struct conf *conf; /* the new one */
	struct listeners listeners;
	bool listen_changed;
	json_t *errors;
	json_t *added, *removed, *kept, *changed;
};

static __attribute__((format(printf, 2, 3))) void reject(struct plan *p, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	log_line(LOG_ERROR, "reload refused: %s", text);
	json_array_append_new(p->errors, json_text(text));
}

static void prepare_server(struct daemon *d, struct plan *p)
{
	const struct conf_server *old = &d->conf->server, *new = &p->conf->server;
	struct errbuf e;

	for (const struct conf_key *k = conf_keys; k->name; k++) {
		if (k->section != SECTION_SERVER || !conf_key_differs(k, old, new))
			continue;
		if (k->restart)
			reject(p, "%s: %s has changed, which needs a restart; put the old value back or restart nbdswapd",
			       p->conf->path, k->name);
		else if (strcmp(k->name, "listen") == 0)
			p->listen_changed = true;
		else
			json_array_append_new(p->changed, json_string(k->name));
	}
	if (!p->listen_changed)
		return;
	/* The worker inherits its sockets, so other ones mean another worker, and that cuts every session that cannot outlive it. */
	if (sessions_cut_by_end(&d->sessions) > 0)
		reject(p, "%s: listen has changed while %zu sessions are attached, which would be cut; detach them first, or restart"
		       " nbdswapd", p->conf->path, sessions_cut_by_end(&d->sessions));
	else if (listeners_prepare(new, &d->listeners, &p->listeners, &e) < 0)
		reject(p, "%s: %s", p->conf->path, e.text);
	json_array_append_new(p->changed, json_string("listen"));
}

/* The first key of an export that differs and needs it to be activated anew; NULL when there is none. */
static const char *renewing_key(const struct conf_export *a, const struct conf_export *b)
{
	for (const struct conf_key *k = conf_keys; k->name; k++)
		if (k->section == SECTION_EXPORT && k->idle && conf_key_differs(k, a, b))
			return k->name;
	return NULL;
}

static void prepare_exports(struct daemon *d, struct plan *p)
{
	for (struct export *x = d->exports.first; x; x = x->next) {
		const struct conf_export *new = conf_find(p->conf, x->conf.name);
		const char *key = new ? renewing_key(new, &x->conf) : NULL;

		if (key && sessions_held(x))
			reject(p, "%s:%u: [export %s]: %s has changed while client %s is attached; detach it first", p->conf->path,
			       new->line, x->conf.name, key, x->lease.holder);
		else if (key && x->state != EXPORT_READY && x->state != EXPORT_DOWN)
			reject(p, "%s:%u: [export %s]: %s has changed while it is %s; try again when that is done", p->conf->path,
			       new->line, x->conf.name, key, export_state_name(x));
		if (new || !sessions_held(x))
			continue;
		for (size_t i = 0; i < p->conf->nexports; i++)
			if (strcmp(p->conf->exports[i].file, x->conf.file) == 0)
				reject(p, "%s:%u: [export %s]: file %s is still in use by export %s, which was removed but has client"
				       " %s attached; detach it first", p->conf->path, p->conf->exports[i].line,
				       p->conf->exports[i].name, x->conf.file, x->conf.name, x->lease.holder);
	}
}

static void prepare(struct daemon *d, struct plan *p)
{
	struct conf_errors errors;

	p->conf = conf_load(d->conf->path, &errors);
	for (size_t i = 0; i < errors.count; i++)
		reject(p, "%s", errors.text[i]);
	conf_errors_free(&errors);
	if (!p->conf)
		return;
	prepare_exports(d, p);
	if (json_array_size(p->errors) == 0)
		prepare_server(d, p);
}

static void commit_export(struct daemon *d, struct plan *p, const struct conf_export *new)
{
	struct export *x = exports_find(&d->exports, new->name);
	bool moved; /* to another file, or to other rules */
	bool back;  /* it was removed, and what came of that may not have ended yet */

	if (!x) {
		json_array_append_new(p->added, json_string(new->name));
		exports_provide(exports_add(&d->exports, new));
		return;
	}
	moved = renewing_key(new, &x->conf) != NULL;
	back = x->removed;
	if (back)
		json_array_append_new(p->added, json_string(new->name));
	else if (moved || strcmp(new->description, x->conf.description) != 0 || new->create != x->conf.create ||
		 new->retry_time != x->conf.retry_time)
		json_array_append_new(p->changed, json_string(new->name));
	x->removed = false;
	atomic_store(&x->interrupt, false);
	if (moved) { /* then no job is under way that reads it */
		x->conf = *new;
	} else {
		strcpy(x->conf.description, new->description);
		x->conf.create = new->create;
		x->conf.retry_time = new->retry_time;
		if (x->table)
			table_set_retry_time(x->table, (uint32_t)new->retry_time);
	}
	if (x->state == EXPORT_DOWN) {
		exports_provide(x);
	} else if (moved) {
		x->blocked = true; /* provided once released */
		sessions_release(&d->sessions, x);
	} else if (back && x->state != EXPORT_READY && x->state != EXPORT_SETTLING) {
		x->blocked = true; /* the same, or once its activation has been interrupted */
	}
}

static void commit_removal(struct daemon *d, struct plan *p, struct export *x)
{
	export_unwanted(x);
	if (sessions_held(x)) {
		log_line(LOG_WARN, "export %s was removed but client %s is attached; it is kept until that one goes", x->conf.name,
			 x->lease.holder);
		json_array_append_new(p->kept, json_string(x->conf.name));
		return;
	}
	json_array_append_new(p->removed, json_string(x->conf.name));
	if (x->state == EXPORT_READY)
		sessions_release(&d->sessions, x);
	else if (x->state == EXPORT_DOWN)
		exports_remove(&d->exports, x);
	/* Else the job at hand ends first; what follows it sees removed. */
}

static void commit(struct daemon *d, struct plan *p)
{
	struct conf *old = d->conf;

	for (struct export *x = d->exports.first, *next; x; x = next) {
		next = x->next;
		if (!conf_find(p->conf, x->conf.name) && !x->removed)
			commit_removal(d, p, x);
	}
	/* First those that are there: what they give back may be wanted by new ones. */
	for (int new = 0; new < 2; new++)
		for (size_t i = 0; i < p->conf->nexports; i++)
			if ((conf_find(d->conf, p->conf->exports[i].name) == NULL) == new)
				commit_export(d, p, &p->conf->exports[i]);
	d->conf = steal_ptr(&p->conf);
	if (p->listen_changed) {
		listeners_close_others(&d->listeners, &p->listeners);
		d->listeners = p->listeners;
	}
	worker_set(&d->worker, &d->conf->server, d->listeners.fd, d->listeners.count);
	if (p->listen_changed)
		worker_event(&d->worker, WORKER_EV_RENEW);
	conf_free(old);
}

json_t *daemon_reload(struct daemon *d)
{
	struct plan p = { .conf = NULL };
	json_t *verdict;

	if (d->stopping)
		return json_pack("{s:b, s:s}", "ok", 0, "error", "the daemon is stopping");
	p.errors = json_array();
	p.added = json_array();
	p.removed = json_array();
	p.kept = json_array();
	p.changed = json_array();
	prepare(d, &p);
	if (json_array_size(p.errors) > 0) {
		verdict = json_pack("{s:b, s:O, s:O}", "ok", 0, "error", json_array_get(p.errors, 0), "errors", p.errors);
		listeners_close_others(&p.listeners, &d->listeners);
	} else {
		commit(d, &p);
		verdict = json_pack("{s:b, s:O, s:O, s:O, s:O}", "ok", 1, "added", p.added, "removed", p.removed, "kept", p.kept,
				    "changed", p.changed);
		log_line(LOG_NOTE, "reloaded: %zu exports added, %zu removed, %zu kept for their clients, %zu things changed",
			 json_array_size(p.added), json_array_size(p.removed), json_array_size(p.kept),
			 json_array_size(p.changed));
	}
	conf_free(p.conf);
	json_decref(p.errors);
	json_decref(p.added);
	json_decref(p.removed);
	json_decref(p.kept);
	json_decref(p.changed);
	return verdict;
}
