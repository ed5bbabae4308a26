/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/records.h"

#include "common/cleanup.h"
#include "store/fullio.h"
#include "store/page.h"
#include "store/seal.h"
#include "store/sys.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#define CHUNK_BLOCKS 256u /* read or written at once, where all are */

/* As it lies in the file. */
struct group {
	uint64_t check; /* XXH3-64 of the entries; sealed: the counter of the nonce */
	uint32_t salt;	/* sealed only, and */
	uint8_t tag[SEAL_TAG_BYTES];
	unsigned char entries[RECORD_ENTRIES_BYTES];
	uint8_t unused[8];
};
_Static_assert(sizeof(struct group) == RECORD_GROUP_BYTES && RECORD_GROUP_BYTES * RECORD_GROUPS == PAGE_BYTES,
	       "records do not cross sectors");

/* What a sealed group is bound to. */
struct group_aad {
	char label[16];
	uint8_t uuid[16];
	uint64_t activation, number;
};
_Static_assert(sizeof(struct group_aad) == 48, "no padding is authenticated");

static struct group_aad group_aad(const struct table *t, uint64_t number)
{
	const struct table_spec *spec = table_spec(t);
	struct group_aad aad = { .label = "nbdswap records", .activation = spec->activation, .number = number };

	memcpy(aad.uuid, spec->uuid, sizeof(aad.uuid));
	return aad;
}

static uint64_t group_check(const struct table *t, uint64_t number, const struct group *g)
{
	return XXH3_64bits_withSeed(g->entries, sizeof(g->entries), table_entries(t)->seed ^ entry_mix(~number));
}

static bool is_sealed(const struct table *t)
{
	return table_spec(t)->seal != PAGE_SEAL_NONE;
}

static bool close_group(struct table *t, uint64_t number, struct group *g)
{
	struct group_aad aad = group_aad(t, number);
	uint8_t nonce[SEAL_NONCE_BYTES];

	if (!is_sealed(t)) {
		g->check = group_check(t, number, g);
		return true;
	}
	if (!table_seal(t))
		return false;
	g->check = atomic_fetch_add_explicit(table_nonce(t), 1, memory_order_relaxed) + 1;
	g->salt = table_spec(t)->salt;
	seal_nonce(g->check, g->salt, nonce);
	return seal_bytes(table_seal(t), nonce, &aad, sizeof(aad), g->entries, g->entries, sizeof(g->entries), g->tag);
}

static bool open_group(struct table *t, uint64_t number, struct group *g)
{
	struct group_aad aad = group_aad(t, number);
	uint8_t nonce[SEAL_NONCE_BYTES];

	if (!is_sealed(t))
		return g->check == group_check(t, number, g);
	seal_nonce(g->check, g->salt, nonce);
	return unseal_bytes(table_seal(t), nonce, &aad, sizeof(aad), g->entries, g->entries, sizeof(g->entries), g->tag);
}

void records_touch(struct table *t, uint64_t page, uint64_t pages)
{
	if (!table_record_blocks(t) || pages == 0)
		return;
	for (uint64_t b = records_block_of(t, page), last = records_block_of(t, page + pages - 1); b <= last; b++)
		table_record_block(t, b)->dirty = 1;
}

/* The entry of a page, word and mark that belong together, to *out (stride bytes). */
static void put_entry(const struct entries *x, uint64_t page, unsigned char *out)
{
	struct page_mark m;
	struct page_view v = entry_read(x, page, &m);

	memcpy(out, &v.word, sizeof(v.word));
	memcpy(out + sizeof(v.word), &m, x->stride - sizeof(v.word));
}

bool records_encode(struct table *t, uint64_t block, void *out)
{
	const struct entries *x = table_entries(t);
	uint32_t per_group = RECORD_ENTRIES_BYTES / x->stride;
	uint64_t page = block * records_per_block(x->stride), end = table_pages(t);
	struct group *g = out;

	memset(out, 0, PAGE_BYTES);
	for (uint32_t i = 0; i < RECORD_GROUPS && page < end; i++) {
		for (uint32_t k = 0; k < per_group && page < end; k++, page++)
			put_entry(x, page, g[i].entries + (size_t)k * x->stride);
		if (!close_group(t, block * RECORD_GROUPS + i, &g[i]))
			return false;
	}
	return true;
}

