/* SPDX-License-Identifier: BSD-3-Clause */
/* The processes that hold pages on a swap device, by size.
 *
 * Where one swap is on, the kernel's own account tells (VmSwap).  Where there are several, each process's page table is looked through for entries
 * of the device's type, its number in the kernel, which attach noted (state.h); that takes CAP_SYS_ADMIN, and time on a machine with much memory.
 * What could not be looked at in time, or where the type is not known, is the process's swap on all devices, and said to be at most that.
 *
 * Nothing here waits for a page of another process: status and the page table are read, never a command line or memory, and what can wait for a
 * lock of a process that waits for a dead device is done by a child that can be killed.
 *
 * Pages of shared memory and tmpfs are no process's by this account; a page that was swapped out before a fork is counted for both.
 */
#ifndef NBDSWAP_CLIENT_HOLDERS_H
#define NBDSWAP_CLIENT_HOLDERS_H

#include "client/procswaps.h"
#include "common/errbuf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

struct holder {
	pid_t pid;
	char name[64]; /* printable */
	uint64_t bytes;
	bool at_most; /* of all swaps together */
};

struct holders {
	size_t count;
	struct holder *list; /* the largest first; holders_free() */
	uint64_t bytes;	     /* of all of them */
	bool at_most;	     /* one of them is */
};

/* Looks for at most budget_ms.  device, for its pages alone; type: its, or SWAP_TYPE_UNKNOWN.  0, or -1 with *e. */
int holders_find(const struct swap_list *swaps, const char *device, int type, int budget_ms, struct holders *out, struct errbuf *e);
void holders_free(struct holders *h);

/* At most so many lines, and one for the rest; each with prefix before it. */
void holders_print(FILE *out, const struct holders *h, size_t most, const char *prefix);

/* For tests: what is in bytes of a page table (/proc/PID/pagemap) of this type. */
uint64_t holders_count_entries(const uint64_t *entries, size_t count, int type);

#endif
