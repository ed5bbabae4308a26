/* SPDX-License-Identifier: BSD-3-Clause */
/* A backing file and its life: swap_activate (open, lock, allocate, check), in use, swap_deactivate.
 *
 * This is the control side of the store: it may block for as long as the backend does, allocates
 * memory freely and knows paths.  It runs in nbdswapd's helper threads, or in the worker itself when
 * there is no daemon.  The I/O side (store.h) needs only the descriptor and the page table that come out of it.
 *
 * Locks: a struct backing is used by one thread at a time; nothing here is global.
 */
#ifndef NBDSWAP_BACKING_H
#define NBDSWAP_BACKING_H

#include "common/errbuf.h"
#include "store/backend.h"
#include "store/report.h"
#include "store/table.h"

#include <stdbool.h>
#include <stdint.h>

/* What activation may do with a file that does not satisfy everything. */
enum provision {
	PROVISION_NEVER,  /* nothing is created or written: refuse */
	PROVISION_CREATE, /* create a missing file, fill an empty one, resume or redo an interrupted allocation */
	/* Also write every page of an existing file anew when it does not satisfy the checks and that would mend it, but not where it
	 * keeps a client's pages of a clean stop or its pages are lost (they would read as zeros), nor when the size asked for is
	 * another than it was made for. */
	PROVISION_REWRITE,
	/* Write every page anew whatever is there of nbdswap's, of a file that satisfies everything too, in the size asked for: the express word
	 * (`nbdswapctl activate --rewrite`).  On SMB, NFS and block devices it is the only way to prove anew that there is space. */
	PROVISION_RENEW,
};

struct backing_options {
	uint64_t size;		  /* of the export, bytes, a multiple of 4096; 0: as the file says */
	enum provision provision; /* without a size only a file with a trailer can be activated or rewritten */
	int dirfd;		  /* AT_FDCWD: path is the administrator's, links are followed once.  Else path is one
				   * name below this directory and links are refused (openat2, RESOLVE_BENEATH) */
	bool allow_unlocked;	  /* go on with a page table that could not be locked in memory (allow=memlock) */
	enum page_check check;	  /* of what is written from now on; pages keep the check that they have */
	/* Pages are sealed, with a key that nobody keeps, or with the one in key_file (NULL: none).  A file that was used without a seal, or
	 * holds pages sealed with another key, is refused unless it is made anew.  With an ephemeral key every page that is not fresh
	 * is lost at the end.
	 */
	enum page_seal seal;
	const char *key_file;
	/* SURVIVE_HOST: what was acknowledged is to outlive an unclean end of this machine (records.h).  Refused where a flush does not reach the
	 * storage, and where a page's content could not be matched with its record: without checks, and with a key that nobody keeps. */
	enum page_survive survive;
	bool prepare; /* the file is made ready and not used (no backing_begin): whatever it was sealed with */
	bool force;		  /* rewrite, or use, even over something foreign that libblkid recognises */
	/* Called while pages are written, about every 64 MiB, with bytes done and in all; may be NULL.
	 * Returning false interrupts the allocation (it is resumed at the next activation).
	 */
	bool (*progress)(void *arg, uint64_t done, uint64_t total);
	void *progress_arg;
};

struct backing;

/* swap_activate: opens path with O_DIRECT, takes the lock, finds the backend, creates and allocates as far
 * as opt->provision allows, checks everything that can be checked.  The findings go into *report (caller's, may be NULL).
 * On success *out is the caller's until backing_close(); nothing has been written to a file that satisfied everything.
 * Errors (-1, *e): EBUSY held by another (named where known), ENOSPC, EINVAL refused by a check, EINTR interrupted by progress...
 * A file that it created and that came to nothing (no space, a refusal) is removed again; one that existed gets its old size
 * back when the space ran out, but its content is lost once pages have been written.
 */
int backing_activate(const char *path, const struct backing_options *opt, struct backing **out,
		     struct report *report, struct errbuf *e);

