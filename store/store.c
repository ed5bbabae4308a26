/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/store_priv.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* A busy slot is a write of a predecessor's: what became of it only the file can tell. */
static int find_slots(struct store *s, struct errbuf *e)
{
	for (uint32_t i = 0; i < SLOTS; i++) {
		struct slot *slot = table_slot(s->table, i);

		if (atomic_load(&slot->use) != SLOT_FREE)
			return err_set(e, EBUSY, "%s: its page table has unfinished writes of another worker; they must be settled "
				       "first", s->name);
		s->slots[s->free_slots++] = slot;
	}
	return 0;
}

static int64_t monotonic_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

struct store *store_create(const struct store_options *o, struct errbuf *e)
{
	struct store *s = calloc(1, sizeof(*s));
	pthread_condattr_t monotonic;

	if (!s) {
		err_set(e, ENOMEM, "%s: no memory", o->name);
		return NULL;
	}
	snprintf(s->name, sizeof(s->name), "%s", o->name);
	s->fd = o->fd;
	s->table = o->table;
	if (table_spec(o->table)->seal != PAGE_SEAL_NONE && !table_seal(o->table)) {
		err_set(e, ENOKEY, "%s: its pages are sealed and no key was given for them", o->name);
		free(s);
		return NULL;
	}
	if (!o->pool && table_seal(o->table)) {
		err_set(e, EINVAL, "%s: pages that are sealed need buffers of their own", o->name);
		free(s);
		return NULL;
	}
	if (find_slots(s, e) < 0) {
		free(s);
		return NULL;
	}
	if (o->pool && !(s->share = pool_join(o->pool, e))) {
		err_prefix(e, "%s", o->name);
		free(s);
		return NULL;
	}
	s->entries = table_entries(o->table);
	marker_init(&s->marker, o->table);
	s->counters = table_counters(o->table);
	s->pages = table_pages(o->table);
	s->kind = o->kind;
	s->stale = o->stale;
	s->arg = o->arg;
	s->sleep = o->sleep;
	s->now_ms = o->now_ms ? o->now_ms : monotonic_ms;
	s->keeps = table_record_blocks(o->table) > 0;
	if (s->keeps)
		keep_init(s);
	notices_init(&s->notices, o->name, o->emit, o->arg);
	s->queue_end = &s->queue;
	pthread_mutex_init(&s->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&s->idle, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return s;
}

void store_free(struct store *s)
{
	if (!s)
		return;
	if (s->share)
		pool_leave(s->share);
	notices_end(&s->notices);
	pthread_cond_destroy(&s->idle);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

bool store_drain(struct store *s, int timeout_ms)
{
	struct timespec until;
	bool drained;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += timeout_ms / 1000;
	until.tv_nsec += timeout_ms % 1000 * 1000000L;
	if (until.tv_nsec >= 1000000000L) {
		until.tv_nsec -= 1000000000L;
		until.tv_sec++;
	}
	pthread_mutex_lock(&s->lock);
	s->draining = true;
	while (s->at_backend > 0)
		if (pthread_cond_timedwait(&s->idle, &s->lock, &until) == ETIMEDOUT)
			break;
	drained = s->at_backend == 0;
	pthread_mutex_unlock(&s->lock);
	return drained;
}

void store_await(struct store *s, int more)
{
	atomic_fetch_add(&s->awaited, more);
}

bool store_awaits(const struct store *s)
{
	return atomic_load(&s->awaited) > 0;
}

uint64_t store_size(const struct store *s)
{
	return s->pages * PAGE_BYTES;
}

bool store_keeps(const struct store *s)
{
	return s->keeps;
}
