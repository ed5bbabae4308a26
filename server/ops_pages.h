/* SPDX-License-Identifier: BSD-3-Clause */
/* What can be asked on the control socket about the pages of an export: see nbdswapctl(8) for the requests. */
#ifndef NBDSWAP_OPS_PAGES_H
#define NBDSWAP_OPS_PAGES_H

#include "server/daemon.h"

void ops_lost(struct daemon *d, uint64_t client, const json_t *req);
void ops_reset(struct daemon *d, uint64_t client, const json_t *req);
void ops_scrub(struct daemon *d, uint64_t client, const json_t *req);
void ops_scrub_status(struct daemon *d, uint64_t client, const json_t *req);
void ops_scrub_stop(struct daemon *d, uint64_t client, const json_t *req);

/* For those who wait for a scrub: */
void ops_scrub_progress(struct daemon *d, const struct export *x);
void ops_scrubbed(struct daemon *d, const struct export *x);

#endif
