/* SPDX-License-Identifier: BSD-3-Clause */
/* Texts in JSON.  JSON is UTF-8, but paths, what clients send, and messages that were cut in the middle of a character need not be; jansson
 * makes nothing at all of those, and what contains them would be lost, or taken for a lack of memory.
 */
#ifndef NBDSWAP_JSONTEXT_H
#define NBDSWAP_JSONTEXT_H

#include <jansson.h>

/* The text as a JSON string; each byte of it that is not UTF-8 becomes U+FFFD.  Never NULL (aborts without memory). */
json_t *json_text(const char *text);

#endif
