/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/pool.h"

#include "store/lockedmem.h"
#include "store/page.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>

#define READ_RESERVE (POOL_RESERVE_PAGES / 2) /* writes never take these: one largest read always can go on */

/* A region of pages and the stack of those that are free; as long as the region, so that giving back never allocates. */
struct region {
	unsigned char *memory;
	size_t pages, free_count;
	void **free;
};

struct pool {
	pthread_mutex_t lock;
	bool allow_unlocked;
	unsigned shares;
	struct region common;
};

struct pool_share {
	struct pool *pool;
	struct region own;
	size_t held;	    /* pages of either kind */
	size_t held_common; /* at most half of the common region */
};

static int region_make(struct region *g, size_t pages, bool allow_unlocked, const char *what, struct errbuf *e)
{
	g->free = calloc(pages, sizeof(void *));
	if (!g->free)
		return err_set(e, ENOMEM, "no memory for the %s", what);
	g->memory = lockedmem_map(-1, 0, pages * PAGE_BYTES, allow_unlocked, what, e);
	if (!g->memory) {
		free(g->free);
		return -1;
	}
	g->pages = g->free_count = pages;
	for (size_t i = 0; i < pages; i++)
		g->free[i] = g->memory + i * PAGE_BYTES;
	return 0;
}

static void region_free(struct region *g)
{
	munmap(g->memory, g->pages * PAGE_BYTES);
	free(g->free);
}

static bool region_has(const struct region *g, const void *page)
{
	const unsigned char *q = page;

	return q >= g->memory && q < g->memory + g->pages * PAGE_BYTES;
}

struct pool *pool_create(size_t common_pages, bool allow_unlocked, struct errbuf *e)
{
	struct pool *p = calloc(1, sizeof(*p));

	if (!p) {
		err_set(e, ENOMEM, "no memory for the buffer pool");
		return NULL;
	}
	if (region_make(&p->common, common_pages, allow_unlocked, "buffer pool", e) < 0) {
		free(p);
		return NULL;
	}
	p->allow_unlocked = allow_unlocked;
	pthread_mutex_init(&p->lock, NULL);
	return p;
}

void pool_free(struct pool *p)
{
	if (!p)
		return;
	assert(p->shares == 0);
	region_free(&p->common);
	pthread_mutex_destroy(&p->lock);
	free(p);
}

struct pool_share *pool_join(struct pool *p, struct errbuf *e)
{
	struct pool_share *s = calloc(1, sizeof(*s));

	if (!s) {
		err_set(e, ENOMEM, "no memory for the buffer reserve of an export");
		return NULL;
	}
	if (region_make(&s->own, POOL_RESERVE_PAGES, p->allow_unlocked, "buffer reserve of an export", e) < 0) {
		free(s);
		return NULL;
	}
	s->pool = p;
	pthread_mutex_lock(&p->lock);
	p->shares++;
	pthread_mutex_unlock(&p->lock);
	return s;
}

void pool_leave(struct pool_share *s)
{
	assert(s->held == 0);
	pthread_mutex_lock(&s->pool->lock);
	s->pool->shares--;
	pthread_mutex_unlock(&s->pool->lock);
	region_free(&s->own);
	free(s);
}

bool pool_take(struct pool_share *s, bool for_read, size_t want, void *pages[])
{
	struct region *own = &s->own, *common = &s->pool->common;
	size_t kept_back = for_read ? 0 : READ_RESERVE, from_own, rest;
	bool ok;

	pthread_mutex_lock(&s->pool->lock);
	from_own = own->free_count > kept_back ? own->free_count - kept_back : 0;
	if (from_own > want)
		from_own = want;
	rest = want - from_own;
	ok = rest <= common->free_count && (rest == 0 || s->held_common + rest <= common->pages / 2);
	if (ok) {
		for (size_t i = 0; i < want; i++) {
			struct region *g = i < from_own ? own : common;

			pages[i] = g->free[--g->free_count];
		}
		s->held += want;
		s->held_common += rest;
	}
	pthread_mutex_unlock(&s->pool->lock);
	return ok;
}

void pool_give(struct pool_share *s, size_t count, void *pages[])
{
	pthread_mutex_lock(&s->pool->lock);
	for (size_t i = 0; i < count; i++) {
		bool mine = region_has(&s->own, pages[i]);
		struct region *g = mine ? &s->own : &s->pool->common;

		g->free[g->free_count++] = pages[i];
		s->held_common -= !mine;
	}
	s->held -= count;
	pthread_mutex_unlock(&s->pool->lock);
}
