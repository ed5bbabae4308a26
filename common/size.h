/* SPDX-License-Identifier: BSD-3-Clause */
/* Sizes as people write and read them. */
#ifndef NBDSWAP_SIZE_H
#define NBDSWAP_SIZE_H

#include <stddef.h>
#include <stdint.h>

/* Parses a size in bytes: decimal digits, then nothing or one of b, K, M, G, T, P, E (also KiB, MiB ...; powers
 * of 1024, either case; "s" is 512 bytes).  Returns 0; -1 and errno EINVAL for anything else
 * (signs, blanks, fractions and trailing text are refused), ERANGE above INT64_MAX.
 */
int size_parse(const char *text, uint64_t *bytes);

#define SIZE_TEXT 16
/* Formats bytes for people into out: exact when the value is a whole number of a unit ("64 MiB"),
 * else with one decimal ("1.4 GiB").  Returns out.
 */
char *size_format(uint64_t bytes, char out[SIZE_TEXT]);

#endif
