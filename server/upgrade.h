/* SPDX-License-Identifier: BSD-3-Clause */
/* nbdswapctl upgrade: this daemon ends, and whoever started it (the service manager, the keeper) starts the program that is there now, which takes
 * over.  Its worker goes on serving.
 */
#ifndef NBDSWAP_UPGRADE_H
#define NBDSWAP_UPGRADE_H

#include <jansson.h>
#include <stdint.h>

struct daemon;

void upgrade_request(struct daemon *d, uint64_t client, const json_t *req);

#endif
