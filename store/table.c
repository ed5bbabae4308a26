/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/table.h"

#include "common/cleanup.h"
#include "store/lockedmem.h"
#include "store/page.h"
#include "store/records.h"
#include "store/seal.h"
#include "store/sealkey.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define TABLE_MAGIC UINT64_C(0x31454c4241545753) /* "SWTABLE1" */
#define TABLE_VERSION 4

/* The first page of the mapping. */
struct table_header {
	uint64_t magic;
	uint32_t version;
	uint32_t stride;
	struct table_spec spec;
	_Atomic uint32_t retry_time;
	_Atomic uint64_t nonce;
	_Atomic uint64_t lease;
	struct record_flushes flushes;
	_Alignas(64) struct table_counters counters;
};
_Static_assert(sizeof(struct table_header) <= PAGE_BYTES, "the header is one page");

struct table {
	int fd;
	size_t bytes;
	struct table_header *header;
	unsigned char *slots;
	struct entries entries;
	uint64_t record_blocks;
	struct record_block *records;
	unsigned char *record_buffers;
	struct seal *seal;
};

static uint32_t stride_of(const struct table_spec *spec)
{
	return spec->seal == PAGE_SEAL_NONE ? ENTRY_BYTES : ENTRY_BYTES_SEALED;
}

