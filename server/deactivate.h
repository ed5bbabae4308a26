/* SPDX-License-Identifier: BSD-3-Clause */
/* An export is given back, on an administrator's word, to be activated on another server machine: its sessions are ended, its page table is written into
 * the file, and the file is closed.  Its clients connect again elsewhere, and find the same generation there, for it goes with the file.
 */
#ifndef NBDSWAP_DEACTIVATE_H
#define NBDSWAP_DEACTIVATE_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct daemon;
struct export;

/* The control operation: answered when the file has been given back, or cannot be. */
void deactivate_request(struct daemon *d, uint64_t client, const json_t *req);

/* Once a second: goes on when no session is left; gives it up where one does not end. */
void deactivate_tick(struct daemon *d);

/* An export has been released; true when it was for this. */
bool deactivate_released(struct daemon *d, struct export *x);

#endif
