/* SPDX-License-Identifier: BSD-3-Clause */
/* The buffers of requests' data: pages of one memfd that outlives the worker, so that a write's data is there when its worker is not.
 *
 * The memfd begins with a part common to all exports; then comes a reserve for each export, at a place that the daemon gave it.  A
 * request's data is contiguous.  Of its reserve an export has one half for reads only; beyond it, it may have at most half of the common
 * part: an export whose backend is stuck cannot starve another.
 *
 * Which pages are free is not written down in the memfd: a successor claims what the requests of the sessions that it takes over have.
 * But it takes over one after the other, some of them late (their backend is away) and some never, and gives out pages meanwhile.  So
 * the memfd begins with a head, in which the daemon marks what was in the hands of a worker that died (held: one bit for each page); the
 * daemon takes the mark away when the session is gone and its export is settled, for until then the dead worker's I/O may land there.  The
 * successor gives out no page that is held, but a session claims its own, and that ends the hold.
 *
 * Locks: none.  take, give and claim are the loop's; create, join and leave may run on another thread, before the loop knows the share and
 * after it has forgotten it.
 */
#ifndef NBDSWAP_BUFFERS_H
#define NBDSWAP_BUFFERS_H

#include "common/errbuf.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define BUFFERS_BLOCK_PAGES 64u /* the largest request: 256 KiB */
#define BUFFERS_RESERVE_PAGES (2 * BUFFERS_BLOCK_PAGES)

#define BUFFERS_HEAD_BYTES (64u << 10)
#define BUFFERS_BLOCKS_MAX (BUFFERS_HEAD_BYTES / sizeof(uint64_t)) /* common part and reserves */

/* The head: a word for each block of the memfd. */
struct buffers_head {
	_Atomic uint64_t held[BUFFERS_BLOCKS_MAX];
};
_Static_assert(sizeof(struct buffers_head) == BUFFERS_HEAD_BYTES, "a bit for each page");

/* The size of a memfd. */
static inline uint64_t buffers_bytes(uint64_t common_pages, uint64_t reserves)
{
	return BUFFERS_HEAD_BYTES + (common_pages + reserves * BUFFERS_RESERVE_PAGES) * 4096;
}

/* Marks pages within one block as held, or not held; what cannot be is left alone (the daemon, from a dead worker's memory). */
void buffers_hold(struct buffers_head *h, uint32_t first, uint32_t pages, bool held);

struct buffers;
struct buffers_share;

/* fd (borrowed) holds a head, then common_pages, a multiple of BUFFERS_BLOCK_PAGES and at least 4 times that, and perhaps reserves.  Locked and touched. */
struct buffers *buffers_create(int fd, uint32_t common_pages, bool allow_unlocked, struct errbuf *e);
void buffers_free(struct buffers *b); /* no share may be left; NULL is fine */

/* The share of one export with the reserve of that index, which fd must be large enough to hold. */
struct buffers_share *buffers_join(struct buffers *b, uint32_t reserve, struct errbuf *e);
void buffers_leave(struct buffers_share *s); /* all its pages have been given back; NULL is fine */

/* Takes 1 to BUFFERS_BLOCK_PAGES contiguous pages; *first is their number.  False: not now. */
bool buffers_take(struct buffers_share *s, bool for_read, uint32_t pages, uint32_t *first);
void buffers_give(struct buffers_share *s, uint32_t first, uint32_t pages);

/* The most that one session may hold, in pages: all that its export can have but for one largest request, so that a session whose client does
 * not read its replies (a dead link) leaves something to the other sessions of the same client.
 */
uint32_t buffers_session_max(const struct buffers_share *s);

/* Takes just these, as a predecessor had them.  False: they are taken, or cannot be this share's. */
bool buffers_claim(struct buffers_share *s, uint32_t first, uint32_t pages);

/* Takes a claim back: they are held as they were. */
void buffers_unclaim(struct buffers_share *s, uint32_t first, uint32_t pages);

/* Ends the hold of pages that a predecessor had, and that nobody needs any more. */
void buffers_unhold(struct buffers_share *s, uint32_t first, uint32_t pages);

void *buffers_at(const struct buffers_share *s, uint32_t first);

bool buffers_is_common(const struct buffers_share *s, uint32_t first); /* else it is of the reserve */
struct iovec buffers_common(const struct buffers *b);
struct iovec buffers_reserve(const struct buffers_share *s);

#endif
