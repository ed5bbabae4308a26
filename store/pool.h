/* SPDX-License-Identifier: BSD-3-Clause */
/* The pool: page-aligned, locked buffers made at activation.  A request takes its pages from it and never from malloc.
 *
 * One pool serves all exports of a worker.  Every export (a "share") brings a reserve of its own, half of which
 * only reads may use; beyond its reserve it may hold at most half of the common part.  So an export whose backend is
 * stuck cannot starve another.
 *
 * Locks: every function is safe from any thread (one mutex inside, held for a few instructions).
 */
#ifndef NBDSWAP_POOL_H
#define NBDSWAP_POOL_H

#include "common/errbuf.h"

#include <stdbool.h>
#include <stddef.h>

#define POOL_RESERVE_PAGES 64 /* per export: 256 KiB, room for a read and a write of 128 KiB */

struct pool;
struct pool_share;

/* Makes a pool with common_pages pages for all.  NULL with *e on failure. */
struct pool *pool_create(size_t common_pages, bool allow_unlocked, struct errbuf *e);
void pool_free(struct pool *p); /* every share must be gone */

/* Joins an export: adds its reserve, locked and touched. */
struct pool_share *pool_join(struct pool *p, struct errbuf *e);
void pool_leave(struct pool_share *s); /* all its pages must have been given back */

/* Takes up to want pages (want <= POOL_RESERVE_PAGES / 2) into pages[], each PAGE_BYTES long and aligned.
 * All or nothing; false when the share may have no more just now: the caller waits until its own requests give back.
 */
bool pool_take(struct pool_share *s, bool for_read, size_t want, void *pages[]);
void pool_give(struct pool_share *s, size_t count, void *pages[]);

#endif
