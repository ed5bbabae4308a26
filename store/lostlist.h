/* SPDX-License-Identifier: BSD-3-Clause */
/* Which pages of an export are lost, as runs.  The table may be in use: the answer is of the moment. */
#ifndef NBDSWAP_STORE_LOSTLIST_H
#define NBDSWAP_STORE_LOSTLIST_H

#include "store/table.h"

#include <stdbool.h>
#include <stdint.h>

struct lost_run {
	uint64_t first, count; /* pages */
};

/* The first run of lost pages at or behind page from.  False: there is none. */
bool lost_next(const struct table *t, uint64_t from, struct lost_run *run);

/* Makes every lost page fresh; those that a client writes meanwhile are left alone.  Returns how many. */
uint64_t lost_reset(struct table *t);

#endif
