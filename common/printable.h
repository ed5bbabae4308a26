/* SPDX-License-Identifier: BSD-3-Clause */
/* Text from the other end of a connection, made fit for a message or a log: no control characters (a terminal
 * would obey them), nothing that is not UTF-8.
 */
#ifndef NBDSWAP_PRINTABLE_H
#define NBDSWAP_PRINTABLE_H

#include <stddef.h>

/* Makes bytes bytes at from (which may hold anything, NUL too) text in to[0] ... to[size - 1], size at least
 * 1: each byte that is no character, and each control character, becomes '?'.  What does not fit is cut off
 * behind a whole character; blanks and line ends at the end are left out.  The two must not overlap.
 * Allocates nothing.
 */
void printable_copy(char *to, size_t size, const void *from, size_t bytes);

#endif
