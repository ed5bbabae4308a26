/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/meminfo.h"

#include "common/cleanup.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define MEMINFO "/proc/meminfo"
#define MIN_FREE "/proc/sys/vm/min_free_kbytes"

int meminfo_get(const char *key, uint64_t *bytes, struct errbuf *e)
{
	CLEANUP_FCLOSE FILE *in = fopen(MEMINFO, "re");
	size_t n = strlen(key);
	char line[256];

	if (!in)
		return err_errno(e, "cannot open " MEMINFO);
	while (fgets(line, sizeof(line), in)) {
		uint64_t kib;

		if (strncmp(line, key, n) == 0 && line[n] == ':' &&
		    sscanf(line + n + 1, "%" SCNu64, &kib) == 1) {
			*bytes = kib * 1024;
			return 0;
		}
	}
	return err_set(e, ENOENT, MEMINFO " has no line %s", key);
}

int meminfo_min_free(uint64_t *bytes, struct errbuf *e)
{
	CLEANUP_FCLOSE FILE *in = fopen(MIN_FREE, "re");
	uint64_t kib;

	if (!in || fscanf(in, "%" SCNu64, &kib) != 1)
		return err_errno(e, "cannot read " MIN_FREE);
	*bytes = kib * 1024;
	return 0;
}
