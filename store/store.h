/* SPDX-License-Identifier: BSD-3-Clause */
/* The I/O side of the store: swap_rw in three parts, so that a blocking caller (an nbdkit thread) and an
 * asynchronous one (an io_uring engine) share every line but the middle.
 *
 *   rw_begin     validates, takes pool buffers, marks the page table entries, copies a write's data in
 *   (the caller) moves rw->iov to or from rw->fd at rw->position with direct I/O
 *   rw_complete  verifies, commits the entries, copies a read's data out, gives the buffers back
 *
 * Of an export that survives the host (records.h) a write or discard goes on, when its pages are there, with the I/O of their records and a flush
 * (RW_IO, RW_SYNC), which it shares with others.
 *
 * A request is worked off in bites of at most RW_BITE_PAGES pages; adjacent pages of a bite are one vectored I/O.
 * Nothing between rw_begin and the answer allocates memory: struct rw is the caller's and holds everything.
 *
 * Pages that are all one 64-bit value, and those never written or discarded, are answered from the table without I/O.  A page
 * that does not match its mark is read a second time; then it is lost, until it is written or discarded.
 *
 * An error of the backend that may pass (errclass.h) holds the request: it keeps its pages and buffers and is tried again with back-off, a
 * read as long as its client is connected, a write for the table's retry time.
 *
 * Order: one write in flight per page; a write that overlaps one in flight, or an earlier waiter, waits its turn. A read that overlaps a
 * write in flight waits; a read that a write overtook is read again.
 */
#ifndef NBDSWAP_STORE_H
#define NBDSWAP_STORE_H

#include "common/errbuf.h"
#include "store/backend.h"
#include "store/mark.h"
#include "store/notices.h"
#include "store/page.h"
#include "store/pool.h"
#include "store/retry.h"
#include "store/table.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#define RW_BITE_PAGES SLOT_PAGES /* 128 KiB: the largest request the kernel's nbd sends by default */

struct store; /* one export */

struct store_options {
	const char *name; /* for messages; copied */
	/* These are borrowed and must outlive the store.  O_DIRECT is not demanded here (tmpfs has none on old kernels). */
	int fd;
	struct table *table;
	/* NULL: the data of every request is page-aligned and nobody touches it until the request is answered, so it goes to and from the
	 * backend as it is.  Not for sealed pages, and not for memory that another process goes on to use where backend_barrier() does
	 * not hold back an orphan read.
	 */
	struct pool *pool;
	enum backend_kind kind; /* what holds fd: says what its errors mean */

	/* All optional, called on the thread of a request with no lock held, and not to block or allocate: */
	notices_emit *emit; /* a message about the backend (notices.h) */
	/* The file handle has become stale: have the file opened anew under the same descriptor number, then call store_reopened() or
	 * store_lost().  Called once for that; without it a stale handle is a lasting error. */
	void (*stale)(void *arg);
	void *arg; /* of both */
	/* For store_rw alone: waits ms (0: only looks); -1 when the request's client is gone and the request is to be given up. */
	int (*sleep)(int ms);
	int64_t (*now_ms)(void); /* NULL: CLOCK_MONOTONIC */
};

/* Returns NULL with *e on failure; EBUSY when the table has writes of a predecessor's that nobody has settled (settle.h), ENOKEY when
 * it is sealed and was not unlocked (table_unlock_seal).
 */
struct store *store_create(const struct store_options *o, struct errbuf *e);

/* No request may be under way (store_drain first). NULL is fine. */
void store_free(struct store *s);

/* Lets no new request begin, nor a further bite of one (they wait in rw_begin's caller for good), discards included, and waits until no
 * bite is at the backend, at most timeout_ms.  Returns true when drained: the table changes no more.  A write that is held for an
 * error to pass is not waited for: it is tried no more, and its slot stays busy for table_settle().
 */
bool store_drain(struct store *s, int timeout_ms);

