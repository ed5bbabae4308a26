/* SPDX-License-Identifier: BSD-3-Clause */
/* The process under test: it serves a table and a file that its parent owns, with clients of its own on several threads, until it is
 * killed or enough has been done.  What the clients ask and are answered is in the model.
 */
#ifndef NBDSWAP_TESTS_FAULTS_SERVER_H
#define NBDSWAP_TESTS_FAULTS_SERVER_H

#include "store/backend.h"
#include "store/fault.h"
#include "store/store.h"
#include "tests/faults/model.h"

#define SERVER_THREADS 4
#define SERVER_OWN_PAGES 16 /* of each thread; the rest of the pages are everybody's */

/* In memory that outlives the server. */
struct arena {
	struct model model;
	struct fault_counters faults;
	_Atomic uint64_t operations, target;
	_Atomic uint64_t scrubbed, scrub_lost; /* pages */
	_Atomic uint64_t reads_right, reads_failed, writes_failed, wrong, too_long_ago;
};

struct served {
	struct arena *arena;
	int table_fd, fd, key_fd; /* key_fd -1: not sealed */
	enum backend_kind kind;
	/* Nothing that is injected may reach an answer: no request fails, and no page is lost but where the model says so. */
	bool strict;
	const char *rules, *scrub_rules;
	uint64_t seed;
	unsigned drain_us; /* after so long the server stops in order, as for a reload; 0: it goes on */
};

#define SERVER_DRAINED 4

/* Never returns: exits 0 when the target is reached, or something was wrong, SERVER_DRAINED when it was to stop. */
_Noreturn void serve(const struct served *v);

/* As the daemon does meanwhile, in another process: reads all pages and compares them, over and over.  Never returns. */
_Noreturn void serve_scrub(const struct served *v);

/* The store that a process makes of what it was handed; NULL with *e. */
struct store *serve_store(const struct served *v, struct table *table, struct pool *pool, struct errbuf *e);

/* Something is not as it must be: said, with the page's history, and counted. */
void serve_wrong(struct arena *a, const char *what, uint64_t page, uint64_t id, uint64_t begun, uint64_t ended);

#endif
