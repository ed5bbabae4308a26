/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/barrier.h"

#include "common/cleanup.h"
#include "store/cifsfiles.h"
#include "store/lock.h"
#include "store/open.h"
#include "store/page.h"
#include "store/sys.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static bool has_own_description(const struct backend *b)
{
	return b->kind == BACKEND_BTRFS || b->kind == BACKEND_BLOCKDEV;
}

/* Too many files are open here: that passes, and says nothing of the file.  Returns -1. */
static int not_opened(struct errbuf *e)
{
	if (e->code == EMFILE || e->code == ENFILE)
		e->code = EAGAIN;
	return -1;
}

static int open_own(int fd, const char *path, struct errbuf *e)
{
	int own = reopen_same(fd);

	if (own >= 0)
		return own;
	err_errno(e, "%s: cannot open it a second time, for its worker", path);
	return not_opened(e);
}

int barrier_worker_fd(const struct backend *b, int fd, const char *path, int *out, struct errbuf *e)
{
	CLEANUP_CLOSE int own = -1;

	*out = -1;
	if (!has_own_description(b))
		return 0;
	lock_end_awaiting(fd);
	own = open_own(fd, path, e);
	if (own < 0)
		return -1;
	if (lock_presence(own) < 0)
		return err_errno(e, "%s: cannot lock it for its worker", path);
	*out = steal_fd(&own);
	return 0;
}

int barrier_worker_there(const struct backend *b, int fd)
{
	return has_own_description(b) ? lock_is_present(fd) : 0;
}

static int by_description(const struct backend *b, int fd, int *worker_fd, const char *path, struct errbuf *e)
{
	int next;

	if (*worker_fd < 0)
		return err_set(e, ENOTSUP, "%s: on %s the writes of a dead worker can be waited for only where it had a description of its"
			       " own", path, b->name);
	/* First of all: without the next one there would be nothing to wait for when that worker dies. */
	next = open_own(fd, path, e);
	if (next < 0)
		return -1;
	close(*worker_fd);
	*worker_fd = next;
	if (lock_await_absence(fd) < 0 || lock_presence(next) < 0)
		return err_errno(e, "%s: cannot wait for outstanding writes", path);
	return 0;
}

static int by_buffered_read(int fd, const char *path, struct errbuf *e)
{
	CLEANUP_CLOSE int buffered = reopen_buffered(fd);
	char byte;

	if (buffered < 0) {
		err_errno(e, "%s: cannot open it a second time, to wait for outstanding writes", path);
		return not_opened(e);
	}
	if (sys_pread(POINT_BARRIER, buffered, &byte, 1, 0) != 1)
		return err_errno(e, "%s: cannot wait for outstanding writes", path);
	return 0;
}

static int by_fallocate(const struct backend *b, int fd, const char *path, struct errbuf *e)
{
	if (sys_fallocate(POINT_BARRIER_ALLOCATE, fd, 0, 0, PAGE_BYTES) == 0)
		return 0;
	/* Where nothing is free XFS refuses to set blocks aside that it would not need in the end; but it has waited before it comes to that. */
	if (b->kind == BACKEND_XFS && (errno == ENOSPC || errno == EDQUOT))
		return 0;
	return err_errno(e, "%s: cannot wait for outstanding writes", path);
}

#define CIFS_LOOK_MS 20

/* Of the list a look is enough in which nothing is under way: what the dead worker submitted was there before the first. */
static int by_open_files(const char *path, struct errbuf *e)
{
	const struct timespec again = { .tv_nsec = CIFS_LOOK_MS * 1000000L };
	const char *slash = strrchr(path, '/');

	for (;;) {
		CLEANUP_FCLOSE FILE *f = fopen("/proc/fs/cifs/open_files", "re");
		int busy = f ? cifsfiles_busy(f, slash ? slash + 1 : path) : -1;

		if (!f && (errno == EMFILE || errno == ENFILE || errno == ENOMEM)) {
			err_errno(e, "%s: cannot look into /proc/fs/cifs/open_files for outstanding writes", path);
			return not_opened(e);
		}
		if (busy == 0)
			return 0;
		if (busy < 0)
			return err_set(e, ENOTSUP, "%s: /proc/fs/cifs/open_files does not tell when the writes of a dead worker have"
				       " ended", path);
		nanosleep(&again, NULL);
	}
}

int backend_barrier(const struct backend *b, int fd, int *worker_fd, const char *path, struct errbuf *e)
{
	struct errbuf mine;

	if (!e)
		e = &mine;
	switch (b->kind) {
	case BACKEND_EXT4:
	case BACKEND_XFS:
		return by_fallocate(b, fd, path, e);
	case BACKEND_NFS:
		return by_buffered_read(fd, path, e);
	case BACKEND_TMPFS:
		return 0;
	case BACKEND_BTRFS:
	case BACKEND_BLOCKDEV:
		return by_description(b, fd, worker_fd, path, e);
	case BACKEND_SMB:
		return by_open_files(path, e);
	}
	return err_set(e, ENOTSUP, "%s: on %s nothing tells when the writes of a dead worker have ended", path, b->name);
}
