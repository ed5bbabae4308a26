/* SPDX-License-Identifier: BSD-3-Clause */
/* What the daemon leaves to its successor, at every instant: its descriptors in the store of whoever started it (fdstore.h), and beside them a
 * text (statefile.h) that says which is what and how far everything has come.
 *
 * The order makes it safe to be killed between any two steps: a descriptor is given into keeping before the text names it, and removed after
 * the text has ceased to; and nobody hears of anything, the worker least of all, before the text says it (keep_sync is called before every
 * message and before every wait).  A descriptor's name is never used again, so a name in the text means that descriptor or none.
 *
 * The text is one JSON object, "version" KEEP_VERSION; keep.c writes it and takeover.c reads it.  On the loop's thread.
 */
#ifndef NBDSWAP_KEEP_H
#define NBDSWAP_KEEP_H

#include "common/errbuf.h"
#include "server/fdstore.h"
#include "store/adopt.h"

#include <jansson.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* To be raised with each change that a daemon of before would not understand, in the text or in the memory whose descriptors it names: page
 * tables (store/table.h), sessions (server/engine/sessmem.h), the pool (server/engine/buffers.h), keys.
 */
#define KEEP_VERSION 2
#define KEEP_TAKES "takes over state %d" /* in what nbdswapd --version says, for the upgrade to it */
#define KEEP_STATE "state" /* the name of the text's descriptor */
#define KEEP_WORKER 'w'	   /* what the name of a worker's pidfd begins with: it is to be found without the text, too */

struct daemon;
struct export;

/* Of a descriptor in keeping: its number in the name; 0: it is not. */
typedef uint64_t kept_t;

/* What is kept of an export in use. */
struct export_kept {
	kept_t file, table, master; /* master: of sealed ones */
	unsigned reopened;	    /* as in struct backing_parts, when file was given into keeping */
	bool ephemeral, resumed;
	struct backend backend;
	struct trailer trailer;
	char path[PATH_MAX];
};

struct keep {
	int fd; /* of the text */
	bool on;
	uint64_t last; /* number in a name */
	bool written;
	uint64_t print; /* of what was written last */
	struct {
		kept_t number;
		char kind;
		bool named; /* in the text that is being made */
	} *item;
	size_t count, size;
	bool told; /* that it cannot be kept */
};

/* Begins; fd is the text's that a predecessor left (taken over), or -1.  Where nobody keeps anything all of this does nothing. */
int keep_begin(struct keep *k, int fd, struct errbuf *e);

/* What a predecessor kept and this daemon has taken over. */
void keep_inherit(struct keep *k, kept_t number, char kind);

/* The number for the text, which names it then; null when it is not in keeping. */
json_t *keep_named(struct keep *k, kept_t number);

void keep_name(char out[FDSTORE_NAME], char kind, kept_t number);

/* Brings what is kept to what is.  False: it could not be written down, and a successor would go by what was before. */
bool keep_sync(struct daemon *d);

/* Nothing is left to a successor: this daemon has ended everything. */
void keep_end(struct keep *k);

#endif
