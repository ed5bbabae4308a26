/* SPDX-License-Identifier: BSD-3-Clause */
/* swap_activate: from a path to a locked, allocated and checked backing file.  The checks are in backing_check.c, the allocation in
 * provision.c, what follows while it is in use in backing_use.c.
 */
#include "config.h"

#include "store/backing.h"

#include "store/backing_priv.h"
#include "store/barrier.h"
#include "store/lock.h"
#include "store/open.h"
#include "store/page.h"
#include "store/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Who has it, as far as its trailer says. */
static int refuse_held(int fd, const char *name, uint64_t size, const char *otherwise, struct errbuf *e)
{
	char who[160];
	struct trailer t;

	if (trailer_read(fd, name, size, &t, NULL) == 1 && t.state != TRAILER_CLEAN) {
		backing_describe_owner(&t, who, sizeof(who));
		return err_set(e, EBUSY, "%s: is already %s by %s; stop it there first", name,
			       t.state == TRAILER_IN_USE ? "activated" : "being allocated", who);
	}
	return err_set(e, EBUSY, "%s: %s", name, otherwise);
}

/* The range leaves out the headers, which others want to read, at the old size and at the new one; how far it reaches beyond the
 * first byte matters on SMB only, where it also keeps others from writing.  The size is looked at again once the lock is there.
 */
static int take_lock(struct backing *b, uint64_t wanted_size, struct errbuf *e)
{
	uint64_t size = b->size && (!wanted_size || b->size < wanted_size) ? b->size : wanted_size;

	if (lock_take(b->fd, lock_range(size)) < 0) {
		if (errno == EBUSY)
			return refuse_held(b->fd, b->name, b->size,
					   "is locked by another process here or on another machine; stop it there first", e);
		return err_errno(e, "%s: cannot lock it", b->name);
	}
	b->locked = true;
	return backing_refresh(b, e);
}

/* A worker that has a description of its own has not the lock, which ended with its daemon: it must be gone too. */
static int refuse_worker(const struct backing *b, struct errbuf *e)
{
	int there = barrier_worker_there(&b->backend, b->fd);

	if (there < 0)
		return err_errno(e, "%s: whether a worker still has it cannot be told", b->name);
	return there ? refuse_held(b->fd, b->name, b->size, "is still in the hands of a worker; end it first", e) : 0;
}

/* The device was not to be had for writing; to read its trailer it is. */
static int refuse_busy_device(int dirfd, const char *path, struct errbuf *e)
{
	struct opened o;
	int r;

	if (open_backing(dirfd, path, false, &o, NULL) < 0)
		return err_set(e, EBUSY, "%s: the device is in use on this machine", path);
	r = refuse_held(o.fd, path, o.size, "the device is mounted or otherwise in use on this machine", e);
	close(o.fd);
	return r;
}

/* Opens, creating when that is asked for.  *created says whether there is a file of ours to remove on failure. */
static int open_or_create(const char *path, const struct backing_options *opt, struct opened *o, bool *created,
			  struct errbuf *e)
{
	int r = open_backing(opt->dirfd, path, true, o, e);

	*created = false;
	if (r < 0 && errno == EBUSY)
		return refuse_busy_device(opt->dirfd, path, e);
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

static bool another_machine_has(const struct backing *b)
{
	return b->has_trailer && b->trailer.state == TRAILER_IN_USE && !trailer_owned_since_boot(&b->trailer) && !trailer_owned_here(&b->trailer);
}

/* Another machine had it and did not give it back.  Its lock is gone, so it is dead, or cut off and does not know yet that it has lost it (and some storage
 * has no lock that holds between machines): nobody here can tell, and its page table is not here in any case.  Unless it kept records: they are taken
 * on where the lock tells that it is gone for good.
 */
static int refuse_other_machine(const struct backing *b, const struct backing_options *opt, struct errbuf *e)
{
	char who[160];

	if (!another_machine_has(b) || opt->provision == PROVISION_RENEW || opt->force)
		return 0;
	if (b->survive == SURVIVE_HOST && b->trailer.table == TRAILER_TABLE_RECORDS && backing_host_lock_tells(b))
		return 0;
	backing_describe_owner(&b->trailer, who, sizeof(who));
	return err_set(e, EBUSY, "%s: was activated by %s, which has not given it back; if it can, have it do that (nbdswapctl deactivate, or stop). If that"
		       " machine is gone for good, so are the pages: nbdswapctl activate --rewrite makes it anew, and activate --force takes it with every"
		       " page lost", b->name, who);
}

static int activate_opened(struct backing *b, bool direct, const struct backing_options *opt, struct report *r,
			   struct errbuf *e)
{
	struct trailer layout = { .file_size = 0 };
	int found;

	if (opt->size)
		trailer_layout(&layout, opt->size);
	if (take_lock(b, layout.file_size, e) < 0 || backend_find(b->fd, b->name, &b->backend, e) < 0 || refuse_worker(b, e) < 0 ||
	    backing_host_check(b, e) < 0)
		return -1;
	/* A file that is to be filled from nothing gets its flags before its first byte. */
	if (b->size == 0 && opt->size && opt->provision != PROVISION_NEVER && provide_nocow(b, e) < 0)
		return -1;
	backing_check_place(b, direct, r);
	if (backing_refuse_if_failed(r, e) < 0)
		return -1;
	found = trailer_read(b->fd, b->name, b->size, &b->trailer, e);
	if (found < 0)
		return -1;
	b->has_trailer = found == 1;
	if (refuse_other_machine(b, opt, e) < 0)
		return -1;
	if (provide_content(b, opt, r, e) < 0 || (!opt->prepare && backing_seal_match(b, e) < 0))
		return -1;
	/* Forced from another machine, whose last writes may still come: nothing of it is believed. */
	b->resumed = b->trailer.state == TRAILER_IN_USE && backing_has_records(b) && !(opt->force && another_machine_has(b));
	b->unclean = b->trailer.state == TRAILER_IN_USE && !b->resumed;
	return 0;
}

/* A file that we created and could not bring to anything is removed, but only while the lock is ours and the name still means it: another
 * process may have found it empty and be filling it by now.
 */
static void remove_created(const struct backing *b, int code)
{
	bool resumable = b->trailer.allocated > 0 && code != ENOSPC && code != EDQUOT;
	struct stat st;

	if (!b->locked || code == EINTR || resumable)
		return;
	if (sys_lstat(POINT_STAT, b->name, &st) == 0 && st.st_dev == b->st.st_dev && st.st_ino == b->st.st_ino)
		sys_unlink(POINT_REMOVE, b->name);
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
	b = calloc(1, sizeof(*b));
	if (!b)
		return err_set(e, ENOMEM, "%s: no memory", path);
	b->fd = b->worker_fd = -1;
	/* The key comes before the file: without it nothing is made. */
	if (backing_seal_open(b, opt, e) < 0 || open_or_create(path, opt, &o, &created, e) < 0) {
		backing_close(b);
		errno = e->code;
		return -1;
	}
	b->fd = o.fd;
	b->st = o.st;
	b->size = o.size;
	b->allow_unlocked = opt->allow_unlocked;
	b->check = opt->check;
	b->survive = opt->survive;
	b->force = opt->force;
	snprintf(b->name, sizeof(b->name), "%s", o.path);
	if (activate_opened(b, o.direct, opt, report, e) < 0) {
		int code = e->code;

		if (created)
			remove_created(b, code);
		backing_close(b);
		errno = code;
		return -1;
	}
	*out = b;
	return 0;
}
