/* SPDX-License-Identifier: BSD-3-Clause */
/* Is a swap area in use on this machine already, on another nbd device?  The state directory does not tell of devices that were attached with
 * another one, or whose file is gone.
 */
#ifndef NBDSWAP_CLIENT_SWAPLIVE_H
#define NBDSWAP_CLIENT_SWAPLIVE_H

#include "client/procswaps.h"
#include "client/state.h"
#include "common/errbuf.h"

#define SWAPLIVE_MS 5000 /* for each device */

/* Reads the swap header of each device of nbd in swaps but the one at path own, and those in known, which tell their UUID.
 * 0: none has this UUID; -1 with *e: EEXIST: one has it; EBUSY: one did not answer within timeout_ms, so it may be the same.
 */
int swaplive_check(const struct swap_list *swaps, const struct state_list *known, const char *own, const unsigned char uuid[16], int timeout_ms,
		   struct errbuf *e);

#endif
