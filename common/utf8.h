/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef NBDSWAP_UTF8_H
#define NBDSWAP_UTF8_H

#include <stddef.h>

/* How many bytes at the start of text are one character in UTF-8 (1 to 4; no surrogates, nothing overlong, at most U+10FFFF); 0 when
 * they are none.  The NUL at the end counts as none.
 */
size_t utf8_char(const char *text);

/* How many bytes at the start of text are UTF-8: strlen(text) when all of it is. */
size_t utf8_span(const char *text);

#endif
