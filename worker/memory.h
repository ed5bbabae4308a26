/* SPDX-License-Identifier: BSD-3-Clause */
/* A worker's own memory: contract point 4, and what keeps it small. */
#ifndef NBDSWAP_WORKER_MEMORY_H
#define NBDSWAP_WORKER_MEMORY_H

#include "common/errbuf.h"

#include <stdint.h>

/* Before the first thread is started: threads get small stacks, which are locked whole, and there is one arena, for nothing allocates while pages
 * move and each further one costs memory that is locked.
 */
void worker_memory_tame(void);

/* Locks memory, what is mapped later too, and reads back that it is; *locked_kib is how much.  0; 1 with *e when it cannot be and allow (enum allow)
 * permits that: nothing is locked then, and *locked_kib is 0; else -1 with *e.
 */
int worker_memory_lock(unsigned allow, uint64_t *locked_kib, struct errbuf *e);

#endif
