/* SPDX-License-Identifier: BSD-3-Clause */
/* The device's block queue: what attach sets and detach puts back. */
#ifndef NBDSWAP_CLIENT_BLOCKQUEUE_H
#define NBDSWAP_CLIENT_BLOCKQUEUE_H

#include "client/nbddev.h"
#include "common/errbuf.h"

#include <stdbool.h>

/* When a request has not been answered for this long, the driver looks whether its socket has been
 * replaced, and only then sends it again.  It does not cut a link and does not fail a request.
 */
#define IO_TIMEOUT_MS 2000

#define SCHEDULER_MAX 32

/* What a device had before attach; -1 and "": not known or not changed. */
struct queue_settings {
	int io_timeout_ms;
	int rotational;
	char scheduler[SCHEDULER_MAX];
};

/* Of what queue/scheduler says: the one that is to be put back when none has taken its place.  False: there is none to be set, or it is. */
bool scheduler_parse(const char *text, char now[SCHEDULER_MAX]);

/* Sets io_timeout, rotational = 0 and no scheduler, keeping in *before what was there.  0, or -1 with *e. */
int blockqueue_set(const struct nbddev *d, struct queue_settings *before, struct errbuf *e);

/* Puts back what is known; best effort. */
void blockqueue_restore(const struct nbddev *d, const struct queue_settings *before);

#endif
