/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/jsontext.h"

#include "common/cleanup.h"
#include "common/utf8.h"

#include <stdlib.h>
#include <string.h>

json_t *json_text(const char *text)
{
	CLEANUP_FREE char *whole = malloc(3 * strlen(text) + 1);
	char *out = whole;
	json_t *string;

	if (!whole)
		abort();
	while (*text) {
		size_t n = utf8_span(text);

		memcpy(out, text, n);
		out += n;
		text += n;
		if (*text) {
			memcpy(out, "\xef\xbf\xbd", 3);
			out += 3;
			text++;
		}
	}
	string = json_stringn(whole, (size_t)(out - whole));
	if (!string)
		abort();
	return string;
}
