/* SPDX-License-Identifier: BSD-3-Clause */
/* The mover: the thread that moves pages.  It has the sessions in transmission phase and an io_uring, and does nothing that allocates, faults or blocks.
 *
 * Sockets are received from through the ring, one receive in flight for each, and sent to by sendmsg, several replies at once; files are
 * read and written through the ring, at registered buffers.  Where even the submission of file I/O blocks (NFS: 25 ms were seen), a
 * submitter does it (submitter.h).
 *
 * The functions below are called on other threads and wait until the mover has done what they say, which takes it microseconds.
 */
#ifndef NBDSWAP_MOVER_H
#define NBDSWAP_MOVER_H

#include "common/errbuf.h"
#include "server/engine/buffers.h"
#include "server/engine/sessmem.h"
#include "server/engine/tcpaccount.h"
#include "store/store.h"

#include <stdbool.h>
#include <stdint.h>

struct mover;
struct mover_export;
struct live;

struct mover_options {
	struct buffers *buffers; /* borrowed */
	unsigned sessions;	 /* at once */
	unsigned exports;	 /* at once */
	/* A session has ended: nothing of it is under way, its socket is shut down.  On the mover's thread, so it must only tell another, which
	 * calls mover_forget_session(). left: the client asked to disconnect.  why: one sentence, NULL when the client ended it, or
	 * closed its connection between requests.
	 */
	void (*ended)(void *arg, void *owner, bool left, const char *why);
	void *arg;
};

/* Makes all it will need and starts the thread.  NULL with *e: ENOSYS or EPERM when there is no io_uring to be had. */
struct mover *mover_create(const struct mover_options *o, struct errbuf *e);

/* All sessions and exports must be gone. */
void mover_free(struct mover *m);

struct mover_export_options {
	int fd; /* borrowed, stays what it is until mover_remove_export(), but see mover_refresh_export() */
	struct store *store;
	struct buffers_share *share;
	bool direct; /* the store was made without a pool: data goes to and from the file where it lies */
	bool blocks; /* submission may block: it gets a submitter */
};

/* NULL with *e: too many, or no memory. */
struct mover_export *mover_add_export(struct mover *m, const struct mover_export_options *o, struct errbuf *e);
void mover_remove_export(struct mover *m, struct mover_export *x); /* no session is left */

/* Another file has come to lie under the descriptor's number. */
void mover_refresh_export(struct mover *m, struct mover_export *x);

struct mover_session_options {
	struct mover_export *export;
	int sock; /* borrowed until forgotten */
	struct sess_mem *memory; /* the same; begun (sessmem_begin) */
	void *owner;
	const struct tcp_account *account; /* of a session that is resumed: what has passed sock; NULL: a new one */
	bool blame; /* the predecessor may have died of a request */
};

/* Begins or resumes transmission.  NULL with *e: no place (EMFILE), or the memory says what cannot be (EPROTO), or a request of it has been
 * in hand at too many deaths (ECANCELED).
 */
struct live *mover_add_session(struct mover *m, const struct mover_session_options *o, struct errbuf *e);

/* From now on no request of it begins; its socket is shut down.  ended() follows, perhaps before this returns. */
void mover_end_session(struct mover *m, struct live *s);

/* The store awaits nothing more (store_await), said on another thread: sessions that waited for that go on. */
void mover_look_again(struct mover *m);

/* After ended(): its place is free. */
void mover_forget_session(struct mover *m, struct live *s);

#endif
