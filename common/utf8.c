/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/utf8.h"

#include <stdint.h>

size_t utf8_char(const char *text)
{
	static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
	unsigned char first = (unsigned char)*text;
	uint32_t c;
	size_t n;

	if (first < 0x80)
		return first ? 1 : 0;
	if (first < 0xc0 || first >= 0xf8)
		return 0;
	n = first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
	c = first & (0x7fu >> n);
	for (size_t i = 1; i < n; i++) {
		if (((unsigned char)text[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | ((unsigned char)text[i] & 0x3f);
	}
	return c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) ? 0 : n;
}

size_t utf8_span(const char *text)
{
	size_t at = 0, n;

	while ((n = utf8_char(text + at)))
		at += n;
	return at;
}
