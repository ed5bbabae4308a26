/* SPDX-License-Identifier: BSD-3-Clause */
/* Locks a process into memory and proves it.
 *
 * Anonymous memory is locked when it is first touched (MCL_ONFAULT), so that large static buffers that are never used cost
 * nothing (nbdkit has 192 MiB of them); programs and libraries are read in at once, since a page of code that is not
 * there would have to be read while the machine has no memory to read it into.
 */
#ifndef NBDSWAP_MEMLOCK_H
#define NBDSWAP_MEMLOCK_H

#include "common/errbuf.h"

#include <stdint.h>

/* Locks what is mapped now and what will be.  Call it once all libraries are loaded; again after loading more (a plugin).
 * Returns 0; -1 with *e naming what is missing (CAP_IPC_LOCK, RLIMIT_MEMLOCK) and the way round it (allow=memlock);
 * nothing stays locked then.
 */
int memlock_process(struct errbuf *e);

/* From now on memory is locked and given when it is mapped, not when it is first touched: threads started later have their whole stack,
 * and what malloc takes is there, so that no page fault waits on the I/O path.  What is mapped already stays as it is.  Call it
 * after memlock_process(), and give threads small stacks.  0 or -1 with *e.
 */
int memlock_populate_future(struct errbuf *e);

/* Reads back what the kernel says: VmLck must not be 0 and Locked of smaps_rollup must cover what is resident.  *locked_kib (may
 * be NULL) is what is really locked, in KiB.  Returns 0; -1 with *e.
 */
int memlock_verify(uint64_t *locked_kib, struct errbuf *e);

#endif
