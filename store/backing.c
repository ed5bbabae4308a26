/* SPDX-License-Identifier: BSD-3-Clause */
/* swap_activate: from a path to a locked, allocated and checked backing file.  What follows while it is in use is in
 * backing_use.c.
 */
#include "config.h"

#include "store/backing.h"

#include "common/cleanup.h"
#include "common/signature.h"
#include "common/size.h"
#include "store/allocate.h"
#include "store/backing_priv.h"
#include "store/checks.h"
#include "store/lock.h"
#include "store/open.h"
#include "store/page.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>
#include <uuid/uuid.h>

static struct check_target target_of(const struct backing *b)
{
	struct check_target t = {
		.fd = b->fd, .path = b->name, .backend = &b->backend, .st = b->st, .size = b->size,
	};

	return t;
}

static int refresh(struct backing *b, struct errbuf *e)
{
	if (fstat(b->fd, &b->st) < 0)
		return err_errno(e, "%s: cannot look at it", b->name);
	if (S_ISREG(b->st.st_mode))
		b->size = (uint64_t)b->st.st_size;
	return 0;
}

/* Everything that can be known about the place before a byte is allocated there. */
static void check_place(const struct backing *b, bool direct, struct report *r)
{
	struct check_target t = target_of(b);

	report_add(r, VERDICT_OK, "backend", "%s%s%s", b->backend.name, b->backend.mount_point[0] ? " mounted on " : "",
		   b->backend.mount_point);
	if (direct)
		report_add(r, VERDICT_OK, "direct-io", "opened with O_DIRECT");
	else
		report_add(r, b->backend.kind == BACKEND_TMPFS ? VERDICT_WARN : VERDICT_FAIL, "direct-io",
			   "%s: %s cannot do direct I/O here, so a write would not be at the storage when it is acknowledged; "
			   "use another file system", b->name, b->backend.name);
	check_mount(&t, r);
	check_owner(&t, r);
	check_flags(&t, r);
	check_device(&t, r);
}

static void check_size(const struct backing *b, struct report *r)
{
	if (b->size % PAGE_BYTES || b->size == 0)
		report_add(r, VERDICT_FAIL, "size", "%s: its size of %" PRIu64 " bytes is not a multiple of a page (4096)%s; "
			   "run `nbdswapctl activate` with a size on it", b->name, b->size, b->size ? "" : " above 0");
	else
		report_add(r, VERDICT_OK, "size", "%" PRIu64 " bytes", b->size);
}

/* The stamp is the only proof of allocation where the file system cannot tell (SMB, and what a NAS does below NFS). */
static void check_stamp(const struct backing *b, struct report *r)
{
	const struct trailer *t = &b->trailer;
	char size[SIZE_TEXT];

	if (!b->has_trailer)
		report_add(r, VERDICT_FAIL, "trailer", "%s: has no trailer of nbdswap's, so nothing proves that every page was "
			   "written; run `nbdswapctl activate` with a size on it (its content will be lost)", b->name);
	else if (t->state == TRAILER_ALLOCATING)
		report_add(r, VERDICT_FAIL, "trailer", "%s: its allocation was interrupted after %u %%; run `nbdswapctl activate` "
			   "on it to finish", b->name,
			   (unsigned)(t->allocated * 100 / (t->table_offset + t->table_bytes)));
	else if (b->backend.kind != BACKEND_BLOCKDEV && t->inode != (uint64_t)b->st.st_ino &&
		 !backend_tells_allocation(&b->backend))
		report_add(r, backend_option(&b->backend, "noserverino", NULL) ? VERDICT_WARN : VERDICT_FAIL, "trailer",
			   "%s: its trailer was made for another file (a copy?), so nothing proves that every page was "
			   "written; run `nbdswapctl activate --rewrite` on it (its content will be lost)", b->name);
	else
		report_add(r, VERDICT_OK, "trailer", "export of %s, generation %" PRIu64 ", %s",
			   size_format(t->data_size, size), t->activation,
			   t->state == TRAILER_CLEAN ? "ended cleanly" : "marked in use");
}

static void check_content(const struct backing *b, struct report *r)
{
	struct check_target t = target_of(b);

	check_size(b, r);
	check_stamp(b, r);
	check_holes(&t, r);
	check_extents(&t, r);
}

/* The first refusal becomes the error; the others are in the report. */
static int refuse_if_failed(const struct backing *b, const struct report *r, struct errbuf *e)
{
	const struct finding *f = report_first(r, VERDICT_FAIL);

	return f ? err_set(e, EINVAL, "%s", f->text) : 0;
}

