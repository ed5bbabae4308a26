/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/printable.h"

#include "common/utf8.h"

#include <stdbool.h>
#include <string.h>

/* Of one character: C0, DEL and C1, whose first byte in UTF-8 is 0xc2. */
static bool is_control(const unsigned char *c)
{
	return c[0] < ' ' || c[0] == 0x7f || (c[0] == 0xc2 && c[1] < 0xa0);
}

/* Bytes of the character at p, of which left bytes are there; 0: none. */
static size_t one_char(const unsigned char *p, size_t left)
{
	char c[5] = "";
	size_t n;

	memcpy(c, p, left < 4 ? left : 4);
	n = utf8_char(c);
	return n && is_control((const unsigned char *)c) ? 0 : n;
}

/* How much of a control character or of something that is no character one '?' stands for. */
static size_t bad_bytes(const unsigned char *p, size_t left)
{
	return p[0] == 0xc2 && left > 1 && (p[1] & 0xc0) == 0x80 ? 2 : 1;
}

void printable_copy(char *to, size_t size, const void *from, size_t bytes)
{
	const unsigned char *p = from;
	size_t at = 0;

	while (bytes && strchr(" \t\r\n", p[bytes - 1]))
		bytes--;
	while (bytes) {
		size_t n = one_char(p, bytes), step = n ? n : bad_bytes(p, bytes);

		if (at + (n ? n : 1) >= size)
			break;
		if (n)
			memcpy(to + at, p, n);
		else
			to[at] = '?';
		at += n ? n : 1;
		p += step;
		bytes -= step;
	}
	to[at] = '\0';
}
