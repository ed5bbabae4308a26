/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/adopt.h"

#include "common/cleanup.h"
#include "store/backing_priv.h"
#include "store/barrier.h"
#include "store/errclass.h"
#include "store/lock.h"
#include "store/page.h"
#include "store/reopen.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void backing_parts(const struct backing *b, struct backing_parts *out)
{
	*out = (struct backing_parts){ .file = b->fd, .reopened = b->reopened, .master = b->master ? sealkey_fd(b->master) : -1,
				       .ephemeral = b->ephemeral, .resumed = b->resumed, .backend = &b->backend, .trailer = &b->trailer, .path = b->name };
}

bool backing_is_lost(const struct backing *b)
{
	return b->file_lost;
}

bool backing_same_use(const struct trailer *now, const struct trailer *before)
{
	return memcmp(now->uuid, before->uuid, sizeof(now->uuid)) == 0 && now->data_size == before->data_size &&
	       now->owner_pid == before->owner_pid && now->owner_since == before->owner_since &&
	       memcmp(now->owner_boot, before->owner_boot, sizeof(now->owner_boot)) == 0;
}

/* Looks at the file.  0; -1 with *e: ESTALE when it is not what it was. */
static int look(struct backing *b, bool marking, bool *ended, struct errbuf *e)
{
	struct trailer now;
	int found;

	*ended = false;
	if (backing_refresh(b, e) < 0)
		return -1;
	if (b->size != b->trailer.file_size)
		return err_set(e, EUCLEAN, "%s: has not the size any more that it was activated with", b->name);
	/* The lock is this description's; asked for again, a server that has forgotten it gives it anew, unless it is another's by now. */
	if (lock_take(b->fd, lock_range(b->size)) < 0) {
		if (errno == EBUSY && trailer_read(b->fd, b->name, b->size, &now, NULL) == 1 && !backing_same_use(&now, &b->trailer))
			return err_set(e, EUCLEAN, "%s: is locked by another process here or on another machine, and in its use", b->name);
		/* Or a server has not given up yet what was ours on a description of before. */
		if (errno == EBUSY)
			return err_set(e, EBUSY, "%s: is locked by another process here or on another machine", b->name);
		return err_errno(e, "%s: cannot lock it", b->name);
	}
	/* What the predecessor was writing when it was killed may still be on its way there; elsewhere it does not end before. */
	if (b->backend.kind == BACKEND_NFS && backing_barrier(b, e) < 0)
		return -1;
	found = trailer_read(b->fd, b->name, b->size, &now, e);
	if (found < 0)
		return e->code == EPROTO ? err_set(e, EUCLEAN, "%s: its trailer is of another version", b->name) : -1;
	if (marking && (found == 0 || !backing_same_use(&now, &b->trailer) || now.state != TRAILER_IN_USE)) {
		*ended = true; /* it never began */
		return 0;
	}
	if (found == 0 || !backing_same_use(&now, &b->trailer))
		return err_set(e, EUCLEAN, "%s: its trailer is not what was written to it last", b->name);
	*ended = now.state == TRAILER_CLEAN;
	b->trailer = now;
	return 0;
}

static int take_seal(struct backing *b, const struct adoption *a, struct table *table, struct errbuf *e)
{
	const struct table_spec *spec = table_spec(table);

	b->check = (enum page_check)spec->check;
	b->seal = (enum page_seal)spec->seal;
	b->ephemeral = a->ephemeral;
	if (b->seal == PAGE_SEAL_NONE)
		return 0;
	if (a->master < 0)
		return err_set(e, EUCLEAN, "%s: its key did not come", b->name);
	b->master = sealkey_map_master(a->master, a->allow_unlocked, e);
	return b->master ? backing_seal_unlock(b, table, e) : -1;
}

static enum adopted give_up(struct backing *b, struct adoption *a)
{
	a->since_ms = b->stale_since_ms;
	a->reopened = b->reopened;

	if (b->worker_fd >= 0)
		close(b->worker_fd);
	backing_seal_close(b);
	free(b);
	return ADOPT_LATER;
}

/* As look(), also where the handle is stale or the lock is not to be had just now: e->code is EUCLEAN when it is not the file that it was, for
 * good.
 */
static int look_well(struct backing *b, const struct adoption *a, bool *ended, struct errbuf *e)
{
	int r = look(b, a->marking, ended, e);

	if (r < 0 && errclass_of(e->code, b->backend.kind) == ERR_STALE) {
		enum reopened opened = backing_reopen(b, a->patience_s, e);

		if (opened == REOPEN_LOST)
			e->code = EUCLEAN;
		r = opened == REOPEN_SAME ? look(b, a->marking, ended, e) : -1;
	}
	if (r < 0 && e->code == EBUSY && backing_patience_ends(b, a->patience_s))
		e->code = EUCLEAN;
	return r;
}

enum adopted backing_adopt(struct adoption *a, struct table *table, struct backing **out, struct errbuf *e)
{
	struct backing *b = calloc(1, sizeof(*b));
	bool ended = false;

	e->code = 0;
	if (!b) {
		err_set(e, ENOMEM, "%s: no memory", a->path);
		return ADOPT_LATER;
	}
	b->fd = a->file;
	b->worker_fd = -1;
	b->backend = a->backend;
	b->trailer = a->trailer;
	b->has_trailer = b->locked = true;
	b->size = a->trailer.file_size;
	b->allow_unlocked = a->allow_unlocked;
	b->survive = (enum page_survive)table_spec(table)->survive;
	b->file_lost = a->lost;
	snprintf(b->name, sizeof(b->name), "%s", a->path);
	b->resumed = a->resumed;
	b->st.st_ino = a->trailer.inode;
	b->behind = true;
	b->reopened = a->reopened;
	b->stale_since_ms = a->since_ms;
	if (!b->file_lost && look_well(b, a, &ended, e) < 0) {
		if (e->code != EUCLEAN)
			return give_up(b, a);
		if (a->marking) { /* what there is now, the next activation finds */
			ended = true;
			e->code = 0;
		} else {
			b->file_lost = true;
		}
	} else if (!b->file_lost) {
		e->code = 0; /* it may have been stale before it was well */
	}
	b->behind = false;
	if (!b->file_lost && !ended) {
		struct errbuf why;

		if (take_seal(b, a, table, &why) < 0 || barrier_worker_fd(&b->backend, b->fd, b->name, &b->worker_fd, &why) < 0) {
			*e = why;
			if (why.code != EUCLEAN)
				return give_up(b, a);
			b->file_lost = true;
		}
	}
	if (!b->file_lost && !ended && table_spec(table)->activation != b->trailer.activation) {
		struct errbuf why;

		/* Its predecessor was about to begin another generation, in the table first. */
		if (b->trailer.activation < table_spec(table)->activation)
			b->trailer.activation = table_spec(table)->activation;
		if (backing_lost(b, table, &why) < 0) {
			*e = why;
			return give_up(b, a);
		}
	}
	/* Half of it may be missing. */
	if (a->marking && !b->file_lost && !ended && trailer_write_both(b->fd, b->name, &b->trailer, e) < 0)
		return give_up(b, a);
	b->unclean = false;
	if (a->master >= 0)
		close(a->master); /* mapped under a descriptor of its own */
	*out = b;
	return ended ? ADOPT_ENDED : ADOPT_DONE;
}
