/* SPDX-License-Identifier: BSD-3-Clause */
/* What the kernel's nbd tells of dead links by itself.  The second source: it allocates to tell, so under a shortage of memory it may tell late or never.
 */
#ifndef NBDSWAP_CLIENT_LINKEVENTS_H
#define NBDSWAP_CLIENT_LINKEVENTS_H

#include "common/errbuf.h"

#include <stdint.h>
#include <sys/types.h>

/* Joins the group (struct reconfigure has its number, above 0) on a socket of its own, non-blocking: the caller's.  -1 with *e. */
int linkevents_open(uint32_t group, struct errbuf *e);

/* The number of the device that the next event is about; -1: there is none now.  Events that are something else are passed over. */
int linkevents_next(int sock, uint16_t family);

/* The same of a message of n bytes.  Public for its test. */
int linkevents_device(const void *message, size_t n, uint16_t family);

#endif
