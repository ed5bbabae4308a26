/* SPDX-License-Identifier: BSD-3-Clause */
/* The native worker as a whole: exports from the daemon (worker/exports.h), connections from the lobby, and the mover that serves them. */
#ifndef NBDSWAP_ENGINE_H
#define NBDSWAP_ENGINE_H

#include "common/errbuf.h"

#include <stdint.h>

/* What it and the daemon must agree on: its parameters, their messages, the memory of pool and sessions.  Raised when a change to any of
 * these would be misunderstood by a program of before; a daemon that runs while its package is replaced starts the new one.
 */
#define ENGINE_INTERFACE 3

struct engine_options {
	const int *listen_fds;
	unsigned nlisten;
	int broker;	 /* socket to the daemon (common/broker.h); taken over */
	int pool_fd;	 /* memory of the buffers (buffers.h); taken over */
	uint64_t pool;	 /* bytes of it that are common to all exports */
	unsigned connections;
	unsigned allow; /* enum allow */
};

/* Serves until the daemon is gone and the last session has ended.  0; -1 with *e when it cannot serve (ENOSYS, EPERM: no io_uring). */
int engine_run(const struct engine_options *o, struct errbuf *e);

#endif
