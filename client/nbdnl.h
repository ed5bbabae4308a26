/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernel's nbd over generic netlink. */
#ifndef NBDSWAP_CLIENT_NBDNL_H
#define NBDSWAP_CLIENT_NBDNL_H

#include "common/errbuf.h"

#include <stdint.h>

struct nbdnl_device {
	uint64_t size;		  /* bytes */
	uint16_t flags;		  /* NBD's transmission flags */
	uint64_t dead_link_timeout; /* seconds, above 0 */
};

/* Connects a device that is free, with blocks of 4096 bytes, to a socket that is in the transmission phase: the kernel has it then, and the
 * caller closes his.  No request is given a time after which it cuts the link (no NBD_ATTR_TIMEOUT).  0, or -1 with *e (EBUSY: somebody else
 * has connected the device).
 */
int nbdnl_connect(int index, int sock, const struct nbdnl_device *d, struct errbuf *e);

/* Sets how long a connected device waits for a new connection when its link is dead, in seconds; 0 would mean
 * that I/O fails at once.  0, or -1 with *e.
 */
int nbdnl_set_dead_link_timeout(int index, uint64_t seconds, struct errbuf *e);

/* Disconnects.  Not while /proc/swaps lists the device, unless its pages are lost (client/detach_lost.h): requests fail and processes die.
 * 0, also when it was not connected; -1 with *e.
 */
int nbdnl_disconnect(int index, struct errbuf *e);

#endif
