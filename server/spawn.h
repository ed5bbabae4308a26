/* SPDX-License-Identifier: BSD-3-Clause */
/* Starts nbdkit as a worker. */
#ifndef NBDSWAP_SPAWN_H
#define NBDSWAP_SPAWN_H

#include "common/errbuf.h"
#include "server/conffile.h"

#include <sys/types.h>

/* Starts a worker that inherits listen_fds (socket activation, from descriptor 3) and, behind them, sock, its end of the broker.
 * All stay the caller's.  Returns the pid; -1 with *e.  A program that cannot be executed ends with status 127 and a message.
 */
pid_t spawn_worker(const struct conf_server *conf, const int *listen_fds, size_t nlisten, int sock, struct errbuf *e);

#endif
