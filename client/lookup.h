/* SPDX-License-Identifier: BSD-3-Clause */
/* Names of servers, looked up while that can be afforded: at attach, never by the watch. */
#ifndef NBDSWAP_CLIENT_LOOKUP_H
#define NBDSWAP_CLIENT_LOOKUP_H

#include "client/reach.h"
#include "common/errbuf.h"

#include <stddef.h>

/* Adds the addresses of each of servers (HOST:PORT or [HOST]:PORT, blanks between them) behind the *count that are in out; those that are there
 * already, or beyond REACH_ADDRESSES_MAX, are left out.  0; -1 with *e when one of them has none.
 */
int lookup_add(const char *servers, union reach_address out[REACH_ADDRESSES_MAX], size_t *count, struct errbuf *e);

#endif
