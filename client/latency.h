/* SPDX-License-Identifier: BSD-3-Clause */
/* Percentiles of measured times. */
#ifndef NBDSWAP_CLIENT_LATENCY_H
#define NBDSWAP_CLIENT_LATENCY_H

#include <stddef.h>
#include <stdint.h>

struct latency {
	size_t count;
	uint64_t p50, p90, p99, p999, max; /* ns; 0 when count is 0 */
};

/* Sorts ns[0] ... ns[count - 1] in place.  A percentile is the smallest time that this share of the
 * times does not exceed.
 */
void latency_compute(uint64_t *ns, size_t count, struct latency *out);

#endif
