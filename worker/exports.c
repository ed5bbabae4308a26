/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "worker/exports.h"

#include "store/table.h"
#include "worker/closer.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct export {
	struct exports *set;
	struct export *next;
	char name[EXPORT_NAME_MAX + 1];
	int fd;
	struct table *table;
	bool owned;
	struct store *store;
	unsigned sessions;
	_Atomic bool stale;  /* its file is to be opened anew, by the attendant; not before: */
	int64_t reopen_ms;
	bool reopening;	     /* the broker is at it: the export stays */
	bool told;	     /* that the file is not to be had just now */
	bool lost;	     /* as its predecessor's was */
	void *data;	     /* of the hooks */
};

#define OVERTAKEN_MAX 64

struct exports {
	pthread_mutex_t lock; /* the list and the session counts; not held over a broker's open */
	const struct broker *broker;
	struct pool *pool;
	bool allow_unlocked;
	int (*sleep)(int ms);
	void (*say)(enum notice_priority priority, const char *text);
	struct attendant *attendant;
	struct closer *closer;
	struct exports_hooks hooks;
	struct export *first;
	struct session *sessions;
	/* Sessions that the broker ended before they were in the list: it grants a session and may at once grant its place to another. */
	unsigned opening; /* calls of the broker's open */
	unsigned overtaken_count;
	uint64_t overtaken[OVERTAKEN_MAX];
	bool draining;
};

#define REOPEN_EVERY_MS 1000

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* ---- files opened anew ---- */

/* What the broker said of p (lock held). */
static void reopened(struct export *p, enum reopened r, int fd, const struct errbuf *e)
{
	if (r == REOPEN_SAME && fd >= 0) {
		/* All threads know the number: the new description takes it over at once. */
		int old = fcntl(p->fd, F_DUPFD_CLOEXEC, 0);
		bool failed = dup3(fd, p->fd, O_CLOEXEC) < 0;

		close(fd);
		if (old >= 0)
			closer_put(p->set->closer, old);
		if (failed)
			r = REOPEN_LATER;
	}
	switch (r) {
	case REOPEN_SAME:
		p->stale = p->told = false;
		if (p->set->hooks.refd)
			p->set->hooks.refd(p->set->hooks.arg, p->data);
		store_reopened(p->store);
		return;
	case REOPEN_LATER:
		if (!p->told)
			attendant_say(p->set->attendant, NOTICE_WARNING, e->text);
		p->told = true;
		p->reopen_ms = now_ms() + REOPEN_EVERY_MS;
		return;
	case REOPEN_LOST:
		break;
	}
	p->stale = false;
	store_lost(p->store, e->text);
}

/* The attendant's work: has one file opened anew. */
static int attend(void *arg)
{
	struct exports *x = arg;
	struct export *p;
	struct errbuf e = { .text = "" };
	char name[EXPORT_NAME_MAX + 1];
	enum reopened r;
	int fd = -1, wait = -1;

	pthread_mutex_lock(&x->lock);
	for (p = x->first; p; p = p->next) {
		int64_t left = p->reopen_ms - now_ms();

		if (p->stale && left <= 0)
			break;
		if (p->stale && (wait < 0 || left < wait))
			wait = (int)left;
	}
	if (p) {
		p->reopening = true;
		strcpy(name, p->name);
		pthread_mutex_unlock(&x->lock);
		r = x->broker->reopen(x->broker->self, name, &fd, &e);
		pthread_mutex_lock(&x->lock);
		p->reopening = false;
		reopened(p, r, fd, &e);
		wait = 0; /* there may be another */
	}
	pthread_mutex_unlock(&x->lock);
	return wait;
}

/* On a request's thread: no lock of ours, and no memory. */
static void on_stale(void *arg)
{
	struct export *p = arg;

	p->stale = true;
	attendant_poke(p->set->attendant);
}

static void on_message(void *arg, enum notice_priority priority, const char *text)
{
	struct export *p = arg;

	if (p->set->attendant)
		attendant_say(p->set->attendant, priority, text);
	else
		p->set->say(priority, text); /* no request is under way any more */
}

struct exports *exports_create(const struct exports_options *o, struct errbuf *e)
{
	struct exports *x = calloc(1, sizeof(*x));
	struct attendant_ops ops = { .say = o->say, .work = attend, .arg = x };

	if (!x) {
		err_set(e, ENOMEM, "no memory for the list of exports");
		return NULL;
	}
	pthread_mutex_init(&x->lock, NULL);
	x->broker = o->broker;
	x->pool = o->pool;
	x->allow_unlocked = o->allow_unlocked;
	x->sleep = o->sleep;
	x->say = o->say;
	x->hooks = o->hooks;
	x->closer = closer_create(e);
	if (x->closer)
		x->attendant = attendant_create(&ops, e);
	if (!x->attendant) {
		closer_free(x->closer);
		pthread_mutex_destroy(&x->lock);
		free(x);
		return NULL;
	}
	return x;
}

