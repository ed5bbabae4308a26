/* SPDX-License-Identifier: BSD-3-Clause */
/* Scrubbing: every written page of an export is read and compared with its mark, while a worker in another process goes on reading and
 * writing the same pages.
 *
 * There is no lock between the two; the entry's word is what they agree by.  The scrub takes the word, reads the page, and takes the
 * word again: if it is the same, no write was at the backend during the read (a write raises the change number first, and commits
 * last), so what was read is what the mark has to match.  A page that does not match is read a second time and only then becomes
 * lost, by a compare-and-swap on the word: if a client has begun to write it meanwhile, it is not.
 *
 * Locks: a struct scrub is used by one thread; scrub_totals and scrub_control are also read and written by others.
 */
#ifndef NBDSWAP_STORE_SCRUB_H
#define NBDSWAP_STORE_SCRUB_H

#include "common/errbuf.h"
#include "store/backend.h"
#include "store/mark.h"
#include "store/table.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define SCRUB_RATE_DEFAULT (UINT64_C(16) << 20)
#define SCRUB_RATE_MIN (UINT64_C(1) << 20)
#define SCRUB_RATE_MAX (UINT64_C(1) << 40)

struct scrub_control {
	_Atomic uint64_t rate; /* bytes a second from the backend, SCRUB_RATE_MIN to SCRUB_RATE_MAX; may change at any time */
	_Atomic bool cancel;   /* true: scrub_run ends soon */
};

/* All of pages, but bytes. */
struct scrub_totals {
	_Atomic uint64_t position;   /* the next one to look at */
	_Atomic uint64_t verified;   /* read, and right */
	_Atomic uint64_t unchecked;  /* written without a check (check = none): there is nothing to compare with, they are not read */
	_Atomic uint64_t skipped;    /* written anew each time they were looked at */
	_Atomic uint64_t mismatched; /* read, and not right */
	_Atomic uint64_t lost;	     /* of these, not right the second time either: lost from now on */
	_Atomic uint64_t lost_before;
	_Atomic uint64_t unreadable; /* the backend gave an error; that makes no page lost */
	_Atomic uint64_t bytes;	     /* read from the backend */
};

struct scrub;

/* fd (with O_DIRECT), table and marker are borrowed.  kind tells which errors pass (errclass.h): those are waited out as long as a write
 * is held (the table's retry time).  The buffer is allocated and locked here.  NULL with *e.
 */
struct scrub *scrub_create(int fd, enum backend_kind kind, struct table *table, const struct marker *marker, bool allow_unlocked,
			   struct errbuf *e);
void scrub_free(struct scrub *s); /* NULL is fine */

/* Goes on at totals->position up to the end of the table, counting into *totals and the table's counters.  progress, if not NULL, is
 * called several times a second at most.  Blocks as long as the backend does.  Returns 0 at the end; -1 with *e: EINTR cancelled (it
 * can be gone on with later).
 */
int scrub_run(struct scrub *s, struct scrub_control *control, struct scrub_totals *totals, void (*progress)(void *arg), void *arg,
	      struct errbuf *e);

#endif