static uint64_t whole_pages(uint64_t bytes)
{
	return (bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
}

static uint64_t slots_bytes(uint32_t stride)
{
	return whole_pages(SLOTS * slot_bytes(stride));
}

static uint64_t record_blocks(const struct table_spec *spec)
{
	return spec->survive == SURVIVE_HOST ? records_blocks(spec->pages, stride_of(spec)) : 0;
}

static uint64_t record_states_bytes(const struct table_spec *spec)
{
	return whole_pages(record_blocks(spec) * sizeof(struct record_block));
}

static size_t mapping_bytes(const struct table_spec *spec)
{
	uint32_t stride = stride_of(spec);
	uint64_t bytes = PAGE_BYTES + slots_bytes(stride) + whole_pages(spec->pages * stride);

	if (spec->survive == SURVIVE_HOST)
		bytes += record_states_bytes(spec) + RECORD_WRITERS * RECORD_SPAN * PAGE_BYTES;
	return (size_t)bytes;
}

/* What the self-checks are bound to: an entry of another file's table, or of another generation, is none of this one's. */
static void set_seed(struct table *t)
{
	const struct table_spec *s = &t->header->spec;
	unsigned char id[sizeof(s->uuid) + sizeof(s->activation)];

	memcpy(id, s->uuid, sizeof(s->uuid));
	memcpy(id + sizeof(s->uuid), &s->activation, sizeof(s->activation));
	t->entries.seed = XXH3_64bits(id, sizeof(id));
}

/* Takes fd over. */
static struct table *table_open(int fd, const struct table_spec *spec, bool allow_unlocked, struct errbuf *e)
{
	size_t bytes = mapping_bytes(spec);
	uint32_t stride = stride_of(spec);
	struct table *t = calloc(1, sizeof(*t));

	if (!t) {
		close(fd);
		err_set(e, ENOMEM, "no memory for a page table");
		return NULL;
	}
	t->fd = fd;
	t->bytes = bytes;
	t->header = lockedmem_map(fd, 0, bytes, allow_unlocked, "page table", e);
	if (!t->header) {
		close(fd);
		free(t);
		return NULL;
	}
	t->slots = (unsigned char *)t->header + PAGE_BYTES;
	t->entries.base = t->slots + slots_bytes(stride);
	t->entries.stride = stride;
	t->record_blocks = record_blocks(spec);
	if (t->record_blocks) {
		t->records = (struct record_block *)(t->entries.base + whole_pages(spec->pages * stride));
		t->record_buffers = (unsigned char *)t->records + record_states_bytes(spec);
	}
	return t;
}

struct table *table_create(const struct table_spec *spec, enum page_state state, bool allow_unlocked, struct errbuf *e)
{
	uint32_t stride = stride_of(spec);
	CLEANUP_CLOSE int fd = memfd_create("nbdswap-table", MFD_CLOEXEC);
	struct table *t;

	if (fd < 0 || ftruncate(fd, (off_t)mapping_bytes(spec)) < 0) {
		err_errno(e, "cannot make the page table");
		return NULL;
	}
	t = table_open(steal_fd(&fd), spec, allow_unlocked, e);
	if (!t)
		return NULL;
	t->header->magic = TABLE_MAGIC;
	t->header->version = TABLE_VERSION;
	t->header->stride = stride;
	t->header->spec = *spec;
	t->header->flushes.next = 1;
	set_seed(t);
	table_fill(t, state);
	return t;
}

struct table *table_map(int fd, bool allow_unlocked, struct errbuf *e)
{
	CLEANUP_CLOSE int mine = dup(fd);
	struct table_header h;
	struct table *t;
	struct stat st;
	ssize_t n;

	if (mine < 0 || fstat(mine, &st) < 0 || (n = pread(mine, &h, sizeof(h), 0)) < 0) {
		err_errno(e, "cannot read the page table that was handed down");
		return NULL;
	}
	if (n != (ssize_t)sizeof(h))
		memset(&h, 0, sizeof(h));
	/* The number of pages is bounded before it is multiplied. */
	if (h.magic != TABLE_MAGIC || h.version != TABLE_VERSION || h.spec.seal > PAGE_SEAL_AES_256_GCM ||
	    h.spec.check > CHECK_NONE || h.spec.survive > SURVIVE_HOST || h.stride != stride_of(&h.spec) || h.spec.pages == 0 ||
	    h.spec.pages > (uint64_t)st.st_size / h.stride ||
	    (uint64_t)st.st_size != mapping_bytes(&h.spec)) {
		err_set(e, EPROTO, "the page table that was handed down has another layout (version %u); restart the daemon "
			"and its workers with the same version of nbdswap", h.version);
		return NULL;
	}
	t = table_open(steal_fd(&mine), &h.spec, allow_unlocked, e);
	if (t)
		set_seed(t);
	return t;
}

void table_free(struct table *t)
{
	if (!t)
		return;
	seal_free(t->seal);
	munmap(t->header, t->bytes);
	close(t->fd);
	free(t);
}

int table_unlock_seal(struct table *t, const struct sealkey *key, struct errbuf *e)
{
	const struct table_spec *spec = &t->header->spec;

	if (spec->seal != PAGE_SEAL_AES_256_GCM || !sealkey_is_for(key, spec->uuid, spec->activation))
		return err_set(e, EPROTO, "the key that was given does not belong to this page table; restart the daemon and its workers with "
			       "the same version of nbdswap");
	seal_free(t->seal);
	t->seal = seal_create(key, seal_lanes(), e);
	return t->seal ? 0 : -1;
}

struct seal *table_seal(const struct table *t)
{
	return t->seal;
}

int table_fd(const struct table *t)
{
	return t->fd;
}

uint64_t table_pages(const struct table *t)
{
	return t->header->spec.pages;
}

const struct table_spec *table_spec(const struct table *t)
{
	return &t->header->spec;
}

struct table_counters *table_counters(struct table *t)
{
	return &t->header->counters;
}

void table_set_activation(struct table *t, uint64_t activation)
{
	t->header->spec.activation = activation;
	set_seed(t);
	seal_free(t->seal);
	t->seal = NULL;
}

uint64_t table_lease(const struct table *t)
{
	return atomic_load(&t->header->lease);
}

void table_set_lease(struct table *t, uint64_t lease)
{
	atomic_store(&t->header->lease, lease);
}

uint32_t table_retry_time(const struct table *t)
{
	return atomic_load_explicit(&t->header->retry_time, memory_order_relaxed);
}

void table_set_retry_time(struct table *t, uint32_t seconds)
{
	atomic_store(&t->header->retry_time, seconds);
}

_Atomic uint64_t *table_nonce(struct table *t)
{
	return &t->header->nonce;
}

const struct entries *table_entries(const struct table *t)
{
	return &t->entries;
}

struct slot *table_slot(struct table *t, uint32_t index)
{
	return slot_at(t->slots, t->entries.stride, index);
}

struct record_block *table_record_block(struct table *t, uint64_t index)
{
	return &t->records[index];
}

uint64_t table_record_blocks(const struct table *t)
{
	return t->record_blocks;
}

void *table_record_buffer(struct table *t, uint32_t index)
{
	return t->record_buffers + (size_t)index * RECORD_SPAN * PAGE_BYTES;
}

struct record_flushes *table_record_flushes(struct table *t)
{
	return &t->header->flushes;
}

void *table_image(struct table *t, uint64_t *bytes)
{
	*bytes = table_pages(t) * t->entries.stride;
	return t->entries.base;
}

uint64_t table_image_space(const struct table *t)
{
	return whole_pages(table_pages(t) * t->entries.stride);
}

void table_fill(struct table *t, enum page_state state)
{
	static const struct page_mark none;

	for (uint32_t i = 0; i < SLOTS; i++)
		atomic_store(&table_slot(t, i)->use, SLOT_FREE);
	for (uint64_t i = 0; i < table_pages(t); i++) {
		_Atomic uint64_t *word = &entry_at(&t->entries, i)->word;

		atomic_store_explicit(word, entry_word(&t->entries, i, (uint32_t)atomic_load(word) + 1, state, false, &none),
				      memory_order_release);
	}
	if (state == PAGE_LOST)
		atomic_store(&t->header->counters.lost_pages, table_pages(t));
}

void table_forget(struct table *t, uint64_t activation)
{
	static const struct page_mark none;
	const struct entries old = t->entries;

	table_set_activation(t, activation);
	for (uint32_t i = 0; i < SLOTS; i++)
		memset(table_slot(t, i), 0, slot_bytes(t->entries.stride));
	for (uint64_t i = 0; i < table_pages(t); i++) {
		struct page_mark m;
		struct page_view v = entry_read(&old, i, &m);
		enum page_state state = v.state == PAGE_FRESH ? PAGE_FRESH : PAGE_LOST;

		entry_store_mark(&t->entries, i, &none);
		atomic_store_explicit(&entry_at(&t->entries, i)->word, entry_word(&t->entries, i, v.change + 1, state, false, &none),
				      memory_order_release);
	}
}

struct page_view table_page(const struct table *t, uint64_t page)
{
	struct page_mark m;

	return entry_read(&t->entries, page, &m);
}

void table_count(const struct table *t, struct table_totals *out)
{
	*out = (struct table_totals){ .fresh = 0 };
	for (uint64_t i = 0; i < table_pages(t); i++) {
		struct page_mark m;

		switch (entry_read(&t->entries, i, &m).state) {
		case PAGE_FRESH:
			out->fresh++;
			break;
		case PAGE_SAME:
			out->same++;
			out->zero += m.value == 0;
			break;
		case PAGE_WRITTEN:
			out->written++;
			break;
		case PAGE_LOST:
			out->lost++;
			break;
		}
	}
}
