/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef NBDSWAP_CLIENT_SOCKSILENT_H
#define NBDSWAP_CLIENT_SOCKSILENT_H

#include <stdbool.h>

/* Is there something that the other end of a TCP connection has not acknowledged, and has nothing come from there for ms milliseconds?  A window that is
 * shut is no silence, for probes of it are acknowledged; one may be lost, or not be answered because it came too soon after the last
 * (tcp_invalid_ratelimit), two in a row are not.  True may also be what was sent only just now after so long: it takes two looks.
 */
bool socksilent(int sock, unsigned ms);

#endif
