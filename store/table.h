/* SPDX-License-Identifier: BSD-3-Clause */
/* The page table: one fixed entry per page, made at activation, never grown.
 *
 * It lies in one shared mapping (a memfd), so that it can be handed to another process as a descriptor and outlive a worker:
 *
 *   header page    layout, rules of the export, counters
 *   slots          what the writes under way overwrite in the table (slots.h)
 *   entries        16 bytes per page, 32 when pages are sealed (entry.h)
 *   records        where the pages are to survive the host: the state of each block of records, and buffers to write them from (records.h)
 *
 * Locks: the worker that serves the export changes entries under its store's lock; others (a scrub) by compare-and-swap alone.
 */
#ifndef NBDSWAP_TABLE_H
#define NBDSWAP_TABLE_H

#include "common/errbuf.h"
#include "store/entry.h"
#include "store/recordblock.h"
#include "store/slots.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum page_check { CHECK_XXH3, CHECK_NONE };
enum page_seal { PAGE_SEAL_NONE, PAGE_SEAL_AES_256_GCM };

/* What pages outlive: the processes that serve them, for which the table in memory is enough, or an unclean end of the machine too, for which
 * each write keeps a record in the file before it is answered (records.h).
 */
enum page_survive { SURVIVE_PROCESS, SURVIVE_HOST };

/* What holds for all pages of an export; it reaches a worker with the table. */
struct table_spec {
	uint64_t pages;
	uint8_t check; /* enum page_check: is one made of what is written? */
	uint8_t seal;  /* enum page_seal */
	uint8_t survive; /* enum page_survive */
	uint32_t salt;	     /* of the nonces of this use; sealed exports only */
	uint64_t activation; /* the generation's first half, and */
	uint8_t uuid[16];    /* the file that the content is bound to */
};

struct table_counters {
	_Atomic uint64_t reads, writes, discards;	      /* requests */
	_Atomic uint64_t read_pages, written_pages, discarded_pages; /* as asked for */
	_Atomic uint64_t table_pages;			      /* read without I/O */
	_Atomic uint64_t same_pages;			      /* written without I/O: all one value */
	_Atomic uint64_t errors;			      /* requests answered with an error */
	_Atomic uint64_t lost_pages;			      /* pages that became lost since activation */
	_Atomic uint64_t checks_failed;			      /* reads of a page that did not match, each of the two looks */
	_Atomic uint64_t reread_good;			      /* reads that were right at the second look */
	_Atomic uint64_t retries;			      /* of I/O that failed with an error that passes */
	_Atomic uint64_t errors_passing, errors_lasting, errors_impossible; /* answers of the backend, by class */
	_Atomic uint32_t in_flight;			      /* requests between begin and complete */
	_Atomic uint32_t held;				      /* of these, waiting for an error to pass */
};

struct table;
struct seal;
struct sealkey;

/* Makes a table with every page in the given state (PAGE_FRESH or PAGE_LOST) in a new memfd; locks and touches it.
 * Returns NULL with *e on failure (ENOMEM with the remedy when locking fails).  allow_unlocked: warn-only locking.
 */
struct table *table_create(const struct table_spec *spec, enum page_state state, bool allow_unlocked, struct errbuf *e);

/* Maps a table that another process made (fd is not consumed); refuses an unknown layout version. */
struct table *table_map(int fd, bool allow_unlocked, struct errbuf *e);

void table_free(struct table *t); /* unmaps; NULL is fine */

int table_fd(const struct table *t); /* borrowed */
uint64_t table_pages(const struct table *t);
const struct table_spec *table_spec(const struct table *t);
struct table_counters *table_counters(struct table *t);

/* Makes the contexts that this process needs to seal and open pages of a sealed table, from its activation's key (needed only during
 * the call).  They are freed with the table.  0; -1 with *e (EPROTO: the key is for another file or activation).
 */
int table_unlock_seal(struct table *t, const struct sealkey *key, struct errbuf *e);

/* The seal; NULL when pages are not sealed, or this process has not been given the key. */
struct seal *table_seal(const struct table *t);

/* Binds the content to another generation.  Entries become invalid: table_fill or table_forget follows; a sealed table needs the key of
 * the new generation (table_unlock_seal), and what was made from the old seal (markers) is invalid.
 */
void table_set_activation(struct table *t, uint64_t activation);

/* Seconds for which a write is held and tried again; may change at any time. */
uint32_t table_retry_time(const struct table *t);
void table_set_retry_time(struct table *t, uint32_t seconds);

/* The generation's second half (common/generation.h), which outlives with the table who gives it out.  0: no client has had the content. */
uint64_t table_lease(const struct table *t);
void table_set_lease(struct table *t, uint64_t lease);

/* The last nonce counter given out: rises before each sealed page goes to the backend and never falls. */
_Atomic uint64_t *table_nonce(struct table *t);

const struct entries *table_entries(const struct table *t);
struct slot *table_slot(struct table *t, uint32_t index); /* index below SLOTS */

/* The blocks of records of a table that survives the host, table_record_blocks() of them (0: it does not). */
struct record_block *table_record_block(struct table *t, uint64_t index);
uint64_t table_record_blocks(const struct table *t);

/* What the I/O path writes records from: RECORD_WRITERS buffers of RECORD_SPAN blocks each.  Page-aligned, locked. */
void *table_record_buffer(struct table *t, uint32_t index);

/* The numbers of its flushes. */
struct record_flushes *table_record_flushes(struct table *t);

/* The entries as they are stored in a trailer: bytes of them, page-aligned; table_image_space is that in whole pages, all mapped. */
void *table_image(struct table *t, uint64_t *bytes);
uint64_t table_image_space(const struct table *t);

/* Makes every page lost (unclean end), or fresh (reset), and frees the slots. */
void table_fill(struct table *t, enum page_state state);

/* Binds the content to another generation; pages that are fresh stay so, all others become lost, their marks are wiped. */
void table_forget(struct table *t, uint64_t activation);

/* What is known of one page (page < table_pages). */
struct page_view table_page(const struct table *t, uint64_t page);

struct table_totals {
	uint64_t fresh, same, zero, written, lost; /* zero: of the same ones, those whose value is 0 */
};

/* Counts pages by state: a walk over the whole table, which may be in use. */
void table_count(const struct table *t, struct table_totals *out);

#endif
