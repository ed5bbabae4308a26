/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/engine/buffers.h"

#include "store/lockedmem.h"
#include "store/page.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK BUFFERS_BLOCK_PAGES

struct buffers {
	int fd;
	bool allow_unlocked;
	struct buffers_head *head;
	unsigned char *common;
	uint32_t common_pages, blocks;
	uint64_t free[]; /* a bit for each page of the common part, a word for each block */
};

enum { FOR_READS, FOR_ALL }; /* the halves of a reserve */

struct buffers_share {
	struct buffers *b;
	unsigned char *memory;
	uint32_t first; /* page number of the reserve's first page */
	uint64_t free[2];
	uint32_t common; /* pages held of the common part */
};

static uint64_t bits(uint32_t pages, uint32_t at)
{
	return (pages == BLOCK ? ~UINT64_C(0) : (UINT64_C(1) << pages) - 1) << at;
}

/* The lowest place where so many free pages are together, or -1. */
static int find_run(uint64_t word, uint32_t pages)
{
	for (uint32_t have = 1, step; word && have < pages; have += step) {
		step = have < pages - have ? have : pages - have;
		word &= word >> step;
	}
	return word ? __builtin_ctzll(word) : -1;
}

static unsigned char *map_at(int fd, size_t bytes, off_t at, bool allow_unlocked, struct errbuf *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0 || st.st_size < at + (off_t)bytes) {
		err_set(e, EPROTO, "the shared buffers end before the part that was given");
		return NULL;
	}
	return lockedmem_map(fd, at, bytes, allow_unlocked, "shared buffers", e);
}

struct buffers *buffers_create(int fd, uint32_t common_pages, bool allow_unlocked, struct errbuf *e)
{
	uint32_t blocks = common_pages / BLOCK;
	struct buffers *b = calloc(1, sizeof(*b) + blocks * sizeof(b->free[0]));

	if (!b) {
		err_set(e, ENOMEM, "no memory for the list of buffers");
		return NULL;
	}
	b->fd = fd;
	b->allow_unlocked = allow_unlocked;
	b->common_pages = common_pages;
	b->blocks = blocks;
	b->head = (void *)map_at(fd, BUFFERS_HEAD_BYTES, 0, allow_unlocked, e);
	if (b->head)
		b->common = map_at(fd, (size_t)common_pages * PAGE_BYTES, BUFFERS_HEAD_BYTES, allow_unlocked, e);
	if (!b->common) {
		buffers_free(b);
		return NULL;
	}
	memset(b->free, 0xff, blocks * sizeof(b->free[0]));
	return b;
}

void buffers_free(struct buffers *b)
{
	if (!b)
		return;
	if (b->common)
		munmap(b->common, (size_t)b->common_pages * PAGE_BYTES);
	if (b->head)
		munmap(b->head, BUFFERS_HEAD_BYTES);
	free(b);
}

struct buffers_share *buffers_join(struct buffers *b, uint32_t reserve, struct errbuf *e)
{
	uint64_t first = b->common_pages + (uint64_t)reserve * BUFFERS_RESERVE_PAGES;
	struct buffers_share *s;

	if ((first + BUFFERS_RESERVE_PAGES) / BLOCK > BUFFERS_BLOCKS_MAX) {
		err_set(e, EPROTO, "the buffers given to an export lie beyond what there can be");
		return NULL;
	}
	s = calloc(1, sizeof(*s));
	if (!s) {
		err_set(e, ENOMEM, "no memory for the buffers of an export");
		return NULL;
	}
	s->b = b;
	s->first = (uint32_t)first;
	s->free[FOR_READS] = s->free[FOR_ALL] = ~UINT64_C(0);
	s->memory = map_at(b->fd, (size_t)BUFFERS_RESERVE_PAGES * PAGE_BYTES, BUFFERS_HEAD_BYTES + (off_t)s->first * PAGE_BYTES, b->allow_unlocked,
			   e);
	if (!s->memory) {
		free(s);
		return NULL;
	}
	return s;
}

void buffers_leave(struct buffers_share *s)
{
	if (!s)
		return;
	munmap(s->memory, (size_t)BUFFERS_RESERVE_PAGES * PAGE_BYTES);
	free(s);
}

static _Atomic uint64_t *held_word(const struct buffers *b, uint32_t first)
{
	return &b->head->held[first / BLOCK];
}