/* ---- exports and sessions ---- */

static struct export *find(struct exports *x, const char *name)
{
	for (struct export *p = x->first; p; p = p->next)
		if (strcmp(p->name, name) == 0)
			return p;
	return NULL;
}

/* File and table; they may be those of an export already. */
static void drop_grant(struct exports *x, struct grant *g)
{
	if (!g->owned)
		return;
	table_free(g->table);
	closer_put(x->closer, g->fd);
}

static void free_export(struct export *p)
{
	if (p->set->hooks.removing)
		p->set->hooks.removing(p->set->hooks.arg, p->data);
	store_free(p->store);
	if (p->owned) {
		table_free(p->table);
		close(p->fd);
	}
	free(p);
}

/* Lock held; no session is left. */
static void remove_export(struct exports *x, struct export *p)
{
	struct export **pp = &x->first;

	while (*pp != p)
		pp = &(*pp)->next;
	*pp = p->next;
	free_export(p);
}

/* Lock held. */
static struct export *add(struct exports *x, const struct grant *g, struct errbuf *e)
{
	const struct exports_hooks *h = &x->hooks;
	bool direct = h->direct && h->direct(h->arg, g);
	struct export *p = calloc(1, sizeof(*p));

	if (!p) {
		err_set(e, ENOMEM, "%s: no memory", g->name);
		return NULL;
	}
	strcpy(p->name, g->name);
	p->set = x;
	p->store = store_create(&(struct store_options){ .name = g->name, .fd = g->fd, .table = g->table,
							 .pool = direct ? NULL : x->pool, .kind = g->kind, .emit = on_message, .stale = on_stale, .arg = p,
							 .sleep = x->sleep }, e);
	if (p->store && h->added) {
		p->data = h->added(h->arg, p->name, g->fd, g->table, p->store, g, e);
		if (!p->data) {
			store_free(p->store);
			p->store = NULL;
		}
	}
	if (!p->store) {
		free(p);
		return NULL;
	}
	if (x->draining)
		store_drain(p->store, 0);
	p->fd = g->fd;
	p->table = g->table;
	p->owned = g->owned;
	p->next = x->first;
	x->first = p;
	return p;
}

/* Do two grants of one name mean the same content?  The table tells: each activation makes its own. */
static bool same_content(const struct export *p, const struct grant *g)
{
	struct stat have, got;

	return fstat(table_fd(p->table), &have) == 0 && fstat(table_fd(g->table), &got) == 0 && have.st_dev == got.st_dev &&
	       have.st_ino == got.st_ino;
}

/* The export that a grant is for (lock held).  One that this worker still has from an earlier activation, because the broker could not
 * wait until it was forgotten, must not be used again: its file may belong to somebody else by now.
 */
static struct export *find_or_add(struct exports *x, struct grant *g, struct errbuf *e)
{
	struct export *p = find(x, g->name);

	if (p && !same_content(p, g)) {
		if (p->sessions > 0 || p->reopening) {
			err_set(e, EBUSY, "%s: sessions on an earlier activation have not ended; try again later", g->name);
			return NULL;
		}
		remove_export(x, p);
		p = NULL;
	}
	if (!p)
		return add(x, g, e);
	drop_grant(x, g); /* the same file and table once more */
	return p;
}

static bool was_overtaken(const struct exports *x, uint64_t session)
{
	for (unsigned i = 0; i < x->overtaken_count; i++)
		if (x->overtaken[i] == session)
			return true;
	return false;
}

/* Makes a session of its grant (lock held).  0; -1 with *e, and file and table are dropped. */
static int adopt(struct exports *x, struct session *s, struct errbuf *e)
{
	struct export *p = NULL;

	if (was_overtaken(x, s->grant.session))
		err_set(e, ECANCELED, "%s: another connection of the same client has taken its place", s->grant.name);
	else
		p = find_or_add(x, &s->grant, e);
	if (!p) {
		drop_grant(x, &s->grant);
		return -1;
	}
	p->sessions++;
	s->sock = -1;
	s->export = p;
	s->store = p->store;
	s->name = p->name;
	s->data = p->data;
	s->next = x->sessions;
	x->sessions = s;
	return 0;
}

static void free_session(struct session *s)
{
	if (s->grant.memory >= 0)
		close(s->grant.memory);
	free(s);
}

struct session *exports_open_session(struct exports *x, const char *request, const struct peer *who, struct errbuf *e)
{
	struct session *s = calloc(1, sizeof(*s));
	bool granted, adopted = false;

