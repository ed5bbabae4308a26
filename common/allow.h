/* SPDX-License-Identifier: BSD-3-Clause */
/* What may be missing without a program refusing to serve: named one by one (contract point 4). */
#ifndef NBDSWAP_ALLOW_H
#define NBDSWAP_ALLOW_H

#include <stddef.h>

enum allow { ALLOW_MEMLOCK = 1, ALLOW_OOM = 2, ALLOW_IO_FLUSHER = 4, ALLOW_CONFINE = 8 };

#define ALLOW_WORDS "memlock, oom, io-flusher, confine"

/* The bit of a word of n bytes; 0 when it is none of them. */
unsigned allow_of(const char *word, size_t n);

/* The bits of words with commas between them.  0 when one is none of them, or there is none. */
unsigned allow_list(const char *words);

#endif
