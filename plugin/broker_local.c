/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "plugin/broker_local.h"

#include "common/cleanup.h"
#include "common/lease.h"
#include "common/noswap.h"
#include "common/progress.h"
#include "store/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>

struct local_export {
	struct local_export *next;
	char name[EXPORT_NAME_MAX + 1];
	struct backing *backing;
	struct table *table; /* NULL until its use began */
	struct lease lease;
};

struct local_session {
	struct local_session *next;
	uint64_t id;
	const struct local_export *x;
	char holder[LEASE_HOLDER_MAX];
	unsigned slot, slots;
	bool ended; /* another has its place */
};

/* One that is not let into a slot waits so long for its end. */
#define SLOT_WAIT_S 5

struct local {
	pthread_mutex_t lock; /* all below; held over an activation, so two clients do not activate one file twice */
	pthread_cond_t closed; /* a session was */
	local_notice *notice;
	local_end *end;
	struct local_session *sessions;
	int dirfd; /* -1 with file= */
	bool allow_unlocked;
	uint32_t retry_s;
	enum page_check check;
	enum page_seal seal;
	enum page_survive survive;
	char *key_file; /* NULL: none, or an ephemeral key */
	uint64_t last_session;
	struct local_export *first;
};

static void notice(const struct local *l, bool warning, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void notice(const struct local *l, bool warning, const char *fmt, ...)
{
	char text[768];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	l->notice(warning, text);
}

static bool show_progress(void *arg, uint64_t done, uint64_t total)
{
	struct progress *bar = arg;

	bar->total = total;
	progress_update(bar, done);
	return true;
}

static struct local_export *activate(struct local *l, const char *name, const char *path, const struct backing_options *opt,
				     struct errbuf *e)
{
	struct local_export *x = calloc(1, sizeof(*x));
	struct report report;

	if (!x) {
		err_set(e, ENOMEM, "%s: no memory", name);
		return NULL;
	}
	snprintf(x->name, sizeof(x->name), "%s", name);
	if (backing_activate(path, opt, &x->backing, &report, e) < 0) {
		free(x);
		return NULL;
	}
	for (size_t i = 0; i < report.count; i++)
		if (report.findings[i].verdict == VERDICT_WARN)
			notice(l, true, "%s", report.findings[i].text);
	x->next = l->first;
	l->first = x;
	return x;
}

static int begin(struct local *l, struct local_export *x, struct errbuf *e)
{
	if (x->table)
		return 0;
	if (backing_begin(x->backing, &x->table, e) < 0)
		return -1;
	table_set_retry_time(x->table, l->retry_s);
	lease_begin(&x->lease, table_lease(x->table));
	if (backing_was_resumed(x->backing))
		strcpy(x->lease.last, backing_lease_holder(x->backing));
	notice(l, false, "%s: activated, %s, generation %" PRIu64, backing_path(x->backing), backing_backend(x->backing)->name,
	       backing_activation(x->backing));
	if (backing_was_resumed(x->backing))
		notice(l, true, "%s: its last use did not end cleanly; it goes on with what its records tell of its pages", backing_path(x->backing));
	if (backing_was_unclean(x->backing))
		notice(l, true, "%s: its last use did not end cleanly: every page is lost until it is written or discarded anew",
		       backing_path(x->backing));
	return 0;
}

static struct local_export *find(struct local *l, const char *name)
{
	for (struct local_export *x = l->first; x; x = x->next)
		if (strcmp(x->name, name) == 0)
			return x;
	return NULL;
}

/* Lock held. */
static struct local_export *find_or_activate(struct local *l, const char *name, struct errbuf *e)
{
	struct local_export *x = find(l, name);

	if (!x && l->dirfd < 0) {
		err_set(e, ENOENT, "export \"%s\" is not known; this server has \"%s\"", name, l->first->name);
		return NULL;
	}
	if (!x) {
		/* What a client names is only served as it is: never created, never rewritten. */
		struct backing_options opt = { .provision = PROVISION_NEVER, .dirfd = l->dirfd,
					       .allow_unlocked = l->allow_unlocked, .check = l->check,
					       .seal = l->seal, .key_file = l->key_file, .survive = l->survive };

		x = activate(l, name, name, &opt, e);
	}
	return x && begin(l, x, e) == 0 ? x : NULL;
}

static void clock_now(struct lease_clock *now)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	now->ms = t.tv_sec * 1000 + t.tv_nsec / 1000000;
	now->wall = time(NULL);
}

static struct local_session *in_slot(const struct local *l, const struct local_export *x, const char *holder, const struct export_request *req)
{
	for (struct local_session *s = l->sessions; s && req->slots; s = s->next)
		if (s->x == x && s->slots && s->slot == req->slot && !s->ended && strcmp(s->holder, holder) == 0)
			return s;
	return NULL;
}

