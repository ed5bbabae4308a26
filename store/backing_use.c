/* SPDX-License-Identifier: BSD-3-Clause */
/* A backing file in use: from the in-use mark to the clean one (swap_deactivate). */
#include "config.h"

#include "store/backing.h"

#include "common/cleanup.h"
#include "store/backing_priv.h"
#include "store/barrier.h"
#include "store/fullio.h"
#include "store/lock.h"
#include "store/page.h"
#include "store/settle.h"
#include "store/sys.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

int backing_fd(const struct backing *b)
{
	return b->fd;
}

const char *backing_path(const struct backing *b)
{
	return b->name;
}

const struct backend *backing_backend(const struct backing *b)
{
	return &b->backend;
}

uint64_t backing_data_size(const struct backing *b)
{
	return b->trailer.data_size;
}

uint64_t backing_activation(const struct backing *b)
{
	return b->trailer.activation;
}

bool backing_was_unclean(const struct backing *b)
{
	return b->unclean;
}

static void image_check(struct table *table, uint64_t check[2])
{
	uint64_t bytes;
	const void *image = table_image(table, &bytes);
	XXH128_hash_t h = XXH3_128bits(image, bytes);

	check[0] = h.low64;
	check[1] = h.high64;
}

/* Returns 0 and the entries as they were, or -1 when the image is not what was written. */
static int load_image(const struct backing *b, struct table *table, struct errbuf *e)
{
	uint64_t check[2], bytes;
	void *image = table_image(table, &bytes);

	if (b->trailer.stride != table_entries(table)->stride)
		return err_set(e, EBADMSG, "%s: its page table is of another kind", b->name);
	if (full_pread(POINT_IMAGE_READ, b->fd, image, table_image_space(table), (off_t)b->trailer.table_offset) < 0)
		return err_errno(e, "%s: cannot read its page table", b->name);
	image_check(table, check);
	if (memcmp(check, b->trailer.table_check, sizeof(check)) != 0)
		return err_set(e, EBADMSG, "%s: its page table is damaged", b->name);
	if (!backing_unseal_image(b, table))
		return err_set(e, EBADMSG, "%s: its page table is not the one that was sealed", b->name);
	return 0;
}

/* The table of an export over b, every page in the given state. */
static struct table *make_table(const struct backing *b, enum page_state state, struct errbuf *e)
{
	struct table_spec spec = {
		.pages = b->trailer.data_size / PAGE_BYTES,
		.check = b->check,
		.seal = (uint8_t)b->seal,
		.survive = (uint8_t)b->survive,
		.activation = b->trailer.activation,
	};
	struct table *table;

	memcpy(spec.uuid, b->trailer.uuid, sizeof(spec.uuid));
	if (backing_seal_salt(b, &spec.salt, e) < 0)
		return NULL;
	table = table_create(&spec, state, b->allow_unlocked, e);
	if (table)
		table_set_lease(table, b->trailer.lease);
	else
		err_prefix(e, "%s", b->name);
	return table;
}

/* New content, new generation: nobody may resume onto pages that are not what they were. */
static int renew(struct backing *b, struct table *table, struct errbuf *e)
{
	trailer_renew(&b->trailer);
	table_set_activation(table, b->trailer.activation);
	table_fill(table, PAGE_LOST);
	return backing_seal_unlock(b, table, e);
}

/* The table's content as the trailer has it, if it has. */
static int load_table(struct backing *b, struct table *table, struct errbuf *e)
{
	const struct trailer *t = &b->trailer;
	/* What another kind of seal has left behind are lost pages, which is no unclean end. */
	bool records = backing_has_records(b) && !b->unclean;
	bool keep = records || (t->state == TRAILER_CLEAN &&
				(t->table == TRAILER_TABLE_FRESH || (t->table == TRAILER_TABLE_IMAGE && backing_seal_same(b))));

	if (!keep)
		return renew(b, table, e);
	if (backing_seal_unlock(b, table, e) < 0)
		return -1;
	if (records)
		return backing_host_load(b, table, e);
	if (t->table == TRAILER_TABLE_FRESH || load_image(b, table, e) == 0)
		return 0;
	if (e->code != EBADMSG)
		return -1;
	b->unclean = true;
	return renew(b, table, e);
}

/* The in-use mark was not written whole, so nothing is done in this use.  Part of it may be there, though, and would cost every page: what the last
 * use left is put over it, as far as that can be.
 */
static void take_back_mark(struct backing *b, const struct trailer *before)
{
	uint64_t sequence = b->trailer.sequence;

	b->trailer = *before;
	b->trailer.sequence = sequence;
	if (before->state == TRAILER_CLEAN)
		trailer_write(b->fd, b->name, &b->trailer, NULL);
}

/* Records and pages of a use that this machine outlived may still be written by what a dead worker of it left. */
static int wait_for_orphans(struct backing *b, struct errbuf *e)
{
	if (!b->resumed || !trailer_owned_since_boot(&b->trailer))
		return 0;
	return backing_barrier(b, e);
}

int backing_load(struct backing *b, struct table **out, struct errbuf *e)
{
	struct trailer *t = &b->trailer;
	struct table *table = make_table(b, PAGE_FRESH, e);
	struct errbuf mine;

	if (!table)
		return -1;
	if (!e)
		e = &mine;
	b->before = *t;
	b->records = backing_has_records(b) && !b->unclean;
	if (barrier_worker_fd(&b->backend, b->fd, b->name, &b->worker_fd, e) < 0 || wait_for_orphans(b, e) < 0 || load_table(b, table, e) < 0 ||
	    backing_refuse_foreign(b, table, e) < 0 || backing_seal_stamp(b, e) < 0) {
		table_free(table);
		return -1;
	}
	b->fresh = t->state == TRAILER_CLEAN && t->table == TRAILER_TABLE_FRESH;
	t->table = TRAILER_TABLE_NONE;
	t->state = TRAILER_IN_USE;
	trailer_own(t);
	*out = table;
	return 0;
}

