/* SPDX-License-Identifier: BSD-3-Clause */
/* When a request that met an error of the backend is tried again, and when it is given up. No clock of its own: the time is given. */
#ifndef NBDSWAP_RETRY_H
#define NBDSWAP_RETRY_H

#include "store/errclass.h"

#include <stdbool.h>
#include <stdint.h>

#define RETRY_FIRST_MS 10
#define RETRY_MOST_MS 1000

/* One request's bite; all zero: not held. */
struct retry {
	uint32_t tries;	  /* that failed so far */
	int64_t since_ms; /* of the first; valid when tries > 0 */
};

/* The try at now_ms failed.  Returns in how many ms to try again (0 the first time after EINTR, else 10 doubling to 1000, less where
 * that ends the time), or -1: give it up.  Time is limited to retry_s seconds for writes, and for reads where the class says so; one more try is
 * made in any case where the class is held at all.
 */
int retry_next(struct retry *r, int code, enum err_class c, bool is_write, int64_t now_ms, uint32_t retry_s);

#endif
