/* SPDX-License-Identifier: BSD-3-Clause */
/* Who holds an export: one export, one client.
 *
 * A client may have several sessions (connections) at once; a second client is refused while the first has one.  When sessions
 * end because the worker died, and not because the client left, the lease can be kept for a while so that the client
 * finds its export free when it connects again.
 *
 * A plain data structure: no allocation, no locks, no system calls; the clock is passed in.
 */
#ifndef NBDSWAP_LEASE_H
#define NBDSWAP_LEASE_H

#include "common/errbuf.h"
#include "common/generation.h"

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define LEASE_HOLDER_MAX 96

struct lease_clock {
	int64_t ms;  /* monotonic, milliseconds: decides */
	time_t wall; /* for messages only */
};

struct lease {			       /* all zero: free */
	char holder[LEASE_HOLDER_MAX]; /* "" when nobody holds it */
	char peer[LEASE_HOLDER_MAX];   /* where its last session came from, for messages */
	time_t since;		       /* wall clock */
	uint32_t sessions;
	int64_t kept_until_ms; /* held until then, also without sessions */
	uint64_t number;	       /* the generation's second half (common/generation.h): of the last pass to another client; 0: none yet */
	char last[LEASE_HOLDER_MAX];   /* who it passed to; "": not known, as it was before this process */
};

/* The holder's name: the client id when there is one, else the peer's address without its port ("10.0.0.5", "fe80::1",
 * "unix").  peer: "ADDR:PORT", "[ADDR]:PORT" or "unix".  Returns 0, -1 with *e when neither names anybody.
 */
int lease_holder(const char *client, const char *peer, char out[LEASE_HOLDER_MAX], struct errbuf *e);

/* Begins a session.  Returns 0; -1 with *e (EBUSY: names the holder and since when). */
int lease_open(struct lease *l, const char *export_name, const char *holder, const char *peer,
	       const struct lease_clock *now, struct errbuf *e);

/* The session just begun is the one that was expected back, or takes its place.  Others of the holder's (a probe) leave the time to come back as it is. */
void lease_returned(struct lease *l);

/* Ends one session; with the last one the lease is free, unless another was lost and is expected back still. */
void lease_close(struct lease *l, const struct lease_clock *now);

/* Ends one session that the client did not end itself (its worker is gone, its connection was lost): without any the holder keeps the lease for keep_ms
 * from now.
 */
void lease_lose(struct lease *l, const struct lease_clock *now, int64_t keep_ms);

/* Who was expected back and has not come in time: the lease is nobody's. */
void lease_expire(struct lease *l, const struct lease_clock *now);

/* Who has no session left and is expected back could not come until now: keep_ms count from here. */
void lease_keep(struct lease *l, const struct lease_clock *now, int64_t keep_ms);

/* Its holder is to use it.  If that is another client than the last that was, the export passes to it: the number rises, and starts at the
 * time, so that it does not come back where it was forgotten.  resumes: lease_resumes() has said so, and the export stays who it was.
 */
void lease_pass(struct lease *l, bool resumes, const struct lease_clock *now);

/* Another content, which last passed under this number. */
void lease_begin(struct lease *l, uint64_t number);

/* After lease_begin(): it passed to this client ("": not known), which is expected back within keep_ms. */
void lease_recall(struct lease *l, const char *holder, const struct lease_clock *now, int64_t keep_ms);

/* May this client come back to what it swapped out under g: is the content still of that activation, and has no other client had it since?
 * 0; -1 with *e (ESTALE).
 */
int lease_resumes(const struct lease *l, const char *export_name, const char *holder, uint64_t activation, const struct generation *g,
		  struct errbuf *e);

/* Is it held, by sessions or kept? */
bool lease_held(const struct lease *l, const struct lease_clock *now);

#endif
