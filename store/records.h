/* SPDX-License-Identifier: BSD-3-Clause */
/* Records: the page table's entries in the trailer of the backing file, each at its place, kept up with every write (survive = host).
 *
 * After a power cut a page is what its record says, as far as its content is what the record's mark was made of; else it is lost, which only a page can be
 * whose write was not acknowledged.  So a write's page and its record may reach the storage in either order, but both are made durable before
 * the answer: one flush for all that wait at the time (rw_keep.c).
 *
 * The table is written in place rather than told to a journal: nothing has to be replayed, emptied or made room for, a torn write
 * leaves each sector with what it had or what it was to have, and either is true of the pages whose writes were acknowledged.
 *
 *   group   512 bytes, a sector, which reaches the storage whole or not at all: 30 entries (15 of a sealed table), and over them a check that
 *           is bound to the file, the activation and the group's place; sealed ones are sealed, for they hold values of pages
 *   block   8 groups: what is written at once, for the storage's own sectors may be that large
 *
 * Entries are those of the table as they are at that time.  One of a page whose write is at the backend says so and counts as lost.
 */
#ifndef NBDSWAP_RECORDS_H
#define NBDSWAP_RECORDS_H

#include "common/errbuf.h"
#include "store/table.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define RECORD_GROUP_BYTES 512u
#define RECORD_GROUPS 8u /* of a block */
#define RECORD_ENTRIES_BYTES 480u /* of a group */

static inline uint32_t records_per_block(uint32_t stride)
{
	return RECORD_GROUPS * (RECORD_ENTRIES_BYTES / stride);
}

/* How many blocks these pages have; a block has a page's bytes, and block n lies n pages behind the beginning of the trailer's table. */
static inline uint64_t records_blocks(uint64_t pages, uint32_t stride)
{
	return (pages + records_per_block(stride) - 1) / records_per_block(stride);
}

static inline uint64_t records_block_of(const struct table *t, uint64_t page)
{
	return page / records_per_block(table_entries(t)->stride);
}

/* Entries of these pages have changed.  Nothing where the table has no records.  The lock of the store is held, or there is none. */
void records_touch(struct table *t, uint64_t page, uint64_t pages);

/* The records of a block as the table is now, into a page's bytes; entries may change meanwhile.  False: they could not be sealed. */
bool records_encode(struct table *t, uint64_t block, void *out);

/* Writes records and makes them durable, of all blocks or of those that are not durable yet.  Nobody else uses the table.  offset: of the
 * trailer's table in fd (O_DIRECT); path: for messages.  0; -1 with *e.
 */
int records_write(struct table *t, bool all, int fd, off_t offset, const char *path, struct errbuf *e);

/* Makes the entries of a new table of what records say; pages without a record that holds are lost.  As records_write(). */
int records_load(struct table *t, int fd, off_t offset, const char *path, struct errbuf *e);

#endif
