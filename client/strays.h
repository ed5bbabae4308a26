/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef NBDSWAP_CLIENT_STRAYS_H
#define NBDSWAP_CLIENT_STRAYS_H

#include <stddef.h>

#define STRAYS_END 1024 /* as many as a process may have, unless told otherwise */

/* Closes every descriptor from 3 to STRAYS_END that is not among count known ones (-1: none), as a process leaves them that is killed in the midst of its work and
 * whose table lives on.
 */
void strays_close(const int known[], size_t count);

#endif
