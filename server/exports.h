/* SPDX-License-Identifier: BSD-3-Clause */
/* The exports at run time: each with its backing file, page table, lease and state.
 *
 *   down --activate--> activating --ok--> ready --release--> releasing --> down
 *                         |                | ^
 *                         +--error--> down | +-- settling (its worker died under it)
 *                                          +--> forgetting (the worker is to close it) --> releasing
 *
 * One that a predecessor had in use begins as adopting, and becomes what it was then.
 *
 * Everything here runs on the loop's thread; what blocks is done by jobs (exportjobs.c), one at a time per export.
 */
#ifndef NBDSWAP_EXPORTS_H
#define NBDSWAP_EXPORTS_H

#include "common/lease.h"
#include "server/conffile.h"
#include "server/job.h"
#include "server/poolmem.h"
#include "server/scrubs.h"
#include "store/backing.h"
#include "store/reopen.h"
#include "store/settle.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

enum export_state {
	EXPORT_DOWN, /* not activated; why says why */
	EXPORT_ACTIVATING,
	EXPORT_READY,
	EXPORT_SETTLING,
	EXPORT_FORGETTING,
	EXPORT_RELEASING,
	EXPORT_ADOPTING, /* a predecessor had it in use, and this daemon is about to (adopting.c); a worker may be serving it */
};

struct exports;
struct export_kept;
struct adopting;

struct export {
	struct exports *set;
	struct export *next;
	struct conf_export conf;
	char active_file[PATH_MAX]; /* that it has or had last: conf may have changed since */
	enum export_state state;
	bool deactivated;	/* or to be: given back on the word (deactivate.h), until it is activated on the word */
	int64_t deactivate_until_ms;
	bool blocked;		/* to be provided once its file has been given back, by another export or by itself */
	bool removed;		/* no longer configured; kept while a client holds it */
	bool used;		/* opened by the present worker at least once */
	bool dirty;		/* a worker died with it: orphan writes may still land */
	bool incomplete;	/* it had sessions when the last worker died; the present one has not been told yet that it has them all */
	bool awaits;		/* of these there are some (tell_complete alone) */
	int reserve;		/* its place in the pool (poolmem.h), -1: none yet */
	char *kept_text; /* of it, and whose print that is (keepexport.h) */
	uint64_t kept_print;
	struct export_kept *kept; /* for a successor (keep.h); NULL: nothing yet */
	struct backing *backing; /* NULL unless ready, settling, forgetting or releasing */
	struct table *table;
	struct lease lease;
	bool orphans;		/* a dead worker's I/O may still be on its way, for it could not be waited for */
	struct errbuf why;	/* of EXPORT_DOWN; code 0: none */
	int64_t retry_ms;	/* of EXPORT_DOWN: when its activation is tried again by itself (exports_retry); 0: not */
	struct errbuf retried;	/* of EXPORT_ACTIVATING: why, before; code 0: it is the first try */
	struct report report;	/* of the last activation */
	char alarm[640];	/* of the last re-check; "": none */
	char file_lost[640];	/* why it, or its file, is not to be had any more (export_lose); "": it is */
	int64_t forget_until_ms; /* of EXPORT_FORGETTING: when the worker is asked again */
	bool forget_told;	 /* that it does not close it */
	int64_t settle_told_ms;	 /* of EXPORT_SETTLING: when it is to be said that it lasts; 0: it has been */
	bool again;		/* activate again once released, with: */
	enum provision provision;
	bool force;

	/* The job at hand: */
	bool loaded;	   /* of an activation the table is there, and left to a successor before the file is marked, which is */
	bool marking;	   /* under way */
	bool looking;	   /* a re-check or a count */
	unsigned borrowed; /* how many jobs use backing and table, without changing what they are */
	bool unstarted;	   /* it is to be settled or released, and there was no thread for that yet */
	bool told;	   /* that */
	bool allocates;	   /* it is one of those that may; helper thread */
	bool resetting;	   /* lost pages are being made fresh: no client may have it */
	bool release_due;  /* releasing begins once a successor would know of it */
	bool waiting;	   /* settling or releasing begins when those have ended */
	bool awaited;	   /* its lease is kept for an open that waits, not for a client whose connection was lost */
	bool keeping;	   /* its file is being told to whom it passed (export_keep_lease): */
	uint64_t keep_number;
	char keep_holder[LEASE_HOLDER_MAX];
	struct errbuf keep_error; /* code 0: it went well, or was said */
	bool reopening;	   /* its file is being opened anew, a job of its own */
	uint64_t reopen_id; /* the worker's request for that; 0: it needs no answer */
	enum reopened reopened;
	struct errbuf reopen_error;
	struct export_scrub scrub;
	struct settled settled;	    /* what the last settling found */
	struct table_totals totals; /* of pages, as counted last */
	_Atomic uint64_t done, total; /* of an allocation, bytes */
	_Atomic bool interrupt;
	struct adopting *adopting; /* of EXPORT_ADOPTING */
	struct job *job; /* helper thread only */
	struct backing *new_backing;
	struct table *new_table;
	struct report new_report;
	struct errbuf error; /* code 0: it went well */
	char note[640];	     /* worth a warning though it went well */
};

