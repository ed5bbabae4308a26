/* SPDX-License-Identifier: BSD-3-Clause */
/* swapon and swapoff of one device. */
#ifndef NBDSWAP_CLIENT_SWAPCTL_H
#define NBDSWAP_CLIENT_SWAPCTL_H

#include "client/nbddev.h"
#include "common/errbuf.h"

#include <stdbool.h>

enum discard_mode { DISCARD_AUTO, DISCARD_NONE, DISCARD_ONCE, DISCARD_PAGES };

const char *discard_mode_name(enum discard_mode m);
/* "auto", "none", "once", "pages".  0, or -1 with *e. */
int discard_mode_parse(const char *text, enum discard_mode *out, struct errbuf *e);

#define PRIORITY_KERNEL (-1) /* the kernel chooses: lower than every swap that is on */
#define PRIORITY_MAX 32767

/* swapon(2), then verified in /proc/swaps.  priority: 0 to PRIORITY_MAX or PRIORITY_KERNEL; discard:
 * not DISCARD_AUTO.  *type becomes its number in the kernel (client/holders.h). 0, or -1 with *e.
 */
int swap_on(const struct nbddev *dev, int priority, enum discard_mode discard, int *type, struct errbuf *e);

enum swap_off_result {
	SWAP_OFF_DONE,
	SWAP_OFF_INTERRUPTED, /* swap is still on, nothing is lost */
	SWAP_OFF_FAILED, /* swap is still on; *e says why */
};

/* swapoff(2) in a child of its own, so that the kernel's choice of a victim, when memory runs out,
 * hits the child; with a progress bar on stderr if that is a terminal and bar is true.  *stop set to
 * non-zero (by a signal handler) ends it early.
 */
enum swap_off_result swap_off(const struct nbddev *dev, bool bar, const volatile int *stop, struct errbuf *e);

#endif
