/* SPDX-License-Identifier: BSD-3-Clause */
/* Where a worker gets its exports from.  Two brokers stand behind one interface, so that the rest of the plugin is the same code
 * alone and under the daemon: broker_local.c activates files in this process (file=, dir=), broker_remote.c asks nbdswapd
 * (broker=FD).
 */
#ifndef NBDSWAP_WORKER_BROKER_H
#define NBDSWAP_WORKER_BROKER_H

#include "common/errbuf.h"
#include "common/exportname.h"
#include "common/generation.h"
#include "store/backend.h"
#include "store/reopen.h"

#include <stdbool.h>
#include <stdint.h>

struct table;

#define PEER_TEXT 64

/* Who asks. */
struct peer {
	char address[PEER_TEXT]; /* "ADDR:PORT", "[ADDR]:PORT", "unix" */
	bool tls;
	int sock; /* of a session that is to outlive this process (common/broker.h: live), borrowed; -1: it does not */
};

/* What open gives: a session on an export. */
struct grant {
	char name[EXPORT_NAME_MAX + 1];
	uint64_t session; /* the broker's number of it */
	struct generation generation; /* under which the client has it; of one that is resumed: not said */
	int fd;		  /* backing file, and */
	struct table *table; /* its page table: both belong to the broker (local) or to the caller (remote), see owned */
	enum backend_kind kind; /* of what holds the file */
	bool owned;	  /* the caller closes fd and frees table when it forgets the export */
	int memory;	  /* of a live session (server/engine/sessmem.h), the caller's to close; -1: none */
	uint32_t reserve; /* with memory: the place of the export's buffers in the pool */
	bool blame;	  /* of a session that is resumed: its worker may have died of one of its requests */
	bool lost;	  /* of the same: its export was lost before (store_lost) */
	bool cut;	  /* for close: its client did not end it, and may come back; the caller's to set */
};

typedef void list_fn(void *arg, const char *name, const char *description);

struct broker {
	void *self;
	/* Begins a session for the client who; request is the export name as asked for.
	 * A second open of an export grants the same file and table once more.
	 * May block for as long as an activation takes.  0 or -1 with *e.  Any thread.
	 */
	int (*open)(void *self, const char *request, const struct peer *who, struct grant *out, struct errbuf *e);
	/* Ends a session; no request of it is in flight. */
	void (*close)(void *self, const struct grant *g);
	/* Lists the exports; 0 or -1 with *e. */
	int (*list)(void *self, list_fn *fn, void *arg, struct errbuf *e);
	/* The handle of the export's file is stale: has the file opened anew, locked and checked.  REOPEN_SAME: *fd is a descriptor of the
	 * new description, the caller's, or -1 when it has taken the place of the old one already.  Otherwise *e says why.
	 * Blocks; one thread at a time.
	 */
	enum reopened (*reopen)(void *self, const char *name, int *fd, struct errbuf *e);
	/* Called once all memory is locked, before the first connection (in the final process). 0 or -1 with *e. */
	int (*ready)(void *self, uint64_t locked_kib, struct errbuf *e);
	/* Ends everything; no session is left. Frees self. */
	void (*finish)(void *self);
};

#endif
