/* SPDX-License-Identifier: BSD-3-Clause */
/* Can memory of this process reach a disk?  A key that is handed to another process is for a moment in neither's
 * locked memory, so it is handed down only where nothing can be swapped out: no swap is on, or the control group of
 * the process may use none (systemd: MemorySwapMax=0, which nbdswapd's unit has).
 */
#ifndef NBDSWAP_NOSWAP_H
#define NBDSWAP_NOSWAP_H

#include "common/errbuf.h"

/* Returns 0 when nothing can be swapped out; -1 with *e (EPERM) naming a swap device and the remedies.  What cannot
 * be read counts as the worse case.  zram is memory, but may be written back to a disk, so it counts as swap.
 */
int noswap_check(struct errbuf *e);

/* The same with the files of /proc and /sys below root ("" for the real ones): for tests. */
int noswap_check_below(const char *root, struct errbuf *e);

#endif
