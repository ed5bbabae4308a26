/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests: makes a page's entry say something, with the mark that it has. */
#ifndef NBDSWAP_TESTS_SETPAGE_H
#define NBDSWAP_TESTS_SETPAGE_H

#include "store/table.h"

static inline void set_page(struct table *t, uint64_t page, enum page_state state, bool in_flight)
{
	const struct entries *x = table_entries(t);
	struct page_mark m;
	struct page_view v = entry_read(x, page, &m);

	entry_swap(x, page, &v, v.change, state, in_flight, &m);
}

#endif
