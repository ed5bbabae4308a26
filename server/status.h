/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's state as JSON, and as one line for the service manager. */
#ifndef NBDSWAP_STATUS_H
#define NBDSWAP_STATUS_H

#include "server/daemon.h"

/* {"ok":true,"version":..,"pid":..,"worker":{..},"listen":[..],"exports":[..]} */
json_t *status_json(struct daemon *d);

/* The last scrub of an export, or the one that is running: {"state":..,..}; {"state":"none"} when there was none. */
json_t *scrub_json(const struct export *x);

void status_line(const struct daemon *d, char *out, size_t size);

#endif
