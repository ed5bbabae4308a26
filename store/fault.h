/* SPDX-License-Identifier: BSD-3-Clause */
/* Faults on demand, for tests: the calls of store/sys.h, made to fail.  Only in the test variant of the store (libstore-fault.la and
 * what is linked with it); a normal build has nothing of this.
 *
 * What is to happen is told in one text, by fault_configure() or, before the program's first line, by the environment variable
 * NBDSWAP_FAULTS (one that cannot be understood ends the program: a test must not run without its faults):
 *
 *   rule;rule;...      rule = points:word,word,...
 *   points             a name of store/syspoint.h, or a pattern of them (fnmatch: "trailer.*", "*")
 *
 * Words that say what happens:
 *   errno=NAME   the call fails with this error and is not made
 *   done         with errno or kill: it fails or dies after the call was made
 *   short[=UNIT] a read or write moves less than it was asked to, a multiple of UNIT bytes (512) and at least that; one of UNIT
 *                or less is whole
 *   torn         of a write only the first multiple of 512 bytes, at most one sector less than all, reaches the file; it is
 *                acknowledged as whole (with errno: it fails)
 *   lost         a write or sync is acknowledged and not made
 *   misdirect    a read or write moves to another page of the file, up to eight pages before its own
 *   flip[=BYTES] one bit of what is read, or of what reaches the file, is turned over; one of its first BYTES
 *   delay=MS     the call is made that much later
 *   hang         the call waits until the trigger file is gone
 *   kill         the process is killed instead of making the call
 * Words that say when (none: at each call):
 *   nth=N        at the Nth call that the rule matches, from 1
 *   from=N       at that and each later one
 *   every=N      at each Nth
 *   rate=P       with this probability, 0 to 1, told by the seed and the count of calls alone
 *   seed=N       of the rate and of which bit, sector and page
 *   trigger=PATH only while this file exists; calls at other times are not counted
 *
 * The first rule that hits decides; rules after it count the call all the same.  No memory is taken but at fault_configure().
 */
#ifndef NBDSWAP_FAULT_H
#define NBDSWAP_FAULT_H

#include "common/errbuf.h"
#include "store/syspoint.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

enum fault_kind {
	FAULT_ERRNO,
	FAULT_SHORT,
	FAULT_TORN,
	FAULT_LOST,
	FAULT_MISDIRECT,
	FAULT_FLIP,
	FAULT_DELAY,
	FAULT_HANG,
	FAULT_KILL,
	FAULT_DONE, /* not counted as a fault of its own */
	FAULT_KINDS
};

struct fault_counters {
	_Atomic uint64_t calls[SYS_POINT_COUNT];
	_Atomic uint64_t hits[SYS_POINT_COUNT][FAULT_KINDS];
};

/* Replaces all rules; NULL or "" leaves none.  No other thread may be at a call.  0, or -1 with *e (EINVAL: names the word; nothing is
 * changed).  Rules count their calls from 0 again; the counters of hits go on.
 */
int fault_configure(const char *rules, struct errbuf *e);

/* Counts there from now on, in memory that outlives the process, say; NULL: in its own again.  Also by the environment:
 * NBDSWAP_FAULTS_COUNTERS names a file that is made as long as needed and mapped.
 */
void fault_count_in(struct fault_counters *where);

/* Where it is counted now. */
struct fault_counters *fault_counters(void);

uint64_t fault_calls(void);			/* at all points */
uint64_t fault_hits(enum fault_kind kind);	/* at all points */
uint64_t fault_hits_at(enum sys_point point);	/* of all kinds */
const char *fault_kind_name(enum fault_kind kind);
const char *fault_point_name(enum sys_point point);

/* ---- for store/sys.h ---- */

/* One call's fate. */
struct fault {
	enum sys_point point;
	uint32_t kinds; /* bits 1 << enum fault_kind; 0: none */
	int error;
	uint64_t flip_bytes, short_unit;
	uint64_t random;
};

/* Decides and waits.  True when the call is to be made. */
bool fault_before(enum sys_point point, struct fault *f);

/* True when the call is to fail, with errno. */
bool fault_after(const struct fault *f);

ssize_t fault_preadv(enum sys_point point, int fd, const struct iovec *iov, int count, off_t at);
ssize_t fault_pwritev(enum sys_point point, int fd, const struct iovec *iov, int count, off_t at);

#endif
