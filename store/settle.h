/* SPDX-License-Identifier: BSD-3-Clause */
/* After a death: what became of the writes that were under way.
 *
 * A page in flight may hold its new content, its old one, or a mixture.  The file decides: what is there is compared with the new mark,
 * then with the old one that the slot kept; what is neither is lost.  A page without a check cannot be compared and is lost.  A page that was
 * answered from the table before (fresh, one value) goes back to that, for its write was not acknowledged.
 */
#ifndef NBDSWAP_STORE_SETTLE_H
#define NBDSWAP_STORE_SETTLE_H

#include "common/errbuf.h"
#include "store/table.h"

#include <stdint.h>

struct settled {
	uint64_t kept_new; /* pages whose write had reached the file */
	uint64_t kept_old; /* pages that are what they were before */
	uint64_t lost;
};

/* Settles every write under way.  Only when no other process uses the table and no orphan write can land any more (backend_barrier).
 * fd: the backing file, O_DIRECT or not; reads of at most 8192 pages, which block as long as the backend does.  -1: it cannot be asked,
 * what would have to be compared is lost.  Errors that pass are waited for, 10 s in all; a page that cannot be read, or
 * matches nothing, at a second look either is lost.  *out (may be NULL) is added up.
 * Returns 0; -1 with *e when there is no memory for a buffer (nothing was changed).
 */
int table_settle(struct table *t, int fd, struct settled *out, struct errbuf *e);

#endif