static struct local_session *session_of(const struct local *l, uint64_t id)
{
	for (struct local_session *s = l->sessions; s; s = s->next)
		if (s->id == id)
			return s;
	return NULL;
}

/* The session before is to end (lock held, but not all the time).  Who comes back ends it: nothing of it may land after what the new one writes.  Who
 * begins anew may be another attach of the same machine, and waits until the first has left.
 */
static int make_way(struct local *l, struct local_session *before, bool comes_back, const struct timespec *until, struct errbuf *e)
{
	uint64_t id = before->id;
	bool ended;

	/* It may be freed whenever the lock is not held. */
	if (!comes_back) {
		if (pthread_cond_timedwait(&l->closed, &l->lock, until) == 0 || !session_of(l, id))
			return 0;
		return err_set(e, EAGAIN, "%s: the earlier connection in its slot has not ended yet; try again later (with gen= it would take that one's"
			       " place)", before->x->name);
	}
	pthread_mutex_unlock(&l->lock);
	ended = l->end(id);
	pthread_mutex_lock(&l->lock);
	before = session_of(l, id);
	if (before)
		before->ended = ended; /* one that is not is in the way of the next try too */
	return ended ? 0 : err_set(e, EAGAIN, "the earlier connection in its slot cannot be ended now; try again later");
}

/* May it have a session now?  Lock held, but not all the time. */
static int let_in(struct local *l, struct local_export *x, const struct export_request *req, const char *holder, struct errbuf *e)
{
	struct local_session *before;
	struct timespec until;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += SLOT_WAIT_S;
	for (;;) {
		if (req->resumes && lease_resumes(&x->lease, x->name, holder, backing_activation(x->backing), &req->generation, e) < 0)
			return -1;
		before = in_slot(l, x, holder, req);
		if (!before)
			return 0;
		if (make_way(l, before, req->resumes, &until, e) < 0)
			return -1;
	}
}

/* Lock held. */
static int grant_session(struct local *l, struct local_export *x, const struct export_request *req, const char *holder, const char *peer,
			 struct grant *out, struct errbuf *e)
{
	struct local_session *s;
	struct lease_clock now;

	clock_now(&now);
	if (lease_open(&x->lease, x->name, holder, peer, &now, e) < 0)
		return -1;
	if (!req->looks)
		lease_pass(&x->lease, req->resumes, &now);
	table_set_lease(x->table, x->lease.number);
	s = calloc(1, sizeof(*s));
	if (!s || (!req->looks && backing_keep_lease(x->backing, x->lease.number, x->lease.last, e) < 0)) {
		lease_close(&x->lease, &now);
		if (!s)
			err_set(e, ENOMEM, "%s: no memory for a session", x->name);
		free(s);
		return -1;
	}
	*s = (struct local_session){ .next = l->sessions, .id = ++l->last_session, .x = x, .slot = req->slot, .slots = req->slots };
	strcpy(s->holder, holder);
	l->sessions = s;
	*out = (struct grant){ .session = s->id, .fd = backing_fd(x->backing), .table = x->table,
			       .generation = { .activation = backing_activation(x->backing), .lease = x->lease.number },
			       .kind = backing_backend(x->backing)->kind, .memory = -1 };
	strcpy(out->name, x->name);
	return 0;
}

static int local_open(void *self, const char *request, const struct peer *who, struct grant *out, struct errbuf *e)
{
	struct local *l = self;
	char holder[LEASE_HOLDER_MAX], full[EXPORT_NAME_MAX + CLIENT_ID_MAX + GENERATION_TEXT + 32];
	struct export_request req;
	struct local_export *x;
	int r = -1;

	/* With file= the name may be left out. */
	if (l->dirfd < 0 && (request[0] == '\0' || request[0] == '?')) {
		if (snprintf(full, sizeof(full), "%s%s", l->first->name, request) >= (int)sizeof(full))
			return err_set(e, ENAMETOOLONG, "the parameters of the export name are too long");
		request = full;
	}
	if (export_request_parse(request, &req, e) < 0 || lease_holder(req.client, who->address, holder, e) < 0)
		return -1;
	pthread_mutex_lock(&l->lock);
	x = find_or_activate(l, req.name, e);
	if (x && let_in(l, x, &req, holder, e) == 0)
		r = grant_session(l, x, &req, holder, who->address, out, e);
	pthread_mutex_unlock(&l->lock);
	return r;
}

static void local_close(void *self, const struct grant *g)
{
	struct local *l = self;
	struct local_session *s, **p;
	struct lease_clock now;

	clock_now(&now);
	pthread_mutex_lock(&l->lock);
	for (p = &l->sessions; (*p)->id != g->session; p = &(*p)->next)
		;
	s = *p;
	*p = s->next;
	free(s);
	lease_close(&find(l, g->name)->lease, &now);
	pthread_cond_broadcast(&l->closed);
	pthread_mutex_unlock(&l->lock);
}

