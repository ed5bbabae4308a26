/* SPDX-License-Identifier: BSD-3-Clause */
/* What an export says about its backend's errors: one message per kind and minute, however many requests meet the error, with the count of
 * what was held back in the next one and at the end of the trouble.
 *
 * Fixed memory, nothing is allocated, and no clock of its own: the time is given.  A message is handed to the hook given at the
 * beginning, with no lock held, on the thread of the request that met the error: so the hook must not allocate or block either.
 *
 * Locks: any thread; one mutex inside.
 */
#ifndef NBDSWAP_NOTICES_H
#define NBDSWAP_NOTICES_H

#include "store/errclass.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define NOTICE_INTERVAL_MS 60000
#define NOTICE_TEXT 512 /* with the export's name, which is cut if need be */

enum notice_priority { NOTICE_INFO, NOTICE_WARNING, NOTICE_ERROR };

typedef void notices_emit(void *arg, enum notice_priority priority, const char *text);

/* The kinds are the classes of errclass.h and: */
enum {
	NOTICE_GIVEN_UP = ERR_CLASSES, /* held too long */
	NOTICE_LOST_PAGE,	       /* a request met a page whose content is not known */
	NOTICE_BAD_PAGE,	       /* what was read did not match */
	NOTICE_LOST_FILE,	       /* a request of an export that has no file any more */
	NOTICE_REOPENED,	       /* notices_reopened() */
	NOTICE_KINDS,
};

struct notice_line {
	bool said;
	int64_t said_ms;     /* last */
	uint64_t held_back;  /* since then */
	uint64_t first, last; /* pages of those */
};

struct notices {
	pthread_mutex_t lock; /* all below */
	char name[128];
	notices_emit *emit;
	void *arg;
	struct notice_line line[NOTICE_KINDS];
	/* The trouble at hand: from the first request held until none is. */
	uint32_t holding, held, given_up;
	int64_t since_ms;
	bool announced; /* its beginning was said, so its end will be */
};

/* emit may be NULL: nothing is said. name is copied. */
void notices_init(struct notices *n, const char *name, notices_emit *emit, void *arg);
/* Says how many were held back last. */
void notices_end(struct notices *n);

/* Where a request met an error: what ("read", "write"), which pages (last included). */
struct notice_place {
	const char *what;
	uint64_t first, last;
};

/* An error of this class, or one of the other kinds (code 0: they say it all).  code: errno value.  Says it or holds it back. */
void notices_error(struct notices *n, unsigned kind, int code, struct notice_place at, int64_t now_ms);

/* A request begins to be held, ... */
void notices_held(struct notices *n, int64_t now_ms);
/* ... and is not held any more: good when the backend took it, else it was given up (notices_error says that). */
void notices_freed(struct notices *n, bool good, int64_t now_ms);

/* The file was opened anew.  As often as all else: a handle may become stale again and again. */
void notices_reopened(struct notices *n, int64_t now_ms);

/* At once and always: for what happens once (the export is lost).  text is prefixed with the name. */
void notices_say(struct notices *n, enum notice_priority priority, const char *text);

#endif
