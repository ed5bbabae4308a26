/* SPDX-License-Identifier: BSD-3-Clause */
/* A backing file in use: from the in-use mark to the clean one (swap_deactivate). */
#include "config.h"

#include "store/backing.h"

#include "common/cleanup.h"
#include "store/backing_priv.h"
#include "store/fullio.h"
#include "store/page.h"
#include "store/settle.h"

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
	if (full_pread(b->fd, image, table_image_space(table), (off_t)b->trailer.table_offset) < 0)
		return err_errno(e, "%s: cannot read its page table", b->name);
	image_check(table, check);
	if (memcmp(check, b->trailer.table_check, sizeof(check)) != 0)
		return err_set(e, EBADMSG, "%s: its page table is damaged", b->name);
	return 0;
}

/* The table of an export over b, every page in the given state. */
static struct table *make_table(const struct backing *b, enum page_state state, struct errbuf *e)
{
	struct table_spec spec = {
		.pages = b->trailer.data_size / PAGE_BYTES,
		.check = b->check,
		.activation = b->trailer.activation,
	};
	struct table *table;

	memcpy(spec.uuid, b->trailer.uuid, sizeof(spec.uuid));
	table = table_create(&spec, state, b->allow_unlocked, e);
	if (!table)
		err_prefix(e, "%s", b->name);
	return table;
}

/* New content, new generation: nobody may resume onto pages that are not what they were. */
static void renew(struct backing *b, struct table *table)
{
	trailer_renew(&b->trailer);
	table_set_activation(table, b->trailer.activation);
	table_fill(table, PAGE_LOST);
}

int backing_begin(struct backing *b, struct table **out, struct errbuf *e)
{
	struct trailer *t = &b->trailer;
	bool keep = t->state == TRAILER_CLEAN && t->table != TRAILER_TABLE_NONE;
	struct table *table = make_table(b, keep ? PAGE_FRESH : PAGE_LOST, e);

	if (!table)
		return -1;
	if (keep && t->table == TRAILER_TABLE_IMAGE && load_image(b, table, e) < 0) {
		if (e && e->code != EBADMSG) {
			table_free(table);
			return -1;
		}
		keep = false;
		b->unclean = true;
	}
	if (!keep)
		renew(b, table);
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

int backing_lost(struct backing *b, struct table *table, struct errbuf *e)
{
	renew(b, table);
	return trailer_write_both(b->fd, b->name, &b->trailer, e);
}

int backing_end(struct backing *b, struct table *table, struct errbuf *e)
{
	struct trailer *t = &b->trailer;
	uint64_t bytes;
	void *image = table_image(table, &bytes);

	if (table_pages(table) != t->data_size / PAGE_BYTES)
		return err_set(e, EINVAL, "%s: the page table is not that of this file", b->name);
	if (table_settle(table, b->fd, NULL, e) < 0)
		return err_prefix(e, "%s", b->name);
	if (full_pwrite(b->fd, image, table_image_space(table), (off_t)t->table_offset) < 0)
		return err_errno(e, "%s: cannot write its page table", b->name);
	image_check(table, t->table_check);
	if (fsync(b->fd) < 0)
		return err_errno(e, "%s: cannot sync its page table", b->name);
	t->state = TRAILER_CLEAN;
	t->table = TRAILER_TABLE_IMAGE;
	t->stride = table_entries(table)->stride;
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
