/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "worker/describe.h"

#include "common/utf8.h"

#include <stdio.h>
#include <string.h>

size_t describe_cut(const char *configured)
{
	size_t at = 0, bytes;

	while (configured && (bytes = utf8_char(configured + at)) > 0 && at + bytes <= DESCRIPTION_MAX)
		at += bytes;
	return at;
}

void describe_find(void *arg, const char *name, const char *configured)
{
	struct describe *d = arg;
	size_t bytes;

	if (strcmp(name, d->name) != 0)
		return;
	bytes = describe_cut(configured);
	memcpy(d->configured, configured ? configured : "", bytes);
	d->configured[bytes] = '\0';
}

void describe(const char *configured, const struct generation *generation, char out[DESCRIBE_BYTES])
{
	char words[GENERATION_TEXT] = "";

	if (generation->activation)
		generation_format(generation, words);
	snprintf(out, DESCRIBE_BYTES, "%.*s%s%s", (int)describe_cut(configured), configured, configured[0] && words[0] ? " " : "", words);
}
