/* SPDX-License-Identifier: BSD-3-Clause */
/* Who is at the other end of the connection whose thread this is, for nbdkit's callbacks. */
#ifndef NBDSWAP_PLUGIN_PEER_H
#define NBDSWAP_PLUGIN_PEER_H

#include "worker/broker.h"

/* Its address; sock stays -1.  0, or -1 when nbdkit does not know it. */
int peer_find(struct peer *out);

/* A duplicate of the connection's socket, the caller's, so that it can be shut down: nbdkit gives none away, and it can end all
 * connections but not one.  -1 where it cannot be told which it is (a Unix socket has no name).
 */
int peer_socket(void);

#endif
