/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/lostlist.h"

#include "store/records.h"

static bool is_lost(const struct table *t, uint64_t page)
{
	return table_page(t, page).state == PAGE_LOST;
}

bool lost_next(const struct table *t, uint64_t from, struct lost_run *run)
{
	uint64_t end = table_pages(t), page = from;

	while (page < end && !is_lost(t, page))
		page++;
	run->first = page;
	while (page < end && is_lost(t, page))
		page++;
	run->count = page - run->first;
	return run->count > 0;
}

uint64_t lost_reset(struct table *t)
{
	static const struct page_mark none;
	const struct entries *x = table_entries(t);
	uint64_t n = 0;

	for (uint64_t i = 0; i < table_pages(t); i++) {
		struct page_view v = table_page(t, i);

		if (v.state != PAGE_LOST || !entry_swap(x, i, &v, v.change + 1, PAGE_FRESH, false, &none))
			continue;
		records_touch(t, i, 1); /* until a write of its neighbours keeps it, an end of the machine would find it lost again */
		n++;
	}
	return n;
}
