/* SPDX-License-Identifier: BSD-3-Clause */
/* The checks of a backing file put together: what is looked at before a byte is written, what of the content, and what again while it
 * is in use.  Nothing here changes anything.
 */
#include "config.h"

#include "store/backing.h"

#include "common/size.h"
#include "store/backing_priv.h"
#include "store/barrier.h"
#include "store/checks.h"
#include "store/lock.h"
#include "store/open.h"
#include "store/page.h"
#include "store/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static struct check_target backing_target(const struct backing *b)
{
	struct check_target t = {
		.fd = b->fd, .path = b->name, .backend = &b->backend, .st = b->st, .size = b->size,
	};

	return t;
}

int backing_refresh(struct backing *b, struct errbuf *e)
{
	if (sys_fstat(POINT_STAT, b->fd, &b->st) < 0)
		return err_errno(e, "%s: cannot look at it", b->name);
	if (S_ISREG(b->st.st_mode))
		b->size = (uint64_t)b->st.st_size;
	return 0;
}

bool backing_is_original(const struct backing *b)
{
	return b->backend.kind == BACKEND_BLOCKDEV || b->trailer.inode == (uint64_t)b->st.st_ino;
}

/* Everything that can be known about the place before a byte is allocated there. */
void backing_check_place(const struct backing *b, bool direct, struct report *r)
{
	struct check_target t = backing_target(b);

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
	else if (!backing_is_original(b) && (b->backend.kind == BACKEND_SMB || b->backend.kind == BACKEND_NFS))
		report_add(r, backend_option(&b->backend, "noserverino", NULL) ? VERDICT_WARN : VERDICT_FAIL, "trailer",
			   "%s: its trailer was made for another file (a copy?), so nothing proves that every page was "
			   "written; run `nbdswapctl activate --rewrite` on it (its content will be lost)", b->name);
	else
		report_add(r, VERDICT_OK, "trailer", "export of %s, generation %" PRIu64 ", %s",
			   size_format(t->data_size, size), t->activation,
			   t->state == TRAILER_CLEAN ? "ended cleanly" : "marked in use");
}

static bool report_has(const struct report *r, const char *item)
{
	for (size_t i = 0; i < r->count; i++)
		if (strcmp(r->findings[i].item, item) == 0)
			return true;
	return false;
}

void backing_check_content(const struct backing *b, struct report *r)
{
	struct check_target t = backing_target(b);

	check_size(b, r);
	if (!report_has(r, "trailer")) /* it could not be read: said already */
		check_stamp(b, r);
	check_holes(&t, r);
	check_extents(&t, r);
}

int backing_refuse_if_failed(const struct report *r, struct errbuf *e)
{
	const struct finding *f = report_first(r, VERDICT_FAIL);

	return f ? err_set(e, EINVAL, "%s", f->text) : 0;
}

void backing_describe_owner(const struct trailer *t, char *out, size_t size)
{
	char when[32] = "";
	time_t since = (time_t)t->owner_since;
	struct tm tm;

	if (localtime_r(&since, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	snprintf(out, size, "process %" PRIu32 " on %.63s since %s", t->owner_pid, t->owner_host, when);
}

int backing_check(const char *path, struct report *report, struct errbuf *e)
{
	struct backing b = { .fd = -1 };
	struct opened o;
	struct errbuf unread;
	int held, found;

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
	backing_check_place(&b, o.direct, report);
	found = trailer_read(b.fd, b.name, b.size, &b.trailer, &unread);
	b.has_trailer = found == 1;
	if (found < 0)
		report_add(report, VERDICT_FAIL, "trailer", "%s", unread.text);
	backing_check_content(&b, report);
	held = lock_held(b.fd);
	if (held == 0)
		held = barrier_worker_there(&b.backend, b.fd);
	if (held > 0 && b.has_trailer && b.trailer.state == TRAILER_IN_USE) {
		char who[160];

		backing_describe_owner(&b.trailer, who, sizeof(who));
		report_add(report, VERDICT_WARN, "lock", "%s: is activated by %s", b.name, who);
	} else if (held > 0) {
		report_add(report, VERDICT_WARN, "lock", "%s: is locked by another process", b.name);
	} else if (held == 0 && b.has_trailer && b.trailer.state == TRAILER_IN_USE && b.trailer.table == TRAILER_TABLE_RECORDS) {
		report_add(report, VERDICT_WARN, "unclean", "%s: its last use did not end cleanly; its records tell of its pages (survive = host)",
			   b.name);
	} else if (held == 0 && b.has_trailer && b.trailer.state == TRAILER_IN_USE) {
		report_add(report, VERDICT_WARN, "unclean", "%s: its last use did not end cleanly: every page is lost until it is "
			   "written or discarded anew", b.name);
	} else if (held < 0) {
		report_add(report, VERDICT_SKIP, "lock", "%s: whether it is activated cannot be told: %s", b.name, strerror(errno));
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
	if (backing_refresh(&now, &e) < 0) {
		report_add(report, VERDICT_FAIL, "file", "%s", e.text);
		return;
	}
	t = backing_target(&now);
	check_owner(&t, report);
	if (now.size != b->size)
		report_add(report, VERDICT_FAIL, "size", "%s: had %" PRIu64 " bytes when it was activated and has %" PRIu64
			   " now; something else changes it", b->name, b->size, now.size);
	else
		check_size(&now, report);
	check_flags(&t, report);
	check_holes(&t, report);
	check_extents(&t, report);
}
