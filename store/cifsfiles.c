/* SPDX-License-Identifier: BSD-3-Clause */
/* The list says in a comment what its columns are, for they differ between kernels:
 *
 *   # Format:
 *   # <tree id> <ses id> <persistent fid> <flags> <count> <pid> <uid> <filename>
 *   0x724cbce8 0xb43a7785 0x8384305f 0xc002 4 366 0 f
 *
 * Behind the name there may be more; the name may have blanks, the columns before it have none.
 */
#include "config.h"

#include "store/cifsfiles.h"

#include "common/cleanup.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct columns {
	int count, name; /* their numbers, from 0; -1 not there */
};

static bool is_format(const char *line, struct columns *c)
{
	int column = 0;

	if (*line != '#' || !strchr(line, '<'))
		return false;
	c->count = c->name = -1;
	for (const char *p = strchr(line, '<'); p; p = strchr(p + 1, '<'), column++) {
		if (strncmp(p, "<count>", 7) == 0)
			c->count = column;
		else if (strncmp(p, "<filename>", 10) == 0)
			c->name = column;
	}
	return true;
}

static const char *column_at(const char *line, int number)
{
	while (number-- > 0) {
		line += strcspn(line, " ");
		line += strspn(line, " ");
	}
	return line;
}

static bool is_named(const char *text, const char *name)
{
	size_t n = strlen(name);

	return strncmp(text, name, n) == 0 && strchr(" \n", text[n]);
}

int cifsfiles_busy(FILE *list, const char *name)
{
	CLEANUP_FREE char *line = NULL;
	struct columns c = { -1, -1 };
	size_t cap = 0;
	int found = 0, busy = 0;

	while (getline(&line, &cap, list) > 0) {
		if (is_format(line, &c) || *line == '#')
			continue;
		if (c.count < 0 || c.name < c.count)
			return -1;
		if (!is_named(column_at(line, c.name), name))
			continue;
		found = 1;
		busy |= strtol(column_at(line, c.count), NULL, 10) != 1;
	}
	return found ? busy : -1;
}
