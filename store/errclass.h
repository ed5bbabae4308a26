/* SPDX-License-Identifier: BSD-3-Clause */
/* What an error of the backend means, in one table: errno value and kind of backend give a class, and the class says what becomes of
 * the request.  Why it matters: a swap read answered with an error kills its process, so what would pass must be held.
 */
#ifndef NBDSWAP_ERRCLASS_H
#define NBDSWAP_ERRCLASS_H

#include "store/backend.h"

#include <stdbool.h>

enum err_class {
	/* Will pass: held and tried again, a read as long as its client is connected, a write inside retry-time. */
	ERR_PASSING,
	/* May pass, but may also be for good, and the errno value does not tell which: held inside retry-time, reads too. */
	ERR_PASSING_AWHILE,
	/* The storage server has no space although every page was written once: a promise broken where we cannot see it.  As ERR_PASSING
	 * (somebody can make room), and an alarm. */
	ERR_SERVER_FULL,
	/* The file handle is no longer valid: the file is opened anew, and what is held goes on if it is the same file. */
	ERR_STALE,
	/* No space on a file system that overwrites in place: impossible, unless the file was changed behind our back. */
	ERR_BROKEN_PROMISE,
	/* Trying again would not help: EIO at once. */
	ERR_LASTING,
};
#define ERR_CLASSES 6

/* code: a positive errno value; ENODATA also stands for "the file has become shorter", ENOSPC for a write that moves nothing. */
enum err_class errclass_of(int code, enum backend_kind kind);

/* Is the request held and tried again? */
bool errclass_is_held(enum err_class c);

/* Is it a promise of the contract that was broken (whether it is held or not)? */
bool errclass_is_impossible(enum err_class c);

#endif
