/* SPDX-License-Identifier: BSD-3-Clause */
/* The generation of an export: which activation's content, and under which owner.  A client resumes only onto
 * the pair that it had.
 *
 * In words it is gen=ACTIVATION&lease=LEASE, both decimal: so it stands in the name that a client asks for
 * (NAME?gen=5&lease=2&client=...), and at the end of the description that a server gives of an export to a
 * client that asks for one.
 */
#ifndef NBDSWAP_GENERATION_H
#define NBDSWAP_GENERATION_H

#include <stdbool.h>
#include <stdint.h>

struct generation {
	uint64_t activation; /* rises with each new content; from 1 on */
	uint64_t lease;	     /* rises with each new owner */
};

#define GENERATION_TEXT (sizeof("gen=18446744073709551615&lease=18446744073709551615"))

void generation_format(const struct generation *g, char out[GENERATION_TEXT]);

/* All of text is one decimal number without leading zeros: false when it is not, or is beyond 64 bits. */
bool generation_number(const char *text, uint64_t *out);

/* Takes the words that text begins with; *end (unless NULL) is behind them.  False, and nothing is changed,
 * when it does not begin with them, or a number has leading zeros, is beyond 64 bits, or the activation is 0.
 */
bool generation_parse(const char *text, struct generation *out, const char **end);

/* Finds the words at the end of a description: alone, or behind a blank.  False when they are not there. */
bool generation_of_description(const char *description, struct generation *out);

bool generation_equal(const struct generation *a, const struct generation *b);

#endif
