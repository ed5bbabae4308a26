/* SPDX-License-Identifier: BSD-3-Clause */
/* A backing file in use: from the in-use mark to the clean one (swap_deactivate). */
#include "config.h"

#include "store/backing.h"

#include "common/cleanup.h"
#include "store/backing_priv.h"
#include "store/fullio.h"
#include "store/page.h"

#include <errno.h>
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

static void image_check(struct table *table, uint64_t bytes, uint64_t check[2])
{
	XXH128_hash_t h = XXH3_128bits(table_entries(table), bytes);

	check[0] = h.low64;
	check[1] = h.high64;
}

/* Returns 0 and the entries as they were, or -1 when the image is not what was written. */
static int load_image(const struct backing *b, struct table *table, struct errbuf *e)
{
	uint64_t check[2];

	if (full_pread(b->fd, table_entries(table), b->trailer.table_bytes, (off_t)b->trailer.table_offset) < 0)
		return err_errno(e, "%s: cannot read its page table", b->name);
	image_check(table, b->trailer.table_bytes, check);
	if (memcmp(check, b->trailer.table_check, sizeof(check)) != 0)
		return err_set(e, EBADMSG, "%s: its page table is damaged", b->name);
	return 0;
}

int backing_begin(struct backing *b, struct table **out, struct errbuf *e)
{
	struct trailer *t = &b->trailer;
	enum page_state state = t->state == TRAILER_CLEAN && t->table != TRAILER_TABLE_NONE ? PAGE_FRESH : PAGE_LOST;
	struct table *table = table_create(t->data_size / PAGE_BYTES, state, b->allow_unlocked, e);
	bool keep = state == PAGE_FRESH;

	if (!table)
		return err_prefix(e, "%s", b->name);
	if (keep && t->table == TRAILER_TABLE_IMAGE && load_image(b, table, e) < 0) {
		if (e && e->code != EBADMSG) {
			table_free(table);
			return -1;
		}
		keep = false;
		b->unclean = true;
		table_fill(table, PAGE_LOST);
	}
	/* New content, new generation: nobody may resume onto pages that are not what they were. */
	if (!keep)
		trailer_renew(t);
	t->state = TRAILER_IN_USE;
	t->table = TRAILER_TABLE_NONE;
	trailer_own(t);
	if (trailer_write_both(b->fd, b->name, t, e) < 0) {
		table_free(table);
		return -1;
	}
	*out = table;
	return 0;
}

/* It may be another's by now. */
static int refuse_lost(const struct backing *b, struct errbuf *e)
{
	return err_set(e, ESTALE, "%s: the file was lost while it was in use, so nothing is written to it", b->name);
}

int backing_lost(struct backing *b, struct table *table, struct errbuf *e)
{
	table_fill(table, PAGE_LOST);
	if (b->file_lost)
		return refuse_lost(b, e);
	trailer_renew(&b->trailer);
	return trailer_write_both(b->fd, b->name, &b->trailer, e);
}

int backing_end(struct backing *b, struct table *table, struct errbuf *e)
{
	struct trailer *t = &b->trailer;

	if (b->file_lost)
		return refuse_lost(b, e);
	if (table_pages(table) != t->data_size / PAGE_BYTES)
		return err_set(e, EINVAL, "%s: the page table is not that of this file", b->name);
	table_settle(table);
	if (full_pwrite(b->fd, table_entries(table), t->table_bytes, (off_t)t->table_offset) < 0)
		return err_errno(e, "%s: cannot write its page table", b->name);
	image_check(table, t->table_bytes, t->table_check);
	if (fsync(b->fd) < 0)
		return err_errno(e, "%s: cannot sync its page table", b->name);
	t->state = TRAILER_CLEAN;
	t->table = TRAILER_TABLE_IMAGE;
	return trailer_write(b->fd, b->name, t, e);
}

void backing_close(struct backing *b)
{
	if (!b)
		return;
	if (b->fd >= 0)
		close(b->fd);
	free(b);
}
