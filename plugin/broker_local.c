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

struct local {
	pthread_mutex_t lock; /* all below; held over an activation, so two clients do not activate one file twice */
	local_notice *notice;
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

static int local_open(void *self, const char *request, const struct peer *who, struct grant *out, struct errbuf *e)
{
	struct local *l = self;
	char holder[LEASE_HOLDER_MAX], full[EXPORT_NAME_MAX + CLIENT_ID_MAX + 32];
	struct export_request req;
	struct lease_clock now;
	struct local_export *x;
	struct timespec t;
	int r = -1;

	/* With file= the name may be left out. */
	if (l->dirfd < 0 && (request[0] == '\0' || request[0] == '?')) {
		if (snprintf(full, sizeof(full), "%s%s", l->first->name, request) >= (int)sizeof(full))
			return err_set(e, ENAMETOOLONG, "the parameters of the export name are too long");
		request = full;
	}
	if (export_request_parse(request, &req, e) < 0 || lease_holder(req.client, who->address, holder, e) < 0)
		return -1;
	clock_gettime(CLOCK_MONOTONIC, &t);
	now.ms = t.tv_sec * 1000 + t.tv_nsec / 1000000;
	now.wall = time(NULL);

	pthread_mutex_lock(&l->lock);
	x = find_or_activate(l, req.name, e);
	if (x && (!req.resumes || lease_resumes(&x->lease, x->name, holder, backing_activation(x->backing), &req.generation, e) == 0) &&
	    lease_open(&x->lease, x->name, holder, who->address, &now, e) == 0) {
		lease_pass(&x->lease, req.resumes, &now);
		table_set_lease(x->table, x->lease.number);
		if (backing_keep_lease(x->backing, x->lease.number, x->lease.last, e) < 0) {
			lease_close(&x->lease);
			pthread_mutex_unlock(&l->lock);
			return -1;
		}
		*out = (struct grant){ .session = ++l->last_session, .fd = backing_fd(x->backing), .table = x->table,
				       .generation = { .activation = backing_activation(x->backing), .lease = x->lease.number },
				       .kind = backing_backend(x->backing)->kind, .memory = -1 };
		strcpy(out->name, x->name);
		r = 0;
	}
	pthread_mutex_unlock(&l->lock);
	return r;
}

static void local_close(void *self, const struct grant *g)
{
	struct local *l = self;

	pthread_mutex_lock(&l->lock);
	lease_close(&find(l, g->name)->lease);
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

int broker_local_create(const struct local_options *opt, local_notice *tell, struct broker *out, struct errbuf *e)
{
	struct local *l = calloc(1, sizeof(*l));
	int r;

	if (!l)
		return err_set(e, ENOMEM, "no memory");
	pthread_mutex_init(&l->lock, NULL);
	l->notice = tell;
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
