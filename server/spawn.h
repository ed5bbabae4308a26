/* SPDX-License-Identifier: BSD-3-Clause */
/* Starts a worker: nbdkit with the plugin, or the native engine. */
#ifndef NBDSWAP_SPAWN_H
#define NBDSWAP_SPAWN_H

#include "common/errbuf.h"
#include "server/conffile.h"

#include <sys/types.h>

/* What it inherits; all stays the caller's. */
struct spawn {
	const struct conf_server *conf;
	enum conf_engine engine;
	const int *listen_fds; /* socket activation, from descriptor 3 */
	size_t nlisten;
	int sock;	     /* behind them: its end of the broker, and */
	int pool_fd;	     /* the native engine: the memory of its buffers */
	uint64_t pool_bytes; /* of which so much is common */
};

/* Returns the pid; -1 with *e.  *pidfd is the caller's, and *gate: the worker waits at it for spawn_begin(), and ends if the caller does before that.  A
 * program that cannot be executed ends with status 127 and a message.
 */
pid_t spawn_worker(const struct spawn *s, int *pidfd, int *gate, struct errbuf *e);

/* The worker that waits at gate (taken over) begins. */
void spawn_begin(int gate);

#endif
