/* SPDX-License-Identifier: BSD-3-Clause */
/* What can be asked on the control socket. */
#ifndef NBDSWAP_OPS_H
#define NBDSWAP_OPS_H

#include "server/daemon.h"

/* A control_fn; arg is the struct daemon. */
void ops_request(void *arg, uint64_t client, const json_t *request);

/* For those who wait for an activation: */
void ops_progress(struct daemon *d, const struct export *x);
void ops_activated(struct daemon *d, const struct export *x);

/* For those who wait for the status: an export has been counted. */
void ops_counted(struct daemon *d);

#endif
