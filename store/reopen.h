/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening a backing file in use anew, after its handle has become stale (a file server was restarted, or exports it anew).
 *
 * A stale handle does not tell whether the file is still there, so the file is opened by its path, locked, and looked at: it is the
 * same one only if inode, size and the whole header of its trailer are what we wrote last, owner and sequence included.  Nobody
 * can have begun a use of it without changing that.
 */
#ifndef NBDSWAP_REOPEN_H
#define NBDSWAP_REOPEN_H

#include "common/errbuf.h"
#include "store/backing.h"

#include <stdint.h>

enum reopened {
	REOPEN_SAME,  /* backing_fd() is the same number and a new description of the same file, with its lock */
	REOPEN_LATER, /* not to be had just now: try again soon; *e says why */
	REOPEN_LOST,  /* it is not the same file, or another has it, or there was nothing to be had for patience_s: *e */
};

/* May block for as long as the backend does; allocates.  The new description takes the place of the old one atomically (dup3), so other
 * threads may do I/O on backing_fd() meanwhile.  Between the loss of the old lock and REOPEN_SAME nothing may be written.
 * After REOPEN_LOST the backing never touches the file again: backing_end() and backing_lost() refuse.
 */
enum reopened backing_reopen(struct backing *b, uint32_t patience_s, struct errbuf *e);

#endif
