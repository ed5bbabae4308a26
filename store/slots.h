/* SPDX-License-Identifier: BSD-3-Clause */
/* The slots of a page table: what a write overwrites in the table while it is at the backend.
 *
 * A write is two-phase.  It takes a slot and puts the old entries of its pages there, marks the pages in flight, stores the
 * new marks, and only then goes to the backend; when the backend has answered, the words are committed and the slot is free
 * again.  Whoever finds a busy slot after a death (settle.h) can compare what is in the file with the new marks, and
 * then with the old ones.
 *
 * The slots lie in the table's mapping, for they must outlive the worker.  Which are free is known to the worker alone.
 */
#ifndef NBDSWAP_STORE_SLOTS_H
#define NBDSWAP_STORE_SLOTS_H

#include "store/entry.h"

#define SLOTS 256u	   /* twice the depth of a connection of the kernel's nbd */
#define SLOT_PAGES 32u	   /* pages of a bite */

enum slot_use {
	SLOT_FREE = 0,
	SLOT_TABLE = 1, /* the table alone has changed, and its new marks are not all there: the file holds what it held */
	SLOT_IO = 2	/* the new marks are there, the pages may be at the backend */
};

struct slot {
	_Atomic uint32_t use; /* enum slot_use; stored last when taken, first when freed */
	uint32_t pages;
	uint64_t first_page;
	uint64_t reserved[6];
	unsigned char old[]; /* SLOT_PAGES entries as they were */
};
_Static_assert(sizeof(struct slot) == 64, "slots begin at cache lines");

static inline size_t slot_bytes(uint32_t stride)
{
	return sizeof(struct slot) + (size_t)SLOT_PAGES * stride;
}

static inline struct slot *slot_at(unsigned char *base, uint32_t stride, uint32_t index)
{
	return (struct slot *)(base + index * slot_bytes(stride));
}

#endif
