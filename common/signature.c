/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/signature.h"

#include <blkid/blkid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void cleanup_probe_(blkid_probe *pr)
{
	if (*pr)
		blkid_free_probe(*pr);
}

static void take(blkid_probe pr, const char *key, char *out, size_t size)
{
	const char *value = NULL;

	if (blkid_probe_lookup_value(pr, key, &value, NULL) == 0 && value)
		snprintf(out, size, "%s", value);
}

static void take_offset(blkid_probe pr, const char *key, struct signature *out)
{
	const char *value = NULL;

	if (blkid_probe_lookup_value(pr, key, &value, NULL) == 0 && value)
		out->offset = strtoull(value, NULL, 10);
}

int signature_probe(int fd, struct signature *out, struct errbuf *e)
{
	__attribute__((cleanup(cleanup_probe_))) blkid_probe pr = blkid_new_probe();
	int rc;

	memset(out, 0, sizeof(*out));
	out->offset = SIGNATURE_NOWHERE;
	if (!pr)
		return err_set(e, ENOMEM, "cannot look for existing content: out of memory");
	if (blkid_probe_set_device(pr, fd, 0, 0) < 0)
		return err_errno(e, "cannot look for existing content");
	blkid_probe_enable_superblocks(pr, 1);
	blkid_probe_set_superblocks_flags(pr, BLKID_SUBLKS_LABEL | BLKID_SUBLKS_UUID | BLKID_SUBLKS_TYPE |
						      BLKID_SUBLKS_USAGE | BLKID_SUBLKS_MAGIC);
	blkid_probe_enable_partitions(pr, 1);
	blkid_probe_set_partitions_flags(pr, BLKID_PARTS_MAGIC);
	errno = 0;
	rc = blkid_do_safeprobe(pr);
	if (rc == 1)
		return 0;
	if (rc == -2) {
		/* Several signatures that contradict each other: which one is in use cannot be told. */
		snprintf(out->type, sizeof(out->type), "ambivalent");
		snprintf(out->usage, sizeof(out->usage), "other");
		return 1;
	}
	if (rc < 0) {
		if (!errno)
			errno = EIO;
		return err_errno(e, "cannot read the existing content");
	}
	take(pr, "TYPE", out->type, sizeof(out->type));
	take(pr, "USAGE", out->usage, sizeof(out->usage));
	take(pr, "LABEL", out->label, sizeof(out->label));
	take(pr, "UUID", out->uuid, sizeof(out->uuid));
	take_offset(pr, "SBMAGIC_OFFSET", out);
	if (!out->type[0]) {
		take_offset(pr, "PTMAGIC_OFFSET", out);
		take(pr, "PTTYPE", out->type, sizeof(out->type));
		take(pr, "PTUUID", out->uuid, sizeof(out->uuid));
		snprintf(out->usage, sizeof(out->usage), "partitions");
	}
	return out->type[0] ? 1 : 0;
}

bool signature_is_swap(const struct signature *s)
{
	return strcmp(s->type, "swap") == 0;
}