/* The file was opened anew: what was held goes on.  Any thread. */
void store_reopened(struct store *s);

/* The file is not to be had any more: every request is answered with EIO from now on.  why: one sentence for the log.  Any thread. */
void store_lost(struct store *s, const char *why);

uint64_t store_size(const struct store *s); /* bytes */

/* Is what is acknowledged durable (survive = host)? */
bool store_keeps(const struct store *s);

/* So many more (or, negative, fewer) writes and discards of a dead predecessor are to be done again here.  As long as there are any, a read that finds
 * a page lost waits for it, for it may be one that the predecessor had in flight: at most AWAIT_MS.  Any thread.
 */
#define AWAIT_MS 30000
void store_await(struct store *s, int more);
bool store_awaits(const struct store *s); /* Are there any? */

enum rw_op { RW_READ, RW_WRITE, RW_DISCARD /* trim and write-zeroes: reads as zeros afterwards */ };

/* One client's connection.  A request may belong to one; with the session ended it must not go on. */
struct rw_session {
	_Atomic bool ended; /* set by store_end_session() */
};

enum rw_next {
	RW_IO,	  /* do the I/O that rw describes, then rw_complete */
	RW_SYNC,  /* fdatasync(2) of rw->fd, then rw_complete with 0 or a negated errno value */
	RW_WAIT,  /* waiting for a page or for buffers: rw->wake is called when to call rw_begin again */
	RW_LATER, /* call rw_begin again in rw->later_ms; 0, of a large discard: when others have had their turn */
	RW_DONE,  /* answer the request */
};

/* Where a request is that makes its records durable. */
enum rw_keep_stage { KEEP_NOT, KEEP_LOOK, KEEP_RECORDS /* at the backend */, KEEP_FLUSH /* the same */ };
enum rw_keep_wait { KEEP_WAITS_NOT, KEEP_WAITS_BLOCK, KEEP_WAITS_WRITER, KEEP_WAITS_FLUSH, KEEP_WAITS_STORE };

struct rw_keep {
	enum rw_keep_stage stage;
	enum rw_keep_wait wait; /* not KEEP_WAITS_NOT: in the store's list */
	bool woken;		/* since it waits */
	bool ticketed;
	uint32_t ticket;	/* the content of the block that has its changes */
	uint64_t block, end;	/* blocks that are still to be looked at */
	uint64_t flush_first, flush_last; /* the flushes that make those before durable; 0: none has to */
	uint32_t writer;	/* of KEEP_RECORDS: which buffer, and */
	uint32_t blocks;	/* how many */
	uint64_t flush;		/* of KEEP_FLUSH: its number */
};

struct rw {
	/* Filled by rw_init: */
	struct store *store;
	enum rw_op op;
	uint64_t offset; /* of what is left of the request */
	uint64_t length;
	unsigned char *data;
	/* Called with the store's lock held, by whichever thread made room, perhaps several times for one RW_WAIT: must only set a flag or
	 * queue.  rw_begin may then say RW_WAIT again.
	 */
	void (*wake)(struct rw *rw);
	/* Optional, set after rw_init: so many more pages of a write or discard, from its beginning on, are dealt with for good.  Called with the
	 * store's lock held, before another request can change these pages: who does the request again, in another process, must not
	 * begin with them.
	 */
	void (*record)(struct rw *rw, uint32_t pages);
	struct rw_session *session; /* optional, set after rw_init */
	/* Where the pages of the request begin that must be durable before the answer; set after rw_init by who begins amidst a request of which the
	 * rest was done in another process. */
	uint64_t first_page;

	/* The I/O in hand, valid after RW_IO: */
	int fd;
	off_t position;
	struct iovec iov[RW_BITE_PAGES];
	int iovcnt;
	bool aside; /* a write, whatever op is, from memory of the store's and not from the request's buffers */

