/* SPDX-License-Identifier: BSD-3-Clause */
/* Marks: how a page that was read is known to be the one that was written.
 *
 * A check is XXH3 (64 bits) over the page, seeded by the file's uuid, the activation and the page number: a block that turns up at the
 * wrong place, from another file or from an earlier activation does not match.  XXH3 was chosen for its speed (about a fifth of a
 * microsecond for 4 KiB with SSE2, so a per cent or two of a page's way); it guards against storage that errs, not against one
 * that lies on purpose.  Against that pages are sealed (seal.h): then a mark is counter and salt of the page's nonce, and its tag.
 *
 * Locks: none; a marker is made at activation and not changed while requests use it, from any number of threads.
 */
#ifndef NBDSWAP_STORE_MARK_H
#define NBDSWAP_STORE_MARK_H

#include "common/errbuf.h"
#include "store/table.h"

#include <stdbool.h>
#include <stdint.h>

struct marker {
	const struct table_spec *spec;
	uint64_t seed;
	struct seal *seal;	 /* NULL: pages are not sealed */
	_Atomic uint64_t *nonce; /* the table's counter */
};

/* table is borrowed and must outlive *m; a sealed one has been unlocked.  Valid as long as the table's generation. */
void marker_init(struct marker *m, struct table *table);

/* Puts a page (4096 bytes, any alignment), sealed or as it is, into the buffer that goes to the backend, and tells its mark.  buffer may be NULL
 * where pages are not sealed: data itself goes to the backend.  Returns false when it could not be sealed: the buffer must not be written then.
 */
bool mark_make(const struct marker *m, uint64_t page, const void *data, void *buffer, struct page_mark *mark);

/* Is buffer, as the backend gave it, what the mark was made of?  If so the page is put into data (4096 bytes, NULL: only asked), which
 * otherwise holds nothing to be used.
 */
bool mark_verify(const struct marker *m, uint64_t page, const struct page_mark *mark, const void *buffer, void *data);

/* Is a page all one 64-bit value?  Then *value is it. */
bool page_is_same(const void *data, uint64_t *value);

/* The page that PAGE_SAME stands for. */
void page_fill_same(void *data, uint64_t value);

#endif
