/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/table.h"

#include "common/cleanup.h"
#include "store/lockedmem.h"
#include "store/page.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TABLE_MAGIC UINT64_C(0x31454c4241545753) /* "SWTABLE1" */
#define TABLE_VERSION 1

/* The first page of the mapping. */
struct table_header {
	uint64_t magic;
	uint32_t version;
	uint32_t entry_bytes;
	uint64_t pages;
	_Alignas(64) struct table_counters counters;
};
_Static_assert(sizeof(struct table_header) <= PAGE_BYTES, "the header is one page");

struct table {
	int fd;
	size_t bytes;
	struct table_header *header;
	struct page_entry *entries;
};

static size_t mapping_bytes(uint64_t pages)
{
	uint64_t entries = (pages * sizeof(struct page_entry) + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;

	return (size_t)(PAGE_BYTES + entries);
}

/* Takes fd over. */
static struct table *table_open(int fd, size_t bytes, bool allow_unlocked, struct errbuf *e)
{
	struct table *t = calloc(1, sizeof(*t));

	if (!t) {
		close(fd);
		err_set(e, ENOMEM, "no memory for a page table");
		return NULL;
	}
	t->fd = fd;
	t->bytes = bytes;
	t->header = lockedmem_map(fd, bytes, allow_unlocked, "page table", e);
	if (!t->header) {
		close(fd);
		free(t);
		return NULL;
	}
	t->entries = (struct page_entry *)((char *)t->header + PAGE_BYTES);
	return t;
}

struct table *table_create(uint64_t pages, enum page_state state, bool allow_unlocked, struct errbuf *e)
{
	size_t bytes = mapping_bytes(pages);
	CLEANUP_CLOSE int fd = memfd_create("nbdswap-table", MFD_CLOEXEC);
	struct table *t;

	if (fd < 0 || ftruncate(fd, (off_t)bytes) < 0) {
		err_errno(e, "cannot make the page table");
		return NULL;
	}
	t = table_open(steal_fd(&fd), bytes, allow_unlocked, e);
	if (!t)
		return NULL;
	t->header->magic = TABLE_MAGIC;
	t->header->version = TABLE_VERSION;
	t->header->entry_bytes = sizeof(struct page_entry);
	t->header->pages = pages;
	table_fill(t, state);
	return t;
}

struct table *table_map(int fd, bool allow_unlocked, struct errbuf *e)
{
	CLEANUP_CLOSE int mine = dup(fd);
	struct table_header h;
	struct stat st;

	ssize_t n;

	if (mine < 0 || fstat(mine, &st) < 0 || (n = pread(mine, &h, sizeof(h), 0)) < 0) {
		err_errno(e, "cannot read the page table that was handed down");
		return NULL;
	}
	if (n != (ssize_t)sizeof(h))
		memset(&h, 0, sizeof(h));
	/* The number of pages is bounded before it is multiplied. */
	if (h.magic != TABLE_MAGIC || h.version != TABLE_VERSION || h.entry_bytes != sizeof(struct page_entry) ||
	    h.pages == 0 || h.pages > (uint64_t)st.st_size / sizeof(struct page_entry) ||
	    (uint64_t)st.st_size != mapping_bytes(h.pages)) {
		err_set(e, EPROTO, "the page table that was handed down has another layout (version %u); restart the daemon "
			"and its workers with the same version of nbdswap", h.version);
		return NULL;
	}
	return table_open(steal_fd(&mine), (size_t)st.st_size, allow_unlocked, e);
}

void table_free(struct table *t)
{
	if (!t)
		return;
	munmap(t->header, t->bytes);
	close(t->fd);
	free(t);
}

int table_fd(const struct table *t)
{
	return t->fd;
}

uint64_t table_pages(const struct table *t)
{
	return t->header->pages;
}

struct page_entry *table_entries(struct table *t)
{
	return t->entries;
}

struct table_counters *table_counters(struct table *t)
{
	return &t->header->counters;
}

uint64_t table_settle(struct table *t)
{
	uint64_t n = 0;

	for (uint64_t i = 0; i < t->header->pages; i++) {
		if (!t->entries[i].in_flight)
			continue;
		t->entries[i].in_flight = 0;
		t->entries[i].change++;
		/* A fresh page is answered without I/O, so what the unfinished write did to the file does not matter. */
		if (t->entries[i].state == PAGE_FRESH)
			continue;
		t->entries[i].state = PAGE_LOST;
		n++;
	}
	atomic_fetch_add(&t->header->counters.lost_pages, n);
	atomic_store(&t->header->counters.in_flight, 0);
	return n;
}

void table_fill(struct table *t, enum page_state state)
{
	for (uint64_t i = 0; i < t->header->pages; i++) {
		t->entries[i].change++;
		t->entries[i].state = (uint8_t)state;
		t->entries[i].in_flight = 0;
		t->entries[i].check = 0;
	}
	if (state == PAGE_LOST)
		atomic_store(&t->header->counters.lost_pages, t->header->pages);
}

void table_count(const struct table *t, uint64_t *fresh, uint64_t *written, uint64_t *lost)
{
	*fresh = *written = *lost = 0;
	for (uint64_t i = 0; i < t->header->pages; i++) {
		switch (t->entries[i].state) {
		case PAGE_FRESH:
			++*fresh;
			break;
		case PAGE_WRITTEN:
			++*written;
			break;
		default:
			++*lost;
		}
	}
}
