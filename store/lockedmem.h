/* SPDX-License-Identifier: BSD-3-Clause */
/* Memory of the I/O path: mapped, locked and touched once, so that using it later never faults. */
#ifndef NBDSWAP_LOCKEDMEM_H
#define NBDSWAP_LOCKEDMEM_H

#include "common/errbuf.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Maps bytes of fd from at (a multiple of a page) on, or anonymous memory when fd is -1 (a child process would share it, not copy it), locks and
 * touches it, keeps it out of core dumps.  what names it in messages.  With allow_unlocked a failed lock is not an error, touching still is
 * done.  Returns NULL with *e on failure; release with munmap().
 */
void *lockedmem_map(int fd, off_t at, size_t bytes, bool allow_unlocked, const char *what, struct errbuf *e);

/* The same for memory that is mapped already.  0; -1 with *e, and it stays mapped. */
int lockedmem_hold(void *memory, size_t bytes, bool allow_unlocked, const char *what, struct errbuf *e);

#endif