void buffers_hold(struct buffers_head *h, uint32_t first, uint32_t pages, bool held)
{
	uint64_t mask;

	if (pages == 0 || pages > BLOCK || first % BLOCK + pages > BLOCK || first / BLOCK >= BUFFERS_BLOCKS_MAX)
		return;
	mask = bits(pages, first % BLOCK);
	if (held)
		atomic_fetch_or(&h->held[first / BLOCK], mask);
	else
		atomic_fetch_and(&h->held[first / BLOCK], ~mask);
}

static bool take_of(const struct buffers *b, uint64_t *word, uint32_t pages, uint32_t base, uint32_t *first)
{
	int at = find_run(*word & ~atomic_load_explicit(held_word(b, base), memory_order_acquire), pages);

	if (at < 0)
		return false;
	*word &= ~bits(pages, (uint32_t)at);
	*first = base + (uint32_t)at;
	return true;
}

/* Small requests from one end, large ones from the other, so that whole blocks stay whole. */
static bool take_common(struct buffers_share *s, uint32_t pages, uint32_t *first)
{
	struct buffers *b = s->b;
	bool large = pages > BLOCK / 4;

	if (s->common + pages > b->common_pages / 2)
		return false;
	for (uint32_t i = 0; i < b->blocks; i++) {
		uint32_t block = large ? b->blocks - 1 - i : i;

		if (take_of(b, &b->free[block], pages, block * BLOCK, first)) {
			s->common += pages;
			return true;
		}
	}
	return false;
}

bool buffers_take(struct buffers_share *s, bool for_read, uint32_t pages, uint32_t *first)
{
	return (for_read && take_of(s->b, &s->free[FOR_READS], pages, s->first, first)) ||
	       take_of(s->b, &s->free[FOR_ALL], pages, s->first + BLOCK, first) || take_common(s, pages, first);
}

uint32_t buffers_session_max(const struct buffers_share *s)
{
	return s->b->common_pages / 2 + BUFFERS_RESERVE_PAGES - BLOCK;
}

/* The word of a page that is this share's to have, or NULL. */
static uint64_t *word_of(struct buffers_share *s, uint32_t first, uint32_t pages)
{
	if (pages == 0 || pages > BLOCK || first % BLOCK + pages > BLOCK)
		return NULL;
	if (first < s->b->common_pages)
		return &s->b->free[first / BLOCK];
	if (first < s->first || first >= s->first + BUFFERS_RESERVE_PAGES)
		return NULL;
	return &s->free[(first - s->first) / BLOCK];
}

void buffers_give(struct buffers_share *s, uint32_t first, uint32_t pages)
{
	uint64_t *word = word_of(s, first, pages), mask = bits(pages, first % BLOCK);

	assert(word && (*word & mask) == 0);
	*word |= mask;
	if (first < s->b->common_pages)
		s->common -= pages;
}

bool buffers_claim(struct buffers_share *s, uint32_t first, uint32_t pages)
{
	uint64_t *word = word_of(s, first, pages), mask;

	if (!word)
		return false;
	mask = bits(pages, first % BLOCK);
	if ((*word & mask) != mask)
		return false;
	*word &= ~mask;
	buffers_hold(s->b->head, first, pages, false); /* by the dead one: now it is by us */
	if (first < s->b->common_pages)
		s->common += pages;
	return true;
}

void buffers_unclaim(struct buffers_share *s, uint32_t first, uint32_t pages)
{
	buffers_hold(s->b->head, first, pages, true);
	buffers_give(s, first, pages);
}

void buffers_unhold(struct buffers_share *s, uint32_t first, uint32_t pages)
{
	if (word_of(s, first, pages))
		buffers_hold(s->b->head, first, pages, false);
}

void *buffers_at(const struct buffers_share *s, uint32_t first)
{
	return first < s->b->common_pages ? s->b->common + (size_t)first * PAGE_BYTES
					  : s->memory + (size_t)(first - s->first) * PAGE_BYTES;
}

bool buffers_is_common(const struct buffers_share *s, uint32_t first)
{
	return first < s->b->common_pages;
}

struct iovec buffers_common(const struct buffers *b)
{
	return (struct iovec){ .iov_base = b->common, .iov_len = (size_t)b->common_pages * PAGE_BYTES };
}

struct iovec buffers_reserve(const struct buffers_share *s)
{
	return (struct iovec){ .iov_base = s->memory, .iov_len = (size_t)BUFFERS_RESERVE_PAGES * PAGE_BYTES };
}