struct exports_ops {
	void (*progress)(void *arg, struct export *x);	/* an allocation went on */
	void (*activated)(void *arg, struct export *x); /* ready, or down with x->why */
	void (*released)(void *arg, struct export *x);	/* down; may remove it */
	void (*settled)(void *arg, struct export *x);
	void (*reopened)(void *arg, struct export *x); /* as x->reopened says */
	void (*counted)(void *arg); /* after export_count returned true */
	void (*scrub_progress)(void *arg, struct export *x);
	void (*scrubbed)(void *arg, struct export *x); /* a scrub has ended, in whatever way */
	/* After export_adopt: ready; or down, when there was nothing left to be taken over. */
	void (*adopted)(void *arg, struct export *x, const struct adopting *a);
	void (*kept)(void *arg); /* after export_keep_lease returned 0 */
	void (*loaded)(void *arg, struct export *x); /* a successor is to know of its table, before this returns.  May be NULL: there will be none */
};

struct exports {
	struct export *first;
	/* What waits for backends: as many jobs at once as there can be, for one whose server is away keeps its thread until that is back, and no
	 * export may wait for another's.
	 */
	struct job_runner *backends;
	struct job_runner *checks; /* re-checks: they too may wait for a backend, but nobody waits for them */
	struct job_runner *quick;  /* walks over page tables, which wait for nothing */
	_Atomic unsigned allocating; /* exports */
	const struct exports_ops *ops;
	void *arg;
	bool allow_unlocked;
	struct poolmem *pool; /* borrowed; for exports that need a place in it */
};

struct export *exports_find(struct exports *s, const char *name); /* NULL when there is none */

/* Adds an export, down.  Aborts without memory. */
struct export *exports_add(struct exports *s, const struct conf_export *conf);

/* Takes out and frees an export that is down. */
void exports_remove(struct exports *s, struct export *x);

/* Begins to activate an export that is down as its configuration says, or has it wait until another export has given back the
 * file (a reload may rename exports or exchange their files).
 */
void exports_provide(struct export *x);

/* After a release: begins what waited for it. */
void exports_unblock(struct exports *s);

bool exports_idle(const struct exports *s); /* no job is under way */

/* Why a client cannot have it now: a sentence in *e, and -1; 0 when it can (as far as the export goes; the lease is asked next). */
int export_refusal(const struct export *x, struct errbuf *e);

const char *export_state_name(const struct export *x);

/* What a predecessor left of an export (all taken over): its table, and a (server/keep.h has what it kept of it). */
struct adopting {
	struct table *table;
	int file, master; /* -1: none */
	bool release; /* it was being released */
	bool marking; /* it was being activated, and its file perhaps marked */
	bool forget;  /* the worker was to forget it */
	/* What the helper thread finds: */
	bool ended; /* the use had been ended */
	struct errbuf lost;
};

/* Begins to take over an export in the state EXPORT_ADOPTING, of which x->kept and x->adopting (allocated) tell; ops->adopted follows. */
void export_adopt_start(struct export *x);

/* Its use begins, with nobody's session. */
void export_begin_lease(struct export *x);

/* Begins to activate an export that is down; ops->activated follows (also on failure). */
void export_activate(struct export *x, enum provision provision, bool force);

/* Ready -> settling -> ready: waits for orphan writes, marks pages in flight lost; all pages where orphans cannot be waited for. */
void export_settle(struct export *x);

/* Is in the file, as far as it must be, to whom the export has passed?  1: yes; 0: not yet, ops->kept follows; -1 with *e: it cannot be. */
int export_keep_lease(struct export *x, struct errbuf *e);

/* Once a second: of exports that survive the host, activations that failed for what may pass (a mount that comes later, say) are tried again now and
 * then.  Nothing is made or allocated then: only what is there is taken up.
 */
void exports_retry(struct exports *s);

/* Once a second: what could not begin for want of a thread is tried again. */
void exports_try_again(struct exports *s);

/* Nobody gets the export until it is activated again. what: what became of it, why: the reason, for whoever asks. */
void export_lose(struct export *x, const char *what, const char *why);
#define EXPORT_FILE_LOST "its file was lost while it was in use"

/* Begins to open the file of a ready export anew, for its handle is stale; ops->reopened follows.  0, or -1 with *e: EAGAIN not now, else
 * never.
 */
int export_reopen(struct export *x, struct errbuf *e);

/* A successor knows of all that there is: what may only begin then begins. */
void exports_known(struct exports *s);

/* Ends the use and closes the file; ops->released follows.  No worker may have it any more. */
void export_release(struct export *x);

/* Looks again at what a reflink or a snapshot could have changed (ready exports that no other job looks at; else nothing). */
void export_recheck(struct export *x);

/* Counts the pages by state: a walk over the table, which may have gigabytes.  false: not now (as above), and no callback. */
bool export_count(struct export *x);

/* Around a job that uses backing and table of a ready export and does not change what they are.  Settling and releasing wait for it;
 * what begins at export_give_back may take x away.
 */
void export_borrow(struct export *x);
void export_give_back(struct export *x);

/* It is no longer configured: an allocation of it ends soon.  What a dead worker left is waited for all the same, for its client may still come
 * back to the pages.
 */
void export_unwanted(struct export *x);

/* Has allocations, which are resumed at the next activation, and scrubs end soon. */
void exports_interrupt(struct exports *s);

#endif
