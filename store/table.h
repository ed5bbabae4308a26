/* SPDX-License-Identifier: BSD-3-Clause */
/* The page table: one fixed entry per page, made at activation, never grown.
 *
 * It lies in one shared mapping (a memfd) with a header page in front of the entries, so that it can be handed to another
 * process as a descriptor and outlive a worker.  The header also carries the export's counters, which the
 * daemon reads while the worker writes them.
 */
#ifndef NBDSWAP_TABLE_H
#define NBDSWAP_TABLE_H

#include "common/errbuf.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum page_state {
	PAGE_FRESH = 0x5a, /* never written, zeroed or discarded since: reads as zeros, no I/O */
	PAGE_WRITTEN = 0xa6,
	PAGE_LOST = 0xc9,  /* content not known: EIO until written, discarded or reset.  Any other value counts as lost too */
};

/* 16 bytes: 4 MiB of table per GiB exported. */
struct page_entry {
	uint64_t check;	   /* 0: the content is not checked yet */
	uint32_t change;   /* rises with every write or discard; a commit is valid only for the number taken at begin */
	uint8_t state;	   /* enum page_state */
	uint8_t in_flight; /* 1 while a write of this page is at the backend */
	uint16_t reserved; /* 0 */
};
_Static_assert(sizeof(struct page_entry) == 16, "the table costs 4 MiB per GiB");

struct table_counters {
	_Atomic uint64_t reads, writes, discards;	      /* requests */
	_Atomic uint64_t read_pages, written_pages, discarded_pages, table_pages; /* table_pages: read without I/O */
	_Atomic uint64_t errors;			      /* requests answered with an error */
	_Atomic uint64_t lost_pages;			      /* pages that became lost since activation */
	_Atomic uint32_t in_flight;			      /* requests between begin and complete */
};

struct table;

/* Makes a table of pages entries, all in the given state, in a new memfd; locks and touches it.
 * Returns NULL with *e on failure (ENOMEM with the remedy when locking fails).  allow_unlocked: warn-only locking.
 */
struct table *table_create(uint64_t pages, enum page_state state, bool allow_unlocked, struct errbuf *e);

/* Maps a table that another process made (fd is not consumed); refuses an unknown layout version. */
struct table *table_map(int fd, bool allow_unlocked, struct errbuf *e);

void table_free(struct table *t); /* unmaps; NULL is fine */

int table_fd(const struct table *t); /* borrowed */
uint64_t table_pages(const struct table *t);
struct page_entry *table_entries(struct table *t);
struct table_counters *table_counters(struct table *t);

/* For a successor: clears the marks of writes that were in flight.  Such a page becomes lost, or stays fresh when it was (the write
 * was not acknowledged, so zeros are still right).  Only when no other process uses the table and no orphan write can land.  Returns how many became lost.
 */
uint64_t table_settle(struct table *t);

/* Makes every page lost (unclean end), or fresh (reset). */
void table_fill(struct table *t, enum page_state state);

/* Counts pages by state (a walk over the whole table). */
void table_count(const struct table *t, uint64_t *fresh, uint64_t *written, uint64_t *lost);

#endif
