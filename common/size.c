/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/size.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char units[] = "KMGTPE";

int size_parse(const char *text, uint64_t *bytes)
{
	uint64_t value = 0;
	unsigned shift = 0;
	const char *p = text;

	if (!isdigit((unsigned char)*p)) {
		errno = EINVAL;
		return -1;
	}
	for (; isdigit((unsigned char)*p); p++) {
		unsigned digit = (unsigned)(*p - '0');

		if (value > ((uint64_t)INT64_MAX - digit) / 10) {
			errno = ERANGE;
			return -1;
		}
		value = value * 10 + digit;
	}
	if (*p) {
		const char *u = strchr(units, toupper((unsigned char)*p));

		if (u)
			shift = 10 * (unsigned)(u - units + 1);
		else if (*p == 's')
			shift = 9;
		else if (*p != 'b' && *p != 'B') {
			errno = EINVAL;
			return -1;
		}
		p++;
		if (u && strcasecmp(p, "iB") == 0)
			p += 2;
		if (*p) {
			errno = EINVAL;
			return -1;
		}
	}
	if (shift && value > ((uint64_t)INT64_MAX >> shift)) {
		errno = ERANGE;
		return -1;
	}
	*bytes = value << shift;
	return 0;
}

char *size_format(uint64_t bytes, char out[SIZE_TEXT])
{
	int unit = -1;
	uint64_t whole = bytes;
	double value = (double)bytes;

	while (value >= 1024 && units[unit + 1]) {
		value /= 1024;
		unit++;
	}
	if (unit < 0) {
		snprintf(out, SIZE_TEXT, "%u bytes", (unsigned)bytes);
		return out;
	}
	whole >>= 10 * (unit + 1);
	if (whole << (10 * (unit + 1)) == bytes)
		snprintf(out, SIZE_TEXT, "%u %ciB", (unsigned)whole, units[unit]);
	else
		snprintf(out, SIZE_TEXT, "%.1f %ciB", value, units[unit]);
	return out;
}
