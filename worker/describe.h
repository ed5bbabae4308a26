/* SPDX-License-Identifier: BSD-3-Clause */
/* What a client is told of an export that asks for its description: what is configured, and at its end the generation under which the client
 * has it (common/generation.h), so that it can come back to just that.
 */
#ifndef NBDSWAP_WORKER_DESCRIBE_H
#define NBDSWAP_WORKER_DESCRIBE_H

#include "common/generation.h"

#include <stddef.h>

#define DESCRIPTION_MAX 255u /* bytes of what is configured; what is longer is cut */
#define DESCRIBE_BYTES (DESCRIPTION_MAX + sizeof(" ") + GENERATION_TEXT)

/* How many bytes of it (NULL: 0) are told: whole characters. */
size_t describe_cut(const char *configured);

/* To be found in a list: arg of describe_find(), which is a list_fn (worker/broker.h). */
struct describe {
	const char *name;
	char configured[DESCRIPTION_MAX + 1]; /* begin with "" */
};
void describe_find(void *describe, const char *name, const char *configured);

/* generation: activation 0 where there is none.  out may be "". */
void describe(const char *configured, const struct generation *generation, char out[DESCRIBE_BYTES]);

#endif
