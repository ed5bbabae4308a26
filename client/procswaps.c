/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/procswaps.h"

#include "common/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* The kernel writes blank, tab, newline and backslash as \ooo. */
static void unescape(const char *in, char *out, size_t size)
{
	size_t at = 0;

	while (*in && at + 1 < size) {
		if (in[0] == '\\' && in[1] >= '0' && in[1] <= '3' && in[2] >= '0' && in[2] <= '7' &&
		    in[3] >= '0' && in[3] <= '7') {
			out[at++] = (char)((in[1] - '0') * 64 + (in[2] - '0') * 8 + (in[3] - '0'));
			in += 4;
		} else {
			out[at++] = *in++;
		}
	}
	out[at] = '\0';
}

int procswaps_parse(FILE *in, struct swap_list *out, struct errbuf *e)
{
	char line[1024], path[512], type[32];

	out->count = 0;
	if (!fgets(line, sizeof(line), in))
		return ferror(in) ? err_errno(e, "cannot read " PROC_SWAPS) : 0;
	if (strncmp(line, "Filename", 8) != 0)
		return err_set(e, EINVAL, PROC_SWAPS " begins with \"%.40s\" and not with its header", line);
	while (fgets(line, sizeof(line), in)) {
		struct swap_entry *s = &out->entries[out->count];
		uint64_t size_kib, used_kib;

		if (out->count == SWAPS_MAX)
			return err_set(e, E2BIG, PROC_SWAPS " has more than %d lines", SWAPS_MAX);
		if (sscanf(line, "%511s %31s %" SCNu64 " %" SCNu64 " %d", path, type, &size_kib, &used_kib,
			   &s->priority) != 5)
			return err_set(e, EINVAL, PROC_SWAPS " has a line that is not understood: %.80s", line);
		unescape(path, s->path, sizeof(s->path));
		s->size = size_kib * 1024;
		s->used = used_kib * 1024;
		out->count++;
	}
	return ferror(in) ? err_errno(e, "cannot read " PROC_SWAPS) : 0;
}

int procswaps_read(struct swap_list *out, struct errbuf *e)
{
	CLEANUP_FCLOSE FILE *in = fopen(PROC_SWAPS, "re");

	if (!in)
		return err_errno(e, "cannot open " PROC_SWAPS " (a kernel without CONFIG_SWAP?)");
	return procswaps_parse(in, out, e);
}

const struct swap_entry *procswaps_find(const struct swap_list *list, const char *path)
{
	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->entries[i].path, path) == 0)
			return &list->entries[i];
	return NULL;
}

uint64_t procswaps_free_elsewhere(const struct swap_list *list, const char *path)
{
	uint64_t sum = 0;

	for (size_t i = 0; i < list->count; i++)
		if (strcmp(list->entries[i].path, path) != 0)
			sum += list->entries[i].size - list->entries[i].used;
	return sum;
}

int swap_type_of_new(const struct swap_list *before, const struct swap_list *after, const char *path)
{
	size_t b = 0;
	int type = SWAP_TYPE_UNKNOWN;

	for (size_t a = 0; a < after->count; a++) {
		if (strcmp(after->entries[a].path, path) == 0)
			type = (int)a;
		else if (b == before->count || strcmp(after->entries[a].path, before->entries[b++].path) != 0)
			return SWAP_TYPE_UNKNOWN;
	}
	return b == before->count ? type : SWAP_TYPE_UNKNOWN;
}
