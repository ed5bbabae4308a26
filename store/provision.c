/* SPDX-License-Identifier: BSD-3-Clause */
/* Bringing a backing file's content in order: what may be written over, the layout, the space, the allocation and what
 * is left when it fails.
 */
#include "config.h"

#include "store/backing.h"

#include "common/cleanup.h"
#include "common/signature.h"
#include "common/size.h"
#include "store/allocate.h"
#include "store/backing_priv.h"
#include "store/open.h"
#include "store/page.h"
#include "store/sys.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <uuid/uuid.h>

/* Bytes that the file has for itself already. */
static uint64_t space_held(const struct backing *b)
{
	if (backend_tells_allocation(&b->backend))
		return (uint64_t)b->st.st_blocks * 512;
	if (!b->has_trailer || !backing_is_original(b))
		return 0;
	return b->trailer.state == TRAILER_ALLOCATING ? b->trailer.allocated : b->trailer.file_size;
}

static int check_free_space(const struct backing *b, uint64_t file_size, uint64_t have, struct errbuf *e)
{
	uint64_t avail;
	char need_text[SIZE_TEXT], avail_text[SIZE_TEXT];
	struct statvfs v;

	if (!S_ISREG(b->st.st_mode))
		return 0;
	if (sys_fstatvfs(POINT_SPACE, b->fd, &v) < 0)
		return err_errno(e, "%s: cannot find out how much space is free", b->name);
	avail = (uint64_t)v.f_bavail * v.f_frsize;
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

int provide_nocow(const struct backing *b, struct errbuf *e)
{
	int flags;

	if (b->backend.kind != BACKEND_BTRFS)
		return 0;
	if (sys_ioctl(POINT_FLAGS, b->fd, FS_IOC_GETFLAGS, &flags) < 0)
		return err_errno(e, "%s: cannot read its inode flags", b->name);
	/* Compression, inherited from the directory, goes first: btrfs refuses to change from the one to the other in one step. */
	if (flags & FS_COMPR_FL) {
		flags &= ~FS_COMPR_FL;
		if (sys_ioctl(POINT_FLAGS, b->fd, FS_IOC_SETFLAGS, &flags) < 0)
			return err_errno(e, "%s: cannot take compression off; use a directory without `chattr +c`", b->name);
	}
	flags |= FS_NOCOW_FL;
	if (sys_ioctl(POINT_FLAGS, b->fd, FS_IOC_SETFLAGS, &flags) < 0)
		return err_errno(e, "%s: cannot set NOCOW on it, without which every write would allocate; use another file system", b->name);
	return 0;
}

static int plan_layout(struct backing *b, uint64_t data_size, struct errbuf *e)
{
	struct trailer *t = &b->trailer;
	uint64_t activation = b->has_trailer ? t->activation : 0, sequence = b->has_trailer ? t->sequence : 0, lease = b->has_trailer ? t->lease : 0;
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
	t->lease = lease;
	t->inode = (uint64_t)b->st.st_ino;
	uuid_generate(t->uuid);
	return 0;
}

/* A full disk is not left full.  Cut to nothing before the old size is given back, or the trailer of the old content could lie at its place
 * still, with pages behind it that were written over.
 */
static int give_space_back(const struct backing *b, uint64_t old_size, struct errbuf *e)
{
	if (S_ISREG(b->st.st_mode) && (sys_ftruncate(POINT_ALLOC_TRUNCATE, b->fd, 0) < 0 || sys_ftruncate(POINT_ALLOC_TRUNCATE, b->fd, (off_t)old_size) < 0))
		return err_prefix(e, "%s: could not be shortened again", b->name);
	return -1;
}

static int allocate(struct backing *b, uint64_t data_size, bool resume, const struct backing_options *opt, struct errbuf *e)
{
	uint64_t old_size = b->size, have = space_held(b);

	if (!resume && (guard_content(b, opt, e) < 0 || plan_layout(b, data_size, e) < 0))
		return -1;
	if (check_free_space(b, b->trailer.file_size, have, e) < 0)
		return -1;
	if (S_ISREG(b->st.st_mode) && b->size > b->trailer.file_size && sys_ftruncate(POINT_ALLOC_TRUNCATE, b->fd, (off_t)b->trailer.file_size) < 0)
		return err_errno(e, "%s: cannot shorten it", b->name);
	trailer_own(&b->trailer);
	if (allocate_pages(b->fd, b->name, &b->trailer, opt, e) < 0) {
		/* What was interrupted is kept to go on from. */
		if ((e->code == ENOSPC || e->code == EDQUOT) && !resume)
			return give_space_back(b, old_size, e);
		return -1;
	}
	b->has_trailer = true;
	return backing_refresh(b, e);
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

/* May pages be written over at all?  Where a client may count on pages, kept or lost, only on the express word. */
static bool may_write(const struct backing *b, enum provision provision)
{
	const struct trailer *t = &b->trailer;
	bool unfinished = b->has_trailer && t->state == TRAILER_ALLOCATING;

	switch (provision) {
	case PROVISION_NEVER:
		break;
	case PROVISION_CREATE:
		return unfinished || b->size == 0;
	case PROVISION_REWRITE:
		/* After an unclean end every page is lost: written anew they would read as zeros to the client that had them. */
		return !b->has_trailer || unfinished || (t->state == TRAILER_CLEAN && t->table == TRAILER_TABLE_FRESH);
	case PROVISION_RENEW:
		return true;
	}
	return false;
}

static int refuse_size(const struct backing *b, uint64_t wanted, struct errbuf *e)
{
	char has[SIZE_TEXT], want[SIZE_TEXT];

	return err_set(e, EINVAL, "%s: was made for %s, the size asked for is %s; correct the size, or make it "
		       "anew with `nbdswapctl activate --rewrite` (its content will be lost)", b->name,
		       size_format(b->trailer.data_size, has), size_format(wanted, want));
}

static int refuse_failed(const struct backing *b, enum provision provision, const struct report *r, struct errbuf *e)
{
	const struct finding *f = report_first(r, VERDICT_FAIL);

	if (f && provision == PROVISION_REWRITE && mendable(r) && b->has_trailer)
		return err_set(e, EINVAL, "%s (a client may count on its pages: only `nbdswapctl activate --rewrite` gives them up)", f->text);
	return backing_refuse_if_failed(r, e);
}

int provide_content(struct backing *b, const struct backing_options *opt, struct report *r, struct errbuf *e)
{
	const struct report place = *r;
	bool renew = opt->provision == PROVISION_RENEW;
	bool unfinished = b->has_trailer && b->trailer.state == TRAILER_ALLOCATING;
	bool other_size = b->has_trailer && opt->size && opt->size != b->trailer.data_size;
	uint64_t data_size = opt->size ? opt->size : b->has_trailer ? b->trailer.data_size : 0;
	/* What was written before the interruption is trusted only in the file that it was written to, not in a copy. */
	bool resume = unfinished && !other_size && !renew && backing_is_original(b);

	if (other_size && !unfinished && !renew)
		return refuse_size(b, opt->size, e);
	backing_check_content(b, r);
	if (report_worst(r) != VERDICT_FAIL && !renew)
		return 0;
	if (!may_write(b, opt->provision) || data_size == 0 || !mendable(r))
		return refuse_failed(b, opt->provision, r, e);
	if (allocate(b, data_size, resume, opt, e) < 0)
		return -1;
	*r = place;
	backing_check_content(b, r);
	return backing_refuse_if_failed(r, e);
}