/* What a write that was at the backend at that time has made of its page is not known. */
static void take_entry(const struct entries *x, uint64_t page, const unsigned char *in)
{
	static const struct page_mark none;
	struct page_mark m = none;
	struct page_view v;
	uint64_t word;
	enum page_state state;

	memcpy(&word, in, sizeof(word));
	memcpy(&m, in + sizeof(word), x->stride - sizeof(word));
	v = entry_decode(x, page, word, &m);
	state = v.in_flight && v.state != PAGE_FRESH ? PAGE_LOST : v.state;
	if (state == PAGE_LOST)
		m = none;
	entry_store_mark(x, page, &m);
	atomic_store_explicit(&entry_at(x, page)->word, entry_word(x, page, v.change + v.in_flight, state, false, &m), memory_order_release);
}

static void lose_entry(const struct entries *x, uint64_t page)
{
	static const struct page_mark none;

	entry_store_mark(x, page, &none);
	atomic_store_explicit(&entry_at(x, page)->word, entry_word(x, page, 1, PAGE_LOST, false, &none), memory_order_release);
}

static void decode(struct table *t, uint64_t block, void *in)
{
	const struct entries *x = table_entries(t);
	uint32_t per_group = RECORD_ENTRIES_BYTES / x->stride;
	uint64_t page = block * records_per_block(x->stride), end = table_pages(t);
	struct group *g = in;

	for (uint32_t i = 0; i < RECORD_GROUPS && page < end; i++) {
		bool good = open_group(t, block * RECORD_GROUPS + i, &g[i]);

		for (uint32_t k = 0; k < per_group && page < end; k++, page++)
			if (good)
				take_entry(x, page, g[i].entries + (size_t)k * x->stride);
			else
				lose_entry(x, page);
	}
}

static bool is_pending(struct table *t, uint64_t block)
{
	const struct record_block *b = table_record_block(t, block);

	return b->dirty || b->writing || b->flush > table_record_flushes(t)->durable;
}

/* Neighbours from first on that are to be written, at most CHUNK_BLOCKS. */
static uint64_t run_of_blocks(struct table *t, bool all, uint64_t first, uint64_t end)
{
	uint64_t n = 0;

	while (first + n < end && n < CHUNK_BLOCKS && (all || is_pending(t, first + n)))
		n++;
	return n;
}

int records_write(struct table *t, bool all, int fd, off_t offset, const char *path, struct errbuf *e)
{
	uint64_t blocks = records_blocks(table_pages(t), table_entries(t)->stride), n;
	struct record_flushes *f = table_record_flushes(t);
	CLEANUP_FREE void *buffer = NULL;

	if (posix_memalign(&buffer, PAGE_BYTES, CHUNK_BLOCKS * PAGE_BYTES) != 0)
		return err_set(e, ENOMEM, "%s: no memory to write its page table", path);
	for (uint64_t b = 0; b < blocks; b += n ? n : 1) {
		n = run_of_blocks(t, all, b, blocks);
		for (uint64_t i = 0; i < n; i++)
			if (!records_encode(t, b + i, (unsigned char *)buffer + i * PAGE_BYTES))
				return err_set(e, EIO, "%s: its page table could not be sealed", path);
		if (n && full_pwrite(POINT_IMAGE_WRITE, fd, buffer, n * PAGE_BYTES, offset + (off_t)(b * PAGE_BYTES)) < 0)
			return err_errno(e, "%s: cannot write its page table", path);
	}
	if (sys_fsync(POINT_IMAGE_SYNC, fd) < 0)
		return err_errno(e, "%s: cannot sync its page table", path);
	for (uint64_t b = 0; b < table_record_blocks(t); b++)
		*table_record_block(t, b) = (struct record_block){ .flush = 0 };
	f->durable = f->next++;
	return 0;
}

int records_load(struct table *t, int fd, off_t offset, const char *path, struct errbuf *e)
{
	uint64_t blocks = records_blocks(table_pages(t), table_entries(t)->stride), n;
	CLEANUP_FREE void *buffer = NULL;

	if (posix_memalign(&buffer, PAGE_BYTES, CHUNK_BLOCKS * PAGE_BYTES) != 0)
		return err_set(e, ENOMEM, "%s: no memory to read its page table", path);
	for (uint64_t b = 0; b < blocks; b += n) {
		n = blocks - b < CHUNK_BLOCKS ? blocks - b : CHUNK_BLOCKS;
		if (full_pread(POINT_IMAGE_READ, fd, buffer, n * PAGE_BYTES, offset + (off_t)(b * PAGE_BYTES)) < 0)
			return err_errno(e, "%s: cannot read its page table", path);
		for (uint64_t i = 0; i < n; i++)
			decode(t, b + i, (unsigned char *)buffer + i * PAGE_BYTES);
	}
	return 0;
}