	/* The answer, valid after RW_DONE: error is 0, EINVAL or EIO; cause is the errno value that the backend gave (0: none,
	 * the page was lost already; ENODATA: the file has become shorter; EBADMSG: what was read, twice, is not what was written; ECANCELED: given up,
	 * or its session was ended).
	 */
	int error, cause;
	int later_ms; /* valid after RW_LATER */

	/* Private to the store from here on. */
	struct rw *next; /* in the queue of waiters */
	bool queued, started;
	bool starved;	   /* the last try found too few buffers */
	bool stuck;	   /* the last I/O moved less than a page */
	bool held;	   /* waits for an error of the backend to pass */
	bool reread;	   /* the bite is read a second time, for a page of it did not match */
	uint32_t awaited;  /* times that it waited for a lost page to be written again */
	struct retry retry;
	struct rw_keep keep;
	uint64_t data_flush; /* the first flush that may have to do with what it wrote to pages; 0: nothing yet, or nobody flushes */
	uint32_t file;	   /* which description of the file the I/O went to */
	struct slot *slot; /* of the write at the backend */
	uint32_t io_pages; /* of the bite at the backend, 0 when there is none */
	uint32_t io_done;  /* bytes of it already moved (short I/O) */
	void *pages[RW_BITE_PAGES];
	uint32_t change[RW_BITE_PAGES];
	struct page_mark mark[RW_BITE_PAGES];
};

/* Prepares a request.  data: length bytes, any alignment where the store has a pool (NULL for RW_DISCARD); stays the caller's.
 * offset and length may be anything: rw_begin refuses what is not page-aligned or out of range with EINVAL.
 */
void rw_init(struct rw *rw, struct store *s, enum rw_op op, uint64_t offset, uint64_t length, void *data,
	     void (*wake)(struct rw *));

/* Is it at RW_WAIT, as far as the store knows? */
static inline bool rw_waits(const struct rw *rw)
{
	return rw->queued || rw->keep.wait != KEEP_WAITS_NOT;
}

enum rw_next rw_begin(struct rw *rw);

/* result: bytes moved, or a negated errno value. */
enum rw_next rw_complete(struct rw *rw, ssize_t result);

/* Gives up a request that is at RW_WAIT or RW_LATER, because nobody waits for its answer any more: RW_DONE with EIO.  The pages of a
 * write that had been tried become lost (after store_drain they stay for table_settle()).
 */
enum rw_next rw_cancel(struct rw *rw);

/* Ends a session, whose client goes on in another one and sends there again what has not been answered here.  From now on no request
 * of it reaches the backend, or changes the table, that is not at the backend already: it ends with cause ECANCELED, waiters at once.  What is
 * at the backend keeps its pages in flight until the backend has answered, and the new session's writes to them wait for that; of
 * its request nothing further begins.  Any thread, no locks held.
 */
void store_end_session(struct store *s, struct rw_session *session);

/* The whole request with blocking I/O on the calling thread.  session: NULL for none.  Returns rw.error; *cause (may be NULL) as in
 * struct rw.  Any thread, no locks held.
 */
int store_rw(struct store *s, struct rw_session *session, enum rw_op op, uint64_t offset, uint64_t length, void *data,
	     int *cause);

/* Makes what was acknowledged durable; no more than fdatasync(2), for pages are written by direct I/O.  0 or EIO.  As store_rw. */
int store_flush(struct store *s);

/* The same for an asynchronous caller: flush_init, then flush_begin, fdatasync(2) of the store's file, flush_result, and, as long as that says so,
 * once more from flush_begin on.
 */
struct flush {
	struct store *store;
	uint32_t file;
	struct retry retry;
};

void flush_init(struct flush *f);
bool flush_begin(struct flush *f, struct store *s); /* false: there is no file any more, the answer is EIO */
/* code: of fdatasync, an errno value or 0.  Returns 0 when it is done, -1 when the answer is EIO, else in how many ms to try again. */
int flush_result(struct flush *f, int code);

#endif
