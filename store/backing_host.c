/* SPDX-License-Identifier: BSD-3-Clause */
/* survive = host: where it can be promised, and the records (records.h) in a backing file's life.
 *
 * It holds where a flush of the file reaches what keeps data without power:
 *
 *   ext4, xfs, btrfs   fdatasync flushes the disk's cache, unless the file system was mounted with nobarrier
 *   blockdev           fdatasync flushes the device's cache
 *   NFS                a direct write ends when the server has committed it; what "committed" means is the server's word (export it sync)
 *   SMB                fdatasync asks the server to flush, unless mounted with nostrictsync; Samba does it with `strict sync = yes`, its default
 *   tmpfs              has nothing left
 *
 * Another machine may go on with the records where the lock tells that the first is gone for good: not on NFS 3 and SMB.
 *
 * While the file is in use its trailer says so and that there are records.  An unclean end then changes neither generation nor pages.  The place of
 * the records is that of the image too: only when a file that ended with an image begins to have records is there a while, of
 * their first writing, in which an unclean end costs all pages.
 */
#include "config.h"

#include "store/backing_priv.h"
#include "store/records.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Nonces that a use may give out: a million pages a second for nine years.  2^16 uses may end uncleanly one after another. */
#define NONCES (UINT64_C(1) << 48)

static int refuse_place(const struct backing *b, struct errbuf *e)
{
	const struct backend *at = &b->backend;

	switch (at->kind) {
	case BACKEND_TMPFS:
		return err_set(e, EINVAL, "%s: survive = host: nothing on tmpfs outlives the machine; use another file system, or survive = process",
			       b->name);
	case BACKEND_EXT4:
	case BACKEND_XFS:
	case BACKEND_BTRFS:
		if (backend_option(at, "nobarrier", NULL) || backend_option(at, "barrier=0", NULL))
			return err_set(e, EINVAL, "%s: survive = host: %s is mounted with nobarrier, so what is flushed may still be lost in the disk's"
				       " cache; mount it without, or use survive = process", b->name, at->mount_point);
		return 0;
	case BACKEND_SMB:
		if (backend_option(at, "nostrictsync", NULL))
			return err_set(e, EINVAL, "%s: survive = host: %s is mounted with nostrictsync, so its server is not asked to flush; mount it"
				       " without, or use survive = process", b->name, at->mount_point);
		return 0;
	case BACKEND_NFS:
	case BACKEND_BLOCKDEV:
		break;
	}
	return 0;
}

int backing_host_check(const struct backing *b, struct errbuf *e)
{
	if (b->survive != SURVIVE_HOST)
		return 0;
	if (b->ephemeral)
		return err_set(e, EINVAL, "%s: survive = host: pages sealed with an ephemeral key are lost with the machine that has it; give a"
			       " key-file, or use survive = process", b->name);
	if (b->check == CHECK_NONE && b->seal == PAGE_SEAL_NONE)
		return err_set(e, EINVAL, "%s: survive = host: without checks (check = none) a page could not be told from the one before it after a"
			       " power cut; use check = xxh3, or survive = process", b->name);
	return refuse_place(b, e);
}

bool backing_has_records(const struct backing *b)
{
	return b->trailer.state != TRAILER_ALLOCATING && b->trailer.table == TRAILER_TABLE_RECORDS && backing_seal_same(b);
}

/* NFS 3: the lock of a machine that is gone lasts until somebody clears it.  SMB: it ends while the last writes are still on their way.
 * A block device has none between machines.
 */
bool backing_host_lock_tells(const struct backing *b)
{
	switch (b->backend.kind) {
	case BACKEND_NFS:
		return strncmp(b->backend.name, "nfs3", 4) != 0;
	case BACKEND_EXT4:
	case BACKEND_XFS:
	case BACKEND_BTRFS:
		return true; /* mounted by one machine at a time: the disk was moved, or the machine renamed */
	case BACKEND_SMB:
	case BACKEND_BLOCKDEV:
	case BACKEND_TMPFS:
		break;
	}
	return false;
}

int backing_host_load(struct backing *b, struct table *table, struct errbuf *e)
{
	atomic_store(table_nonce(table), b->trailer.nonce);
	return records_load(table, b->fd, (off_t)b->trailer.table_offset, b->name, e);
}

int backing_host_begin(struct backing *b, struct table *table, bool there, struct errbuf *e)
{
	struct trailer *t = &b->trailer;
	uint64_t nonce = atomic_load(table_nonce(table));

	if (b->seal != PAGE_SEAL_NONE && nonce > UINT64_MAX - 2 * NONCES)
		return err_set(e, EOVERFLOW, "%s: too many of its uses ended uncleanly for its seal; make it anew with `nbdswapctl activate --rewrite`",
			       b->name);
	if (!there && records_write(table, true, b->fd, (off_t)t->table_offset, b->name, e) < 0)
		return -1;
	t->table = TRAILER_TABLE_RECORDS;
	t->stride = table_entries(table)->stride;
	t->nonce = b->seal == PAGE_SEAL_NONE ? 0 : atomic_load(table_nonce(table)) + NONCES;
	return 0;
}

int backing_host_end(struct backing *b, struct table *table, struct errbuf *e)
{
	struct trailer *t = &b->trailer;

	if (records_write(table, true, b->fd, (off_t)t->table_offset, b->name, e) < 0)
		return -1;
	t->state = TRAILER_CLEAN;
	t->table = TRAILER_TABLE_RECORDS;
	t->stride = table_entries(table)->stride;
	t->nonce = atomic_load(table_nonce(table));
	return trailer_write(b->fd, b->name, t, e);
}

bool backing_was_resumed(const struct backing *b)
{
	return b->resumed;
}

const char *backing_lease_holder(const struct backing *b)
{
	return b->trailer.lease_holder;
}

bool backing_keeps_lease(const struct backing *b, uint64_t lease, const char *holder)
{
	const struct trailer *t = &b->trailer;

	return b->survive != SURVIVE_HOST || (t->lease == lease && strcmp(t->lease_holder, holder) == 0);
}

int backing_keep_lease(struct backing *b, uint64_t lease, const char *holder, struct errbuf *e)
{
	struct trailer *t = &b->trailer;

	if (backing_keeps_lease(b, lease, holder))
		return 0;
	t->lease = lease;
	snprintf(t->lease_holder, sizeof(t->lease_holder), "%s", holder);
	if (trailer_write_both(b->fd, b->name, t, e) == 0)
		return 0;
	t->lease_holder[0] = '\0'; /* it is written again */
	return -1;
}