/* The activation checks as a report, touching nothing: no lock is taken, nothing is created, nothing written.
 * Returns 0 when the checks could be run (see report_worst), -1 with *e when the file could not be opened.
 */
int backing_check(const char *path, struct report *report, struct errbuf *e);

int backing_fd(const struct backing *b);			     /* O_RDWR|O_DIRECT, holds the OFD lock; borrowed */
/* What a worker gets: a description of its own where backend_barrier() needs that, else backing_fd(); borrowed.  No other process may have it at the
 * time of backing_barrier(), after which it is another.
 */
int backing_worker_fd(const struct backing *b);
const char *backing_path(const struct backing *b);		     /* as resolved, for messages */
const struct backend *backing_backend(const struct backing *b);
uint64_t backing_data_size(const struct backing *b);		     /* bytes of the export */
uint64_t backing_activation(const struct backing *b);		     /* first half of the generation; rises, also over a file made anew */
/* Did the last owner end without writing the table?  Then the table is all "lost". */
bool backing_was_unclean(const struct backing *b);
/* Did it end uncleanly, but with records that tell of the pages?  Then the generation is what it was. */
bool backing_was_resumed(const struct backing *b);
/* Who had the content then, under the table's lease number; "": not known. */
const char *backing_lease_holder(const struct backing *b);

/* Would an unclean end now leave it known that the content passed to holder under this number?  True where nothing outlives such an end. */
bool backing_keeps_lease(const struct backing *b, uint64_t lease, const char *holder);
/* While in use: makes that so.  Before the client is let in, or the one before could come back to what is not its own.  0; -1 with *e. */
int backing_keep_lease(struct backing *b, uint64_t lease, const char *holder, struct errbuf *e);

/* The key of a sealed export's present activation, as a descriptor to hand down (borrowed); -1 when it is not sealed or not in use. */
int backing_key_fd(const struct backing *b);

/* Begins a use: makes the page table (from the trailer's image after a clean end, from records after any, all fresh after allocation, else all
 * lost) and makes the in-use mark durable.  Must be called before the first page is written.
 * *table is the caller's; a sealed one is unlocked.  Returns 0 or -1 with *e.
 */
int backing_begin(struct backing *b, struct table **table, struct errbuf *e);

/* The same in two steps, for who can leave the table to a successor: from the mark on it is only there.  The first writes nothing to the file, and
 * what backing_parts() tells after it is what the mark will be.  Each 0; -1 with *e, and then the backing is only to be closed (the table is the caller's still, after the
 * second).
 */
int backing_load(struct backing *b, struct table **table, struct errbuf *e);
int backing_mark(struct backing *b, struct table *table, struct errbuf *e);

/* While in use: the content is not known any more (a dead worker's writes cannot be waited for).  Every page becomes lost and a new
 * generation begins, durably, with another key where pages are sealed.  No other process may use the table.  Returns 0; -1 with *e when the new generation could not be
 * written (the pages are lost all the same).
 */
int backing_lost(struct backing *b, struct table *table, struct errbuf *e);

/* While in use, and the worker is dead: as backend_barrier() (store/barrier.h). */
int backing_barrier(struct backing *b, struct errbuf *e);

/* Ends a use, after the last I/O has completed and backing_barrier() has returned or was not needed: pages still marked in flight
 * become lost, the table is written into the trailer and the clean mark made durable.  The table is of no use afterwards: it was sealed in
 * place, or bound to the next generation.  Returns 0 or -1 with *e (the file then
 * stays marked in use: every page of which no record tells is lost at the next activation).
 */
int backing_end(struct backing *b, struct table *table, struct errbuf *e);

/* Checks again what a reflink, a snapshot or a punch could have changed since activation (local backends; others
 * report VERDICT_SKIP).  Touches nothing.
 */
void backing_recheck(const struct backing *b, struct report *report);

/* The lock is not given back with the descriptor, but goes with the open description: with the last I/O of a dead worker that had it. */
void backing_leave_locked(struct backing *b);

/* Closes the descriptor and gives the lock back. NULL is fine. */
void backing_close(struct backing *b);

#endif