int backing_mark(struct backing *b, struct table *table, struct errbuf *e)
{
	struct trailer *t = &b->trailer;

	if (b->survive == SURVIVE_HOST) {
		if (backing_host_begin(b, table, b->records, e) < 0)
			return -1;
		/* They may have been written over an image. */
		b->before.table = t->table;
		b->before.stride = t->stride;
	}
	if (trailer_write_both(b->fd, b->name, t, e) == 0)
		return 0;
	take_back_mark(b, &b->before);
	return -1;
}

int backing_begin(struct backing *b, struct table **out, struct errbuf *e)
{
	struct table *table;

	if (backing_load(b, &table, e) < 0)
		return -1;
	if (backing_mark(b, table, e) < 0) {
		table_free(table);
		return -1;
	}
	*out = table;
	return 0;
}

int backing_worker_fd(const struct backing *b)
{
	return b->worker_fd >= 0 ? b->worker_fd : b->fd;
}

int backing_barrier(struct backing *b, struct errbuf *e)
{
	return backend_barrier(&b->backend, b->fd, &b->worker_fd, b->name, e);
}

/* It may be another's by now. */
static int refuse_lost(const struct backing *b, struct errbuf *e)
{
	return err_set(e, ESTALE, "%s: the file was lost while it was in use, so nothing is written to it", b->name);
}

/* Writing to the trailer of a file that somebody cut would make it as long as it was, with holes, and say that it is whole. */
static int refuse_cut(const struct backing *b, struct errbuf *e)
{
	struct backing now = *b;

	if (backing_refresh(&now, e) < 0)
		return -1;
	if (now.size == b->size)
		return 0;
	return err_set(e, EIO, "%s: had %" PRIu64 " bytes when it was activated and has %" PRIu64 " now, so its trailer is not written; make it "
		       "anew (`nbdswapctl activate --rewrite`)", b->name, b->size, now.size);
}

int backing_lost(struct backing *b, struct table *table, struct errbuf *e)
{
	int r = renew(b, table, e); /* without a key the pages are lost all the same, and no worker can have the table */

	if (b->file_lost)
		return refuse_lost(b, e);
	if (refuse_cut(b, r < 0 ? NULL : e) < 0)
		return -1;
	return trailer_write_both(b->fd, b->name, &b->trailer, r < 0 ? NULL : e) < 0 ? -1 : r;
}

/* Was nothing ever written?  The counter lies in memory that another process writes, so the entries are asked too: no page that is
 * not fresh may become so by what a counter says.
 */
static bool is_untouched(const struct backing *b, struct table *table)
{
	struct table_totals n;

	if (!b->fresh || table_counters(table)->writes > 0)
		return false;
	table_count(table, &n);
	return n.fresh == table_pages(table);
}

int backing_end(struct backing *b, struct table *table, struct errbuf *e)
{
	struct trailer *t = &b->trailer;
	uint64_t bytes;
	void *image = table_image(table, &bytes);

	if (b->file_lost)
		return refuse_lost(b, e);
	if (refuse_cut(b, e) < 0)
		return -1;
	if (table_pages(table) != t->data_size / PAGE_BYTES)
		return err_set(e, EINVAL, "%s: the page table is not that of this file", b->name);
	if (t->lease != table_lease(table))
		t->lease_holder[0] = '\0';
	t->lease = table_lease(table);
	if (is_untouched(b, table)) {
		/* So it may be sealed later, or otherwise. */
		if (b->ephemeral)
			trailer_renew(t); /* one key, one generation */
		t->state = TRAILER_CLEAN;
		t->table = TRAILER_TABLE_FRESH;
		return trailer_write(b->fd, b->name, t, e);
	}
	if (b->ephemeral) {
		/* The key goes, and with it the pages: nobody may resume onto them. */
		trailer_renew(t);
		table_forget(table, t->activation);
	} else if (table_settle(table, b->fd, NULL, e) < 0) {
		return err_prefix(e, "%s", b->name);
	}
	if (b->survive == SURVIVE_HOST)
		return backing_host_end(b, table, e);
	if (backing_seal_image(b, table, e) < 0)
		return -1;
	if (full_pwrite(POINT_IMAGE_WRITE, b->fd, image, table_image_space(table), (off_t)t->table_offset) < 0)
		return err_errno(e, "%s: cannot write its page table", b->name);
	image_check(table, t->table_check);
	if (sys_fsync(POINT_IMAGE_SYNC, b->fd) < 0)
		return err_errno(e, "%s: cannot sync its page table", b->name);
	t->state = TRAILER_CLEAN;
	t->table = TRAILER_TABLE_IMAGE;
	t->stride = table_entries(table)->stride;
	return trailer_write(b->fd, b->name, t, e);
}

void backing_leave_locked(struct backing *b)
{
	b->leave_locked = true;
}

void backing_close(struct backing *b)
{
	if (!b)
		return;
	backing_seal_close(b);
	if (b->worker_fd >= 0)
		close(b->worker_fd);
	if (b->fd >= 0) {
		/* The kernel may keep the description for a moment longer: the io_uring of a dead worker had it too. */
		if (!b->leave_locked)
			lock_release(b->fd);
		close(b->fd);
	}
	free(b);
}
