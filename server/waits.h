/* SPDX-License-Identifier: BSD-3-Clause */
/* Control clients that get their answer later. */
#ifndef NBDSWAP_WAITS_H
#define NBDSWAP_WAITS_H

#include "server/daemon.h"

/* Aborts without memory. */
void waits_add(struct daemon *d, uint64_t client, enum control_wait_for what, const struct export *x);

/* Takes out one that waits for this; false when there is none. */
bool waits_take(struct daemon *d, enum control_wait_for what, const struct export *x, uint64_t *client);

/* Sends progress, bytes done of total, to all that wait for this. */
void waits_progress(struct daemon *d, enum control_wait_for what, const struct export *x, uint64_t done, uint64_t total);

#endif