static void describe_owner(const struct trailer *t, char *out, size_t size)
{
	char when[32] = "";
	time_t since = (time_t)t->owner_since;
	struct tm tm;

	if (localtime_r(&since, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(out, size, "process %" PRIu32 " on %.63s since %s", t->owner_pid, t->owner_host, when);
}

static int refuse_held(struct backing *b, struct errbuf *e)
{
	char who[160];
	struct trailer t;

	if (trailer_read(b->fd, b->name, b->size, &t, NULL) == 1 && t.state == TRAILER_IN_USE) {
		describe_owner(&t, who, sizeof(who));
		return err_set(e, EBUSY, "%s: is already activated by %s; stop it there first", b->name, who);
	}
	return err_set(e, EBUSY, "%s: is locked by another process here or on another machine; stop it there first", b->name);
}

/* The range depends on the size, so the size is looked at again once the lock is there. */
static int take_lock(struct backing *b, uint64_t wanted_size, struct errbuf *e)
{
	const uint64_t headers = TRAILER_SLOTS * PAGE_BYTES;
	uint64_t size = b->size ? b->size : wanted_size;

	if (lock_take(b->fd, size > 2 * headers ? size - headers : PAGE_BYTES) < 0) {
		if (errno == EBUSY)
			return refuse_held(b, e);
		return err_errno(e, "%s: cannot lock it", b->name);
	}
	return refresh(b, e);
}

static int check_free_space(const struct backing *b, uint64_t file_size, struct errbuf *e)
{
	uint64_t have = (uint64_t)b->st.st_blocks * 512, avail;
	char need_text[SIZE_TEXT], avail_text[SIZE_TEXT];
	struct statvfs v;

	if (!S_ISREG(b->st.st_mode))
		return 0;
	if (fstatvfs(b->fd, &v) < 0)
		return err_errno(e, "%s: cannot find out how much space is free", b->name);
	avail = (uint64_t)v.f_bavail * v.f_frsize;
	if (!backend_tells_allocation(&b->backend))
		have = 0;
	if (file_size > have && file_size - have > avail)
		return err_set(e, ENOSPC, "%s: needs %s, %s are free on %s; free space there or give a smaller size", b->name,
			       size_format(file_size - have, need_text), size_format(avail, avail_text),
			       b->backend.mount_point);
	return 0;
}

/* Rewriting must not destroy something that somebody put there for another purpose. */
static int guard_content(const struct backing *b, const struct backing_options *opt, struct errbuf *e)
{
	CLEANUP_CLOSE int fd = -1;
	struct signature sig;
	int found;

	if (opt->force || b->has_trailer || b->size == 0)
		return 0;
	fd = reopen_buffered(b->fd); /* libblkid reads at any offset */
	if (fd < 0)
		return err_errno(e, "%s: cannot look at its content", b->name);
	found = signature_probe(fd, &sig, e);
	if (found < 0)
		return err_prefix(e, "%s", b->name);
	if (found && !signature_is_swap(&sig))
		return err_set(e, EEXIST, "%s: holds %s (%s), which would be overwritten; give another file, or --force", b->name,
			       sig.usage, sig.type);
	return 0;
}

/* NOCOW can be set on an empty file only, so before the first byte. */
static int set_nocow(const struct backing *b, struct errbuf *e)
{
	int flags;

	if (b->backend.kind != BACKEND_BTRFS)
		return 0;
	if (ioctl(b->fd, FS_IOC_GETFLAGS, &flags) < 0)
		return err_errno(e, "%s: cannot read its inode flags", b->name);
	flags = (flags | FS_NOCOW_FL) & ~FS_COMPR_FL;
	if (ioctl(b->fd, FS_IOC_SETFLAGS, &flags) < 0)
		return err_errno(e, "%s: cannot set NOCOW; mount the file system without datacow", b->name);
	return 0;
}

static int plan_layout(struct backing *b, uint64_t data_size, struct errbuf *e)
{
	struct trailer *t = &b->trailer;
	uint64_t activation = b->has_trailer ? t->activation : 0, sequence = b->has_trailer ? t->sequence : 0;
	char fit[SIZE_TEXT], have[SIZE_TEXT];

	memset(t, 0, sizeof(*t));
	trailer_layout(t, data_size);
	if (S_ISBLK(b->st.st_mode)) {
		if (t->file_size > b->size)
			return err_set(e, ENOSPC, "%s: the device has %s; with the trailer at most size=%" PRIu64 "K (%s) fits",
				       b->name, size_format(b->size, have), trailer_fit(b->size) >> 10,
				       size_format(trailer_fit(b->size), fit));
		t->file_size = b->size;
	}
	t->activation = activation;
	t->sequence = sequence;
	t->inode = (uint64_t)b->st.st_ino;
	uuid_generate(t->uuid);
	return 0;
}

static int allocate(struct backing *b, uint64_t data_size, bool resume, const struct backing_options *opt, struct errbuf *e)
{
	uint64_t old_size = b->size;

	if (!resume && (guard_content(b, opt, e) < 0 || plan_layout(b, data_size, e) < 0))
		return -1;
	if (check_free_space(b, b->trailer.file_size, e) < 0)
		return -1;
	if (S_ISREG(b->st.st_mode) && b->size > b->trailer.file_size && ftruncate(b->fd, (off_t)b->trailer.file_size) < 0)
		return err_errno(e, "%s: cannot shorten it", b->name);
	trailer_own(&b->trailer);
	if (allocate_pages(b->fd, b->name, &b->trailer, opt, e) < 0) {
		/* A full disk is not left full; what was interrupted is kept to go on from. */
		if ((e->code == ENOSPC || e->code == EDQUOT) && S_ISREG(b->st.st_mode) && !resume &&
		    ftruncate(b->fd, (off_t)old_size) < 0)
			return err_prefix(e, "%s: could not be shortened again", b->name);
		return -1;
	}
	b->has_trailer = true;
	return refresh(b, e);
}

/* Can it be mended by writing every page again? */
static bool mendable(const struct report *r)
{
	static const char *const items[] = { "size", "trailer", "holes", "blocks", "extents", "unwritten", "shared", "inline",
					     "unknown-extents", "delalloc" };

	for (size_t i = 0; i < r->count; i++) {
		bool known = false;

		if (r->findings[i].verdict != VERDICT_FAIL)
			continue;
		for (size_t k = 0; k < sizeof(items) / sizeof(items[0]); k++)
			known |= strcmp(items[k], r->findings[i].item) == 0;
		if (!known)
			return false;
	}
	return true;
}

/* Brings the content in order as far as opt allows; *r then has the findings on the final state. */
static int provide_content(struct backing *b, const struct backing_options *opt, struct report *r, struct errbuf *e)
{
	const struct report place = *r;
	bool resume = b->has_trailer && b->trailer.state == TRAILER_ALLOCATING;
	bool has_pages = b->has_trailer && !resume;
	bool may = opt->provision >= (has_pages	      ? PROVISION_REWRITE_OWN
				      : resume || b->size == 0 ? PROVISION_CREATE
							       : PROVISION_REWRITE);
	uint64_t data_size = opt->size;

	if (b->has_trailer && opt->size && opt->size != b->trailer.data_size) {
		char has[SIZE_TEXT], want[SIZE_TEXT];

		/* What was begun with another size is begun again. */
		resume = false;
		if (opt->provision < (has_pages ? PROVISION_REWRITE_OWN : PROVISION_REWRITE))
			return err_set(e, EINVAL, "%s: was made for %s, the size asked for is %s; correct the size, or make it "
				       "anew with `nbdswapctl activate --rewrite`", b->name,
				       size_format(b->trailer.data_size, has), size_format(opt->size, want));
	} else {
		if (b->has_trailer)
			data_size = b->trailer.data_size;
		check_content(b, r);
		if (report_worst(r) != VERDICT_FAIL)
			return 0;
	}
	if (!may || data_size == 0 || !mendable(r))
		return refuse_if_failed(b, r, e);
	if (allocate(b, data_size, resume, opt, e) < 0)
		return -1;
	*r = place;
	check_content(b, r);
	return refuse_if_failed(b, r, e);
}

/* Opens, creating when that is asked for.  *created says whether there is an empty file of ours to remove on failure. */
static int open_or_create(const char *path, const struct backing_options *opt, struct opened *o, bool *created,
			  struct errbuf *e)
{
	int r = open_backing(opt->dirfd, path, true, o, e);

	*created = false;
	if (r == 0 || errno != ENOENT)
		return r;
	if (opt->provision == PROVISION_NEVER || opt->size == 0 || opt->dirfd != AT_FDCWD)
		return err_set(e, ENOENT, "%s: does not exist; give a size to have it made (size=1G, or `nbdswapctl activate`)",
			       path);
	if (create_backing(path, e) < 0)
		return -1;
	*created = true;
	return open_backing(opt->dirfd, path, true, o, e);
}

static int activate_opened(struct backing *b, bool direct, const struct backing_options *opt, struct report *r,
			   struct errbuf *e)
{
	struct trailer layout = { .file_size = 0 };
	int found;

	if (backend_find(b->fd, b->name, &b->backend, e) < 0)
		return -1;
	if (opt->size)
		trailer_layout(&layout, opt->size);
	if (take_lock(b, layout.file_size, e) < 0)
		return -1;
	/* A file that is to be filled from nothing gets its flags before its first byte. */
	if (b->size == 0 && opt->size && opt->provision != PROVISION_NEVER && set_nocow(b, e) < 0)
		return -1;
	check_place(b, direct, r);
	if (refuse_if_failed(b, r, e) < 0)
		return -1;
	found = trailer_read(b->fd, b->name, b->size, &b->trailer, e);
	if (found < 0)
		return -1;
	b->has_trailer = found == 1;
	if (provide_content(b, opt, r, e) < 0)
		return -1;
	b->unclean = b->trailer.state == TRAILER_IN_USE;
	return 0;
}

int backing_activate(const char *path, const struct backing_options *opt, struct backing **out, struct report *report,
		     struct errbuf *e)
{
	struct errbuf mine;
	struct report local;
	struct backing *b;
	struct opened o;
	bool created;

	*out = NULL;
	if (!e)
		e = &mine;
	if (!report)
		report = &local;
	report->count = 0;
	if (opt->size % PAGE_BYTES)
		return err_set(e, EINVAL, "%s: the size %" PRIu64 " is not a multiple of a page (4096)", path, opt->size);
	if (open_or_create(path, opt, &o, &created, e) < 0)
		return -1;
	b = calloc(1, sizeof(*b));
	if (!b) {
		close(o.fd);
		return err_set(e, ENOMEM, "%s: no memory", path);
	}
	b->fd = o.fd;
	b->st = o.st;
	b->size = o.size;
	b->allow_unlocked = opt->allow_unlocked;
	snprintf(b->name, sizeof(b->name), "%s", o.path);
	if (activate_opened(b, o.direct, opt, report, e) < 0) {
		int code = e->code;

		if (created && code != EINTR && b->trailer.allocated == 0)
			unlink(o.path);
		backing_close(b);
		errno = code;
		return -1;
	}
	*out = b;
	return 0;
}

int backing_check(const char *path, struct report *report, struct errbuf *e)
{
	struct backing b = { .fd = -1 };
	struct opened o;
	int held;

	report->count = 0;
	if (open_backing(AT_FDCWD, path, false, &o, e) < 0)
		return -1;
	b.fd = o.fd;
	b.st = o.st;
	b.size = o.size;
	snprintf(b.name, sizeof(b.name), "%s", o.path);
	if (backend_find(b.fd, b.name, &b.backend, e) < 0) {
		report_add(report, VERDICT_FAIL, "backend", "%s", e->text);
		close(o.fd);
		return 0;
	}
	check_place(&b, o.direct, report);
	b.has_trailer = trailer_read(b.fd, b.name, b.size, &b.trailer, NULL) == 1;
	check_content(&b, report);
	held = lock_held(b.fd);
	if (held > 0 && b.has_trailer && b.trailer.state == TRAILER_IN_USE) {
		char who[160];

		describe_owner(&b.trailer, who, sizeof(who));
		report_add(report, VERDICT_WARN, "lock", "%s: is activated by %s", b.name, who);
	} else if (held > 0) {
		report_add(report, VERDICT_WARN, "lock", "%s: is locked by another process", b.name);
	} else if (held == 0 && b.has_trailer && b.trailer.state == TRAILER_IN_USE) {
		report_add(report, VERDICT_WARN, "unclean", "%s: its last use did not end cleanly: every page is lost until it is "
			   "written or discarded anew", b.name);
	}
	close(o.fd);
	return 0;
}

void backing_recheck(const struct backing *b, struct report *report)
{
	struct backing now = *b;
	struct check_target t;
	struct errbuf e;

	report->count = 0;
	if (refresh(&now, &e) < 0) {
		report_add(report, VERDICT_FAIL, "file", "%s", e.text);
		return;
	}
	t = target_of(&now);
	check_owner(&t, report);
	check_size(&now, report);
	check_flags(&t, report);
	check_holes(&t, report);
	check_extents(&t, report);
}
