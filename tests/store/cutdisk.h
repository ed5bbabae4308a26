/* SPDX-License-Identifier: BSD-3-Clause */
/* A model of a disk with a volatile cache: a write is there at once, in the order in which it ended, and is durable only with a flush that began after
 * that.  At a cut each sector (512 bytes) of each write that is not durable, of those still under way too, is on the disk or not, as chance has it.
 */
#ifndef NBDSWAP_TESTS_STORE_CUTDISK_H
#define NBDSWAP_TESTS_STORE_CUTDISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct cutdisk_write {
	uint64_t offset;
	size_t bytes;
	unsigned char *data;
};

struct cutdisk {
	uint64_t bytes;
	unsigned char *durable, *current; /* bytes each */
	uint64_t written, flushed, flushes; /* writes so far; of them durable; flushes so far */
	bool ignores_flushes;
	uint32_t (*dice)(uint32_t n); /* 0 to n - 1 */
	struct cutdisk_write cache[4096]; /* from flushed on */
};

/* Both fail the test when there is no memory for it. */
void cutdisk_init(struct cutdisk *d, uint64_t bytes, uint32_t (*dice)(uint32_t n));
void cutdisk_free(struct cutdisk *d);

void cutdisk_write(struct cutdisk *d, uint64_t offset, const void *data, size_t bytes);
void cutdisk_read(const struct cutdisk *d, uint64_t offset, void *out, size_t bytes);

/* A flush that began when so many had been written has ended. */
void cutdisk_flush(struct cutdisk *d, uint64_t written);

/* The power fails: first cutdisk_cut(), then cutdisk_torn() for each write that was under way, then cutdisk_restart(). */
void cutdisk_cut(struct cutdisk *d);
void cutdisk_torn(struct cutdisk *d, uint64_t offset, const void *data, size_t bytes);
void cutdisk_restart(struct cutdisk *d);

#endif
