/* SPDX-License-Identifier: BSD-3-Clause */
/* The text of the fault layer's rules (store/fault.h) into rules. */
#ifndef NBDSWAP_FAULTRULES_H
#define NBDSWAP_FAULTRULES_H

#include "common/errbuf.h"
#include "store/fault.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define FAULT_RULES 32

struct fault_rule {
	uint64_t points; /* bits 1 << enum sys_point */
	uint32_t kinds;	 /* bits 1 << enum fault_kind */
	int error;
	unsigned delay_ms;
	bool always;
	uint64_t flip_bytes; /* 0: any */
	uint64_t short_unit;
	uint64_t nth, from, every, threshold, seed; /* threshold: of a random number of 64 bits */
	_Atomic uint64_t calls;
	char trigger[256];
};
_Static_assert(SYS_POINT_COUNT <= 64, "points are bits of one word");

/* Fills rules[FAULT_RULES] and returns how many, or -1 with *e. */
int fault_rules_parse(const char *text, struct fault_rule *rules, struct errbuf *e);

#endif
