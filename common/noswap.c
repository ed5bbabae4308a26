/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/noswap.h"

#include "common/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* The first swap device into name; false when there is none. */
static bool swap_is_on(const char *root, char name[128])
{
	char path[PATH_MAX], line[512];
	CLEANUP_FCLOSE FILE *f = NULL;

	snprintf(path, sizeof(path), "%s/proc/swaps", root);
	f = fopen(path, "re");
	if (!f) {
		/* A kernel without swap has no such file. */
		strcpy(name, "(/proc/swaps cannot be read)");
		return errno != ENOENT;
	}
	if (!fgets(line, sizeof(line), f)) /* the heading */
		return false;
	return fscanf(f, "%127s", name) == 1;
}

static bool is_zero(const char *path)
{
	CLEANUP_FCLOSE FILE *f = fopen(path, "re");
	char value[32];

	return f && fscanf(f, "%31s", value) == 1 && strcmp(value, "0") == 0;
}

/* Has the process's control group, or one above it, memory.swap.max = 0? */
static bool group_may_not_swap(const char *root)
{
	static const char *const mounts[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified" };
	char path[PATH_MAX], line[PATH_MAX], group[PATH_MAX] = "";
	CLEANUP_FCLOSE FILE *f = NULL;

	snprintf(path, sizeof(path), "%s/proc/self/cgroup", root);
	f = fopen(path, "re");
	while (f && fgets(line, sizeof(line), f))
		if (strncmp(line, "0::/", 4) == 0)
			snprintf(group, sizeof(group), "%.*s", (int)strcspn(line + 3, "\n"), line + 3);
	for (char *slash; (slash = strrchr(group, '/')); *slash = '\0')
		for (size_t i = 0; i < sizeof(mounts) / sizeof(mounts[0]); i++)
			if (snprintf(path, sizeof(path), "%s%s%s/memory.swap.max", root, mounts[i], group) < (int)sizeof(path) &&
			    is_zero(path))
				return true;
	return false;
}

int noswap_check_below(const char *root, struct errbuf *e)
{
	char name[128];

	if (!swap_is_on(root, name) || group_may_not_swap(root))
		return 0;
	return err_set(e, EPERM, "swap is on here (%s) and keys could be written to it; set MemorySwapMax=0 for the service "
		       "(systemd), start it in a control group with memory.swap.max = 0, or switch swap off", name);
}

int noswap_check(struct errbuf *e)
{
	return noswap_check_below("", e);
}
