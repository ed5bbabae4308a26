/* SPDX-License-Identifier: BSD-3-Clause */
/* What swap is on: /proc/swaps. */
#ifndef NBDSWAP_CLIENT_PROCSWAPS_H
#define NBDSWAP_CLIENT_PROCSWAPS_H

#include "common/errbuf.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define PROC_SWAPS "/proc/swaps"
#define SWAPS_MAX 64 /* the kernel's own limit is below 32 */

struct swap_entry {
	char path[256]; /* as given to swapon, escapes undone */
	uint64_t size; /* bytes */
	uint64_t used; /* bytes */
	int priority;
};

struct swap_list {
	size_t count;
	struct swap_entry entries[SWAPS_MAX];
};

/* Reads the table in the format of /proc/swaps from in.  Returns 0; -1 with *e for a line it does not
 * understand, so that a device is never taken for unlisted by mistake.
 */
int procswaps_parse(FILE *in, struct swap_list *out, struct errbuf *e);

/* Reads /proc/swaps.  A kernel without it has no swap: an error that says so. */
int procswaps_read(struct swap_list *out, struct errbuf *e);

/* The entry with this path, or NULL. */
const struct swap_entry *procswaps_find(const struct swap_list *list, const char *path);

/* Bytes free on every swap but the one at path. */
uint64_t procswaps_free_elsewhere(const struct swap_list *list, const char *path);

#define SWAP_TYPE_UNKNOWN (-1)

/* The type of a device right after swapon, from the lists before and after it: the kernel gives out the lowest that is free, so that all below it
 * are in the list.  SWAP_TYPE_UNKNOWN where something else was changed meanwhile.
 */
int swap_type_of_new(const struct swap_list *before, const struct swap_list *after, const char *path);

#endif
