/* SPDX-License-Identifier: BSD-3-Clause */
/* The memory of the native engine's buffers (server/engine/buffers.h), which outlives it: one memfd with the part common to all exports and
 * behind it a reserve for each export that the engine serves.  On the loop's thread.
 */
#ifndef NBDSWAP_POOLMEM_H
#define NBDSWAP_POOLMEM_H

#include "common/errbuf.h"

#include <stdbool.h>
#include <stdint.h>

struct poolmem;

/* With a common part of at least so many bytes, in whole blocks.  Cannot shrink.  What of it is in use is locked here too, for it is of no less
 * use while no worker is there.  NULL with *e.
 */
struct poolmem *poolmem_create(uint64_t bytes, bool allow_unlocked, struct errbuf *e);

/* A predecessor's, of which so many bytes are common; fd is taken over by a success.  NULL with *e. */
struct poolmem *poolmem_adopt(int fd, uint64_t common, bool allow_unlocked, struct errbuf *e);
void poolmem_free(struct poolmem *p); /* NULL is fine */

int poolmem_fd(const struct poolmem *p);	 /* borrowed */
uint64_t poolmem_common(const struct poolmem *p); /* bytes */

/* Gives out a reserve, for which there is room in the memfd then: its index, or -1 with *e. */
int poolmem_take(struct poolmem *p, struct errbuf *e);

/* This one, as a predecessor had given it out.  0; -1 with *e. */
int poolmem_take_again(struct poolmem *p, int index, struct errbuf *e);

int poolmem_places(void); /* of reserves */
bool poolmem_taken(const struct poolmem *p, int index);

/* Takes it back; no worker may use it any more. */
void poolmem_give(struct poolmem *p, int index);

/* What was in the hands of a worker that died, so that its successor does not give it to another (server/engine/buffers.h): up to a block of
 * pages; what cannot be is left alone.
 */
void poolmem_hold(struct poolmem *p, uint32_t first, uint32_t pages, bool held);
void poolmem_hold_nothing(struct poolmem *p);

#endif
