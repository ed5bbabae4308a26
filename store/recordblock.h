/* SPDX-License-Identifier: BSD-3-Clause */
/* What a table knows of the blocks of records that lie in the file (records.h).  It lies in the table's mapping: what a dead worker had not made
 * durable its successor must, before it answers for it.
 *
 * Flushes have numbers from 1 on.  A block that was written is durable when the flush is that was the next to begin at that time.
 */
#ifndef NBDSWAP_STORE_RECORDBLOCK_H
#define NBDSWAP_STORE_RECORDBLOCK_H

#include <stdatomic.h>
#include <stdint.h>

#define RECORD_WRITERS 32u /* blocks, or pairs of adjacent ones, that are written at once */
#define RECORD_SPAN 2u	   /* blocks: no more are touched by a bite */

/* Changed under the lock of the store that serves the table, or while none does. */
struct record_block {
	uint64_t flush; /* makes its last write durable; 0: it is */
	uint32_t taken; /* contents of it that were taken to be written, and */
	uint32_t done;	/* which of them was written last */
	uint8_t dirty;	/* entries have changed since the last was taken */
	uint8_t writing; /* the last taken is being written: one at a time, so that none lands after a later one */
	uint8_t reserved[6];
};
_Static_assert(sizeof(struct record_block) == 24, "no padding");

struct record_flushes {
	uint64_t next;	  /* to begin */
	uint64_t durable; /* the last that has ended well */
	uint64_t failed;  /* the last that did not */
};

#endif
