/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/latency.h"

#include <stdlib.h>
#include <string.h>

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* The nearest-rank method, in thousandths so that no rounding of fractions enters. */
static uint64_t rank(const uint64_t *sorted, size_t count, unsigned thousandths)
{
	size_t n = (count * thousandths + 999) / 1000;

	return sorted[n ? n - 1 : 0];
}

void latency_compute(uint64_t *ns, size_t count, struct latency *out)
{
	memset(out, 0, sizeof(*out));
	out->count = count;
	if (!count)
		return;
	qsort(ns, count, sizeof(ns[0]), compare);
	out->p50 = rank(ns, count, 500);
	out->p90 = rank(ns, count, 900);
	out->p99 = rank(ns, count, 990);
	out->p999 = rank(ns, count, 999);
	out->max = ns[count - 1];
}
