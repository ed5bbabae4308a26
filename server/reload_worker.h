/* SPDX-License-Identifier: BSD-3-Clause */
/* nbdswapctl reload-worker: the worker is replaced by a new one of the program that is there now.  The old one finishes what is at the backend and
 * is killed; a native one's sessions go on in the new one.
 */
#ifndef NBDSWAP_RELOAD_WORKER_H
#define NBDSWAP_RELOAD_WORKER_H

#include <jansson.h>
#include <stdint.h>

struct daemon;

enum reload_step {
	RELOAD_NONE,
	RELOAD_ENDING,	  /* the old worker is still there */
	RELOAD_STARTING, /* the new one is not ready, or sessions wait for it */
};

void reload_worker_request(struct daemon *d, uint64_t client, const json_t *req);

/* A worker has been reaped, before its successor is started. */
void reload_worker_died(struct daemon *d);

/* Before every wait of the loop: tells those who wait for the end when it has come. */
void reload_worker_check(struct daemon *d);

#endif
