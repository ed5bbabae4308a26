/* SPDX-License-Identifier: BSD-3-Clause */
/* What store.c, rw.c and rw_blocking.c share. */
#ifndef NBDSWAP_STORE_PRIV_H
#define NBDSWAP_STORE_PRIV_H

#include "store/store.h"

struct store {
	/* Guards the entries, the queue and all below.  Held for the bookkeeping of one bite, never over I/O or a copy. */
	pthread_mutex_t lock;
	pthread_cond_t idle; /* signalled when at_backend falls to 0 */
	char name[256];
	int fd;
	struct table *table;
	struct page_entry *entries;
	struct table_counters *counters;
	uint64_t pages;
	struct pool_share *share;
	bool draining;
	unsigned at_backend;	     /* bites between RW_IO and rw_complete */
	struct rw *queue, **queue_end; /* waiters in the order they came */
};

#endif
