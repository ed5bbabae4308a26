/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/generation.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char activation_key[] = "gen=", lease_key[] = "&lease=";

void generation_format(const struct generation *g, char out[GENERATION_TEXT])
{
	snprintf(out, GENERATION_TEXT, "%s%" PRIu64 "%s%" PRIu64, activation_key, g->activation, lease_key,
		 g->lease);
}

/* key and a number at *at; *at is behind them. */
static bool keyed_number(const char **at, const char *key, uint64_t *out)
{
	const char *p = *at, *begin;
	uint64_t v = 0;

	if (strncmp(p, key, strlen(key)) != 0)
		return false;
	begin = p += strlen(key);
	for (; *p >= '0' && *p <= '9'; p++)
		if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, (uint64_t)(*p - '0'), &v))
			return false;
	if (p == begin || (*begin == '0' && p - begin > 1))
		return false;
	*at = p;
	*out = v;
	return true;
}

bool generation_number(const char *text, uint64_t *out)
{
	uint64_t v;

	if (!keyed_number(&text, "", &v) || *text)
		return false;
	*out = v;
	return true;
}

bool generation_parse(const char *text, struct generation *out, const char **end)
{
	struct generation g;

	if (!keyed_number(&text, activation_key, &g.activation) ||
	    !keyed_number(&text, lease_key, &g.lease) || g.activation == 0)
		return false;
	*out = g;
	if (end)
		*end = text;
	return true;
}

bool generation_of_description(const char *description, struct generation *out)
{
	const char *blank = strrchr(description, ' '), *end;
	struct generation g;

	if (!generation_parse(blank ? blank + 1 : description, &g, &end) || *end)
		return false;
	*out = g;
	return true;
}

bool generation_equal(const struct generation *a, const struct generation *b)
{
	return a->activation == b->activation && a->lease == b->lease;
}
