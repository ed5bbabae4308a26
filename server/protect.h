/* SPDX-License-Identifier: BSD-3-Clause */
/* What daemon and keeper ask for themselves, so that they go on when memory is short: other machines' memory depends on them. */
#ifndef NBDSWAP_PROTECT_H
#define NBDSWAP_PROTECT_H

#include "common/errbuf.h"

#include <stdint.h>

/* Locks the process into memory, has the OOM killer pass it by and its allocations not wait for I/O, each read back.  allow: bits of enum
 * allow (common/allow.h), what may be missing.  Memory that cannot be locked and must is -1 with *e; of what else is missing, and of memory that
 * may stay unlocked, the log says so, with who ("keeper: ", "" for the daemon) before it.
 */
int protect_process(uint64_t allow, const char *who, struct errbuf *e);

#endif
