/* SPDX-License-Identifier: BSD-3-Clause */
/* A backing file in use passes to another process: to the successor of a daemon that died.  The lock is the open description's, so it passes
 * with the descriptor, without a gap.  The page table passes by itself (table_map).
 */
#ifndef NBDSWAP_ADOPT_H
#define NBDSWAP_ADOPT_H

#include "common/errbuf.h"
#include "store/backing.h"
#include "store/trailer.h"

#include <stdbool.h>

/* What a successor needs to know of a backing in use; everything is the backing's. */
struct backing_parts {
	int file;   /* backing_fd(), and */
	unsigned reopened; /* how often that has become another description */
	int master; /* the key that the activation's key is made of; -1: not sealed */
	bool ephemeral; /* that is kept nowhere else */
	bool resumed;	/* backing_was_resumed() */
	const struct backend *backend;
	const struct trailer *trailer; /* as last written */
	const char *path;
};

/* Not while another thread has the backing. */
void backing_parts(const struct backing *b, struct backing_parts *out);

struct adoption {
	int file, master;	/* taken over by a success */
	bool ephemeral;
	bool marking;		/* the predecessor was between backing_load() and the end of backing_mark() */
	bool resumed;		/* and so would have been backing_was_resumed() */
	bool lost;		/* the file is not to be touched again (REOPEN_LOST) */
	/* As the predecessor had found it: in a mount namespace of its own (as under systemd) the mount of the descriptor is not to be found by its
	 * successor.
	 */
	struct backend backend;
	struct trailer trailer; /* as the predecessor had it */
	const char *path;
	bool allow_unlocked;
	uint32_t patience_s; /* as backing_reopen() */
	/* Kept from one try to the next, and 0 at first: since when the file is being looked for, and how often file became another description. */
	int64_t since_ms;
	unsigned reopened;
};

enum adopted {
	ADOPT_DONE,
	ADOPT_LATER, /* not now: *e; nothing was taken over */
	/* The predecessor had ended the use and not closed it, or not marked it yet (marking): *out is only to be closed, the table is of no use. */
	ADOPT_ENDED,
};

/* Makes a backing of what the predecessor left; table is its page table, mapped here (table_map), and gets its seal unlocked.  Blocks as the backend
 * does.  Where the file is not what it was it becomes one that is lost, and *e says why (else e->code is 0).  Where the predecessor died while it began a new
 * generation (backing_lost), that is done again: every page is lost.
 */
enum adopted backing_adopt(struct adoption *a, struct table *table, struct backing **out, struct errbuf *e);

/* Is it lost, by backing_reopen() or by now? */
bool backing_is_lost(const struct backing *b);

#endif
