/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernel's nbd over generic netlink. */
#ifndef NBDSWAP_CLIENT_NBDNL_H
#define NBDSWAP_CLIENT_NBDNL_H

#include "common/errbuf.h"

#include <stdbool.h>
#include <stdint.h>

/* Sets how long a connected device waits for a new connection when its link is dead, in seconds; 0 would mean
 * that I/O fails at once.  0, or -1 with *e.
 */
int nbdnl_set_dead_link_timeout(int index, uint64_t seconds, struct errbuf *e);

/* Disconnects.  Never while /proc/swaps lists the device: requests would fail and processes die.
 * 0, also when it was not connected; -1 with *e.
 */
int nbdnl_disconnect(int index, struct errbuf *e);

/* Asks whether the device is configured.  0 with *connected, or -1 with *e. */
int nbdnl_status(int index, bool *connected, struct errbuf *e);

#endif
