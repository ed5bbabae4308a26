/* SPDX-License-Identifier: BSD-3-Clause */
/* What swapoff does with pages that it cannot read: Linux 5.19 and later put a mark in their place, on which only who touches it ends (SIGBUS); those before
 * map whatever the memory held.
 */
#ifndef NBDSWAP_CLIENT_KERNELMARKS_H
#define NBDSWAP_CLIENT_KERNELMARKS_H

#include <stdbool.h>

/* Does a kernel of this release (uname -r) mark them? */
bool kernel_marks_lost_pages(const char *release);

#endif