static enum reopened local_reopen(void *self, const char *name, int *fd, struct errbuf *e)
{
	struct local *l = self;
	struct local_export *x;

	/* The export stays until finish(), and nobody else uses its backing. */
	pthread_mutex_lock(&l->lock);
	x = find(l, name);
	pthread_mutex_unlock(&l->lock);
	*fd = -1;
	return backing_reopen(x->backing, l->retry_s, e);
}

static int local_list(void *self, list_fn *fn, void *arg, struct errbuf *e)
{
	struct local *l = self;
	CLEANUP_CLOSEDIR DIR *d = NULL;
	struct dirent *entry;
	int fd;

	if (l->dirfd < 0) {
		fn(arg, l->first->name, NULL);
		return 0;
	}
	fd = openat(l->dirfd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	d = fd < 0 ? NULL : fdopendir(fd);
	if (!d)
		return err_errno(e, "cannot read the directory");
	while ((entry = readdir(d))) {
		struct stat st;

		if (export_name_check(entry->d_name, NULL) == 0 &&
		    fstatat(l->dirfd, entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
			fn(arg, entry->d_name, NULL);
	}
	return 0;
}

/* In the process that will serve: locks are not inherited over the fork into the background. */
static int local_ready(void *self, uint64_t locked_kib, struct errbuf *e)
{
	struct local *l = self;

	(void)locked_kib;
	return l->first ? begin(l, l->first, e) : 0;
}

static void local_finish(void *self)
{
	struct local *l = self;

	while (l->first) {
		struct local_export *x = l->first;
		struct errbuf e;

		l->first = x->next;
		if (x->table && backing_end(x->backing, x->table, &e) < 0)
			notice(l, true, "%s; every page will be lost at the next activation", e.text);
		table_free(x->table);
		backing_close(x->backing);
		free(x);
	}
	if (l->dirfd >= 0)
		close(l->dirfd);
	pthread_cond_destroy(&l->closed);
	pthread_mutex_destroy(&l->lock);
	free(l->key_file);
	free(l);
}

static int activate_file(struct local *l, const struct local_options *o, struct errbuf *e)
{
	struct progress bar;
	struct backing_options opt = {
		.size = o->size,
		.provision = !o->size ? PROVISION_NEVER : o->rewrite ? PROVISION_REWRITE : PROVISION_CREATE,
		.dirfd = AT_FDCWD,
		.force = o->force,
		.allow_unlocked = o->allow_unlocked,
		.check = l->check,
		.seal = l->seal,
		.key_file = l->key_file,
		.survive = l->survive,
		.progress = show_progress,
		.progress_arg = &bar,
	};
	const char *slash = strrchr(o->file, '/'), *name = slash ? slash + 1 : o->file;
	struct local_export *x;

	progress_begin(&bar, stderr, "allocating", 0);
	x = activate(l, export_name_check(name, NULL) == 0 ? name : "swap", o->file, &opt, e);
	progress_end(&bar);
	return x ? 0 : -1;
}

/* Locked memory never reaches a swap device; without it there must be none. */
static int check_memory_for_keys(const struct local_options *opt, struct errbuf *e)
{
	if (opt->seal == PAGE_SEAL_NONE || !opt->allow_unlocked || noswap_check(e) == 0)
		return 0;
	return err_prefix(e, "seal= with allow=memlock: memory is not locked");
}

int broker_local_create(const struct local_options *opt, local_notice *tell, local_end *end, struct broker *out, struct errbuf *e)
{
	struct local *l = calloc(1, sizeof(*l));
	pthread_condattr_t monotonic;
	int r;

	if (!l)
		return err_set(e, ENOMEM, "no memory");
	pthread_mutex_init(&l->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&l->closed, &monotonic);
	pthread_condattr_destroy(&monotonic);
	l->notice = tell;
	l->end = end;
	l->allow_unlocked = opt->allow_unlocked;
	l->retry_s = opt->retry_s;
	l->check = opt->check;
	l->seal = opt->seal;
	l->survive = opt->survive;
	l->key_file = opt->key_file ? strdup(opt->key_file) : NULL;
	l->dirfd = -1;
	if (opt->key_file && !l->key_file) {
		r = err_set(e, ENOMEM, "no memory");
	} else if (check_memory_for_keys(opt, e) < 0) {
		r = -1;
	} else if (opt->dir) {
		l->dirfd = open(opt->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		r = l->dirfd < 0 ? err_errno(e, "dir=%s: cannot open it", opt->dir) : 0;
	} else {
		r = activate_file(l, opt, e);
	}
	if (r < 0) {
		local_finish(l);
		return -1;
	}
	*out = (struct broker){ .self = l, .open = local_open, .close = local_close, .list = local_list,
				.reopen = local_reopen,
				.ready = local_ready, .finish = local_finish };
	return 0;
}
