/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/store/cutdisk.h"

#include "tests/store/support.h"

#include <stdlib.h>
#include <string.h>

#define SECTOR 512u
#define CACHE_MOST (sizeof(((struct cutdisk *)0)->cache) / sizeof(struct cutdisk_write))

void cutdisk_init(struct cutdisk *d, uint64_t bytes, uint32_t (*dice)(uint32_t n))
{
	memset(d, 0, sizeof(*d));
	d->bytes = bytes;
	d->dice = dice;
	d->durable = malloc(bytes);
	d->current = malloc(bytes);
	assert_true(d->durable && d->current);
}

static void forget(struct cutdisk *d, size_t n)
{
	size_t left = (size_t)(d->written - d->flushed) - n;

	for (size_t i = 0; i < n; i++)
		free(d->cache[i].data);
	memmove(d->cache, d->cache + n, left * sizeof(d->cache[0]));
	d->flushed += n;
}

void cutdisk_free(struct cutdisk *d)
{
	forget(d, (size_t)(d->written - d->flushed));
	free(d->durable);
	free(d->current);
}

void cutdisk_write(struct cutdisk *d, uint64_t offset, const void *data, size_t bytes)
{
	struct cutdisk_write *c = &d->cache[d->written - d->flushed];

	assert_true(d->written - d->flushed < CACHE_MOST && offset + bytes <= d->bytes && offset % PAGE_BYTES == 0);
	d->written++;
	*c = (struct cutdisk_write){ offset, bytes, malloc(bytes) };
	assert_non_null(c->data);
	memcpy(c->data, data, bytes);
	memcpy(d->current + offset, data, bytes);
}

void cutdisk_read(const struct cutdisk *d, uint64_t offset, void *out, size_t bytes)
{
	memcpy(out, d->current + offset, bytes);
}

void cutdisk_flush(struct cutdisk *d, uint64_t written)
{
	size_t n = written > d->flushed ? (size_t)(written - d->flushed) : 0;

	d->flushes++;
	if (d->ignores_flushes)
		return;
	for (size_t i = 0; i < n; i++)
		memcpy(d->durable + d->cache[i].offset, d->cache[i].data, d->cache[i].bytes);
	forget(d, n);
}

/* Sectors are kept with a chance that differs from cut to cut: all, none, or some. */
void cutdisk_cut(struct cutdisk *d)
{
	uint32_t keep = d->dice(5);
	size_t n = (size_t)(d->written - d->flushed);

	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < d->cache[i].bytes; k += SECTOR)
			if (d->dice(4) < keep)
				memcpy(d->durable + d->cache[i].offset + k, d->cache[i].data + k, SECTOR);
	forget(d, n);
}

void cutdisk_torn(struct cutdisk *d, uint64_t offset, const void *data, size_t bytes)
{
	assert_true(offset + bytes <= d->bytes && offset % PAGE_BYTES == 0);
	for (size_t k = 0; k < bytes; k += SECTOR)
		if (d->dice(2))
			memcpy(d->durable + offset + k, (const unsigned char *)data + k, SECTOR);
}

void cutdisk_restart(struct cutdisk *d)
{
	memcpy(d->current, d->durable, d->bytes);
}
