/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of swap_rw share: store.c, rw.c (begin and complete), rw_queue.c (who waits for whom), rw_pages.c (what happens to
 * entries), rw_keep.c (records and flushes), rw_error.c (what the backend refuses), rw_blocking.c.
 */
#ifndef NBDSWAP_STORE_PRIV_H
#define NBDSWAP_STORE_PRIV_H

#include "store/store.h"

struct store {
	/* Guards the entries, the queue and all below.  Held for the bookkeeping of one bite, never over I/O or a copy. */
	pthread_mutex_t lock;
	pthread_cond_t idle; /* signalled when at_backend falls to 0 */
	char name[256];
	int fd;
	struct table *table;
	const struct entries *entries;
	struct marker marker;
	struct table_counters *counters;
	uint64_t pages;
	struct pool_share *share; /* NULL: requests bring their own buffers */
	enum backend_kind kind;
	struct notices notices;
	void (*stale)(void *arg);
	void *arg;
	int (*sleep)(int ms);
	int64_t (*now_ms)(void);
	bool reopening;	   /* the file is being opened anew: nothing goes to the backend */
	_Atomic uint32_t file; /* which description of it we have */
	_Atomic bool lost; /* there is no file any more */
	_Atomic int awaited; /* store_await() */
	bool draining;
	unsigned at_backend;	     /* bites between RW_IO and rw_complete, held ones not counted */
	struct rw *queue, **queue_end; /* waiters in the order they came */
	unsigned free_slots;
	struct slot *slots[SLOTS]; /* the first free_slots of them are free */
	bool keeps;		      /* survive = host, and then: */
	struct rw *keeping, **keeping_end; /* requests that wait while they keep records, in the order they came */
	bool flushing;		      /* a flush is under way, or to be tried again */
	unsigned free_writers;
	uint32_t writers[RECORD_WRITERS]; /* the first free_writers of them are free */
};

static inline uint64_t rw_first_page(const struct rw *rw)
{
	return rw->offset / PAGE_BYTES;
}

/* Pages of the next bite, as far as the request goes. */
static inline uint32_t rw_bite_pages(const struct rw *rw)
{
	uint64_t left = rw->length / PAGE_BYTES;

	return left < RW_BITE_PAGES ? (uint32_t)left : RW_BITE_PAGES;
}

/* ---- rw_queue.c; the store's lock is held ---- */

/* Must the request wait for a page, or behind an earlier waiter, or because the store is draining? */
bool rw_must_wait(const struct rw *rw);
/* Is there an earlier request that waits for buffers which this one may take too? */
bool rw_behind_starved(const struct rw *rw);
enum rw_next rw_enqueue(struct rw *rw); /* RW_WAIT; once queued it keeps its place */
void rw_dequeue(struct rw *rw);
/* Wakes whoever may go on now that a request of this kind is in the way of these bytes no more, and buffers or a slot may have come free. */
void rw_wake_waiters(struct store *s, enum rw_op gone, uint64_t offset, uint64_t length);

/* ---- rw_pages.c; the store's lock is held but where said ---- */

/* Takes what a write of pages needs beside buffers: a slot.  False: none is free. */
bool rw_take_slot(struct rw *rw);
/* Puts the old entries into the slot and the marks of in flight into the table; rw->change is what a commit must find. */
void rw_mark_in_flight(struct rw *rw, uint32_t pages);
/* Lock not needed: the pages are in flight by this request. */
void rw_store_marks(struct rw *rw, uint32_t pages);
/* Before the backend gets the pages, after their marks are stored.  Lock not needed. */
void rw_to_backend(struct rw *rw);
/* Gives the pages their new state, unless a discard came in between, ends being in flight, frees the slot. */
void rw_commit(struct rw *rw, uint32_t pages, enum page_state state);
/* Remembers change numbers and marks of the pages that are to be read. */
void rw_remember(struct rw *rw, uint32_t pages);
/* Is what was read still the content of these pages? */
bool rw_is_current(const struct rw *rw, uint32_t pages);
/* The page rw read twice and found wrong is lost from now on.  index: in the bite. */
void rw_quarantine(struct rw *rw, uint32_t index);
/* Pages from the request's first on become fresh. */
void rw_make_fresh(struct rw *rw, uint32_t pages);

/* ---- rw_keep.c; only where the store keeps records ---- */

/* Before requests: what a predecessor was writing is to be written again. */
void keep_init(struct store *s);
/* Pages that it wrote are in the file (lock held): a flush that fails from now on takes them along, be it before their record is written. */
void rw_keep_data(struct rw *rw);
/* The request's pages are all dealt with, the rest is: rw_keep_begin(), and rw_keep() at each rw_begin() after it.  Lock not held. */
enum rw_next rw_keep_begin(struct rw *rw);
enum rw_next rw_keep(struct rw *rw);
/* The I/O of records, or the flush, has ended with this. */
enum rw_next rw_keep_completed(struct rw *rw, ssize_t result);
/* The request ends without having kept its records: what it had in hand others may take.  Lock held. */
void rw_keep_abandon(struct rw *rw);
/* All that wait while they keep records look again: those of a session (NULL: of any).  Lock held. */
void rw_keep_wake_all(struct store *s, const struct rw_session *session);

/* ---- rw.c ---- */

/* The request is answered. */
enum rw_next rw_done(struct rw *rw, int error);
/* Ends the bite in hand: buffers back, waiters woken (lock held). */
void rw_release(struct rw *rw);
/* Ends the bite in hand, whose content the backend may or may not have: a write's pages become lost.  One that is held while the store drains
 * keeps its slot, and what became of it table_settle() finds out.  Lock held.
 */
void rw_abandon(struct rw *rw);
/* The bite in hand failed for good with this errno value: a write's pages become lost.  Lock not held. */
enum rw_next rw_fail(struct rw *rw, int cause);

/* ---- rw_error.c; the lock is not held but where said ---- */

/* Why the request may not go on (errno value: ESTALE the file is lost, ECANCELED its session has ended), or 0.  Lock held, and until what follows
 * from it is done: who says either takes the lock, and must find nothing at the backend afterwards that was not there.
 */
int rw_refusal(const struct rw *rw);
/* The backend said this (errno value) to the bite in hand: it is held, or it fails. */
enum rw_next rw_backend_error(struct rw *rw, int code);
/* This description of the file is stale: has the file opened anew, unless that is under way or was done since. */
void rw_ask_to_reopen(struct store *s, uint32_t file);
/* A held request may be tried again?  True: go on.  False: *next says what to do instead. */
bool rw_resume(struct rw *rw, enum rw_next *next);
/* The bite was held and is no more: good when the backend took some of it, else it is given up. */
void rw_not_held(struct rw *rw, bool good);
/* Says, not too often, why the request fails: kind and errno value as in notices.h. */
void rw_say(struct rw *rw, unsigned kind, int code);

#endif
