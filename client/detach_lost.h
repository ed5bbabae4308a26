/* SPDX-License-Identifier: BSD-3-Clause */
/* Turning swap off when the server is gone with the pages.
 *
 * A swapoff would read every page back, and wait for each as long as the dead-link timeout, without hearing a signal.  So the device is disconnected
 * first: every request on it fails at once, and so do the reads of swapoff.  The kernel then puts a mark in the place of each page that it cannot read,
 * and goes on; a process is ended (SIGBUS) only when it touches one, and what it has in memory it keeps.  Kernels before 5.19 do not know such marks:
 * they map whatever the memory held, so there it is refused.
 */
#ifndef NBDSWAP_CLIENT_DETACH_LOST_H
#define NBDSWAP_CLIENT_DETACH_LOST_H

#include "client/state.h"
#include "client/swapctl.h"
#include "common/errbuf.h"

#include <stdbool.h>

/* Does it, unless the server is back by now.  dir: of the state s, and of the watch, which is to forget the device.  Nothing was done with EOPNOTSUPP in
 * *e: not on this kernel; EAGAIN: it is back, or the device was detached meanwhile; EBUSY: another attach or detach is at work.
 */
enum swap_off_result swap_off_lost(const char *dir, const struct attach_state *s, bool bar, const volatile int *stop, struct errbuf *e);

#endif
