/* SPDX-License-Identifier: BSD-3-Clause */
/* What a process on the I/O path asks of the kernel for itself; each is read back.
 * All need CAP_SYS_RESOURCE; a helper program started later should undo procself_io_flusher.
 */
#ifndef NBDSWAP_PROCSELF_H
#define NBDSWAP_PROCSELF_H

#include "common/errbuf.h"

#include <stdbool.h>

/* Sets oom_score_adj (-1000 ... 1000; -1000: never chosen by the OOM killer).  Nothing to do when it is that low already (set by the
 * service manager).  Returns 0; -1 with *e naming CAP_SYS_RESOURCE and allow=oom.
 */
int procself_oom_score(int score, struct errbuf *e);

/* PR_SET_IO_FLUSHER: memory is allocated without waiting for I/O, which could be I/O that waits for this process.
 * Inherited over fork and exec.  Returns 0; -1 with *e naming CAP_SYS_RESOURCE and allow=io-flusher.
 */
int procself_io_flusher(struct errbuf *e);

/* The same for a short while, where it may be had: returns whether it was begun here, which is for _end(). */
bool procself_io_flusher_begin(void);
void procself_io_flusher_end(bool begun);

/* PR_SET_DUMPABLE 0: no core dump is written of this process, and no other user's process but root's can look into its memory or
 * /proc files.  Lasts until exec.  Returns 0; -1 with *e.
 */
int procself_undumpable(struct errbuf *e);

#endif