	if (!s) {
		err_set(e, ENOMEM, "no memory for a session");
		return NULL;
	}
	pthread_mutex_lock(&x->lock);
	x->opening++;
	pthread_mutex_unlock(&x->lock);
	granted = x->broker->open(x->broker->self, request, who, &s->grant, e) == 0;
	pthread_mutex_lock(&x->lock);
	if (granted)
		adopted = adopt(x, s, e) == 0;
	if (--x->opening == 0)
		x->overtaken_count = 0; /* all that were meant have come */
	pthread_mutex_unlock(&x->lock);
	if (adopted)
		return s;
	if (granted) {
		x->broker->close(x->broker->self, &s->grant);
		free_session(s);
	} else {
		free(s);
	}
	return NULL;
}

/* What a predecessor was told that it has lost, its descriptors may reach again: somebody else's by now (lock held). */
static void stay_lost(struct export *p)
{
	if (!p->lost)
		store_lost(p->store, "it was lost while an earlier worker had it (nbdswapctl status says why)");
	p->lost = true;
}

struct session *exports_resume_session(struct exports *x, struct grant *g, struct errbuf *e)
{
	struct session *s = calloc(1, sizeof(*s));
	bool adopted = false;

	if (s) {
		s->grant = *g;
		pthread_mutex_lock(&x->lock);
		adopted = adopt(x, s, e) == 0;
		if (adopted && g->lost)
			stay_lost(s->export);
		pthread_mutex_unlock(&x->lock);
		if (adopted)
			return s;
		free_session(s);
	} else {
		err_set(e, ENOMEM, "%s: no memory for a session", g->name);
		drop_grant(x, g);
		close(g->memory);
	}
	return NULL;
}

bool exports_end_session(struct exports *x, uint64_t session, bool (*end)(void *arg, struct session *s), void *arg)
{
	struct session *s;
	bool ended = true;

	pthread_mutex_lock(&x->lock);
	for (s = x->sessions; s && s->grant.session != session; s = s->next)
		;
	if (s)
		ended = end(arg, s);
	else if (x->opening > 0 && x->overtaken_count < OVERTAKEN_MAX)
		x->overtaken[x->overtaken_count++] = session;
	else if (x->opening > 0)
		ended = false; /* not known: who asks gives up after a while */
	pthread_mutex_unlock(&x->lock);
	return ended;
}

static void take_out(struct exports *x, struct session *s)
{
	struct session **p;

	pthread_mutex_lock(&x->lock);
	for (p = &x->sessions; *p != s; p = &(*p)->next)
		;
	*p = s->next;
	s->export->sessions--;
	pthread_mutex_unlock(&x->lock);
}

void exports_close_session(struct exports *x, struct session *s)
{
	take_out(x, s);
	x->broker->close(x->broker->self, &s->grant);
	free_session(s);
}

void exports_drop_session(struct exports *x, struct session *s)
{
	take_out(x, s);
	free_session(s);
}

bool exports_drain(struct exports *x, int timeout_ms)
{
	int64_t until = now_ms() + timeout_ms;
	bool drained = true;

	pthread_mutex_lock(&x->lock);
	x->draining = true;
	/* First all are stopped, so that none goes on while another is waited for. */
	for (struct export *p = x->first; p; p = p->next)
		store_drain(p->store, 0);
	for (struct export *p = x->first; p; p = p->next) {
		int64_t left = until - now_ms();

		drained &= store_drain(p->store, left > 0 ? (int)left : 0);
	}
	pthread_mutex_unlock(&x->lock);
	return drained;
}

bool exports_forget(struct exports *x, const char *name)
{
	struct export *p;
	bool unused;

	pthread_mutex_lock(&x->lock);
	p = find(x, name);
	unused = !p || (p->sessions == 0 && !p->reopening);
	if (p && unused)
		remove_export(x, p);
	pthread_mutex_unlock(&x->lock);
	return unused;
}

void exports_with_data(struct exports *x, const char *name, void (*fn)(void *arg, void *data), void *arg)
{
	pthread_mutex_lock(&x->lock);
	for (struct export *p = x->first; p; p = p->next)
		if (!name || strcmp(p->name, name) == 0)
			fn(arg, p->data);
	pthread_mutex_unlock(&x->lock);
}

unsigned exports_sessions(struct exports *x)
{
	unsigned n = 0;

	pthread_mutex_lock(&x->lock);
	for (struct export *p = x->first; p; p = p->next)
		n += p->sessions;
	pthread_mutex_unlock(&x->lock);
	return n;
}

size_t exports_list_sessions(struct exports *x, uint64_t *out, size_t max)
{
	size_t n = 0;

	pthread_mutex_lock(&x->lock);
	for (const struct session *s = x->sessions; s; s = s->next, n++)
		if (n < max)
			out[n] = s->grant.session;
	pthread_mutex_unlock(&x->lock);
	return n;
}

void exports_free(struct exports *x)
{
	if (!x)
		return;
	attendant_free(x->attendant);
	x->attendant = NULL;
	while (x->first)
		remove_export(x, x->first);
	closer_free(x->closer);
	pthread_mutex_destroy(&x->lock);
	free(x);
}
