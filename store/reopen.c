/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/reopen.h"

#include "common/cleanup.h"
#include "store/backing_priv.h"
#include "store/errclass.h"
#include "store/lock.h"
#include "store/open.h"
#include "store/page.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Is it the file that we had, as it was when we last wrote its trailer? */
static enum reopened same_file(const struct backing *b, const struct opened *o, struct errbuf *e)
{
	bool has_inode = !(b->backend.kind == BACKEND_SMB && backend_option(&b->backend, "noserverino", NULL));
	struct backend backend;
	struct trailer t;
	int found;

	if (backend_find(o->fd, b->name, &backend, e) < 0)
		return REOPEN_LATER;
	if (backend.kind != b->backend.kind) {
		/* What a mount that is missing just now uncovers. */
		err_set(e, ESTALE, "%s: is on %s now and not on %s", b->name, backend.name, b->backend.name);
		return REOPEN_LATER;
	}
	if (has_inode && o->st.st_ino != b->st.st_ino) {
		err_set(e, ESTALE, "%s: is another file now (inode %" PRIu64 ", it was %" PRIu64 ")", b->name,
			(uint64_t)o->st.st_ino, (uint64_t)b->st.st_ino);
		return REOPEN_LOST;
	}
	if (o->size != b->size) {
		err_set(e, ESTALE, "%s: has %" PRIu64 " bytes now, it had %" PRIu64, b->name, o->size, b->size);
		return REOPEN_LOST;
	}
	found = trailer_read(o->fd, b->name, o->size, &t, e);
	if (found < 0 && e->code != EPROTO)
		return REOPEN_LATER;
	if (found == 1 && (b->behind ? backing_same_use(&t, &b->trailer) : memcmp(&t, &b->trailer, sizeof(t)) == 0))
		return REOPEN_SAME;
	if (found == 1 && t.state == TRAILER_IN_USE) {
		char who[160];

		backing_describe_owner(&t, who, sizeof(who));
		err_set(e, ESTALE, "%s: has been activated by %s meanwhile", b->name, who);
	} else {
		err_set(e, ESTALE, "%s: its trailer is not what was written to it last", b->name);
	}
	return REOPEN_LOST;
}

static enum reopened take_lock(const struct backing *b, int fd, struct errbuf *e)
{
	if (lock_take(fd, lock_range(b->size)) == 0)
		return REOPEN_SAME;
	/* It may be our own, on the old description: a server that was not restarted still has it. */
	if (errno == EBUSY) {
		lock_release(b->fd);
		if (lock_take(fd, lock_range(b->size)) == 0)
			return REOPEN_SAME;
	}
	if (errno == EBUSY)
		err_set(e, EBUSY, "%s: is locked by another process here or on another machine", b->name);
	else
		err_errno(e, "%s: cannot lock it", b->name);
	/* A lock of ours that the server has not given up yet ends with its lease.  Another's use shows in the trailer. */
	return REOPEN_LATER;
}

static enum reopened try_once(struct backing *b, struct errbuf *e)
{
	struct opened o;
	CLEANUP_CLOSE int fd = -1;
	enum reopened r;

	if (open_backing(AT_FDCWD, b->name, true, &o, e) < 0)
		return REOPEN_LATER;
	fd = o.fd;
	r = same_file(b, &o, e);
	if (r == REOPEN_SAME)
		r = take_lock(b, fd, e);
	/* Once more, now that nobody else can begin a use of it. */
	if (r == REOPEN_SAME)
		r = same_file(b, &o, e);
	if (r == REOPEN_SAME && dup3(fd, b->fd, O_CLOEXEC) < 0) {
		err_errno(e, "%s: cannot put the new descriptor in place", b->name);
		r = REOPEN_LATER;
	}
	return r;
}

bool backing_patience_ends(struct backing *b, uint32_t patience_s)
{
	int64_t now = now_ms();

	if (!b->stale_since_ms)
		b->stale_since_ms = now;
	return now - b->stale_since_ms >= (int64_t)patience_s * 1000;
}

enum reopened backing_reopen(struct backing *b, uint32_t patience_s, struct errbuf *e)
{
	struct errbuf mine;
	enum reopened r;

	if (!e)
		e = &mine;
	if (b->file_lost) {
		err_set(e, ESTALE, "%s: was lost before", b->name);
		return REOPEN_LOST;
	}
	backing_patience_ends(b, patience_s);
	r = try_once(b, e);
	if (r == REOPEN_SAME) {
		b->stale_since_ms = 0;
		b->reopened++;
	} else if (r == REOPEN_LATER && backing_patience_ends(b, patience_s))
		r = REOPEN_LOST;
	b->file_lost = r == REOPEN_LOST;
	return r;
}
