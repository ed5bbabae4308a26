/* SPDX-License-Identifier: BSD-3-Clause */
/* The activation checks.  Each looks at one thing and adds its findings to the report; none changes anything.
 * swap_activate, `nbdswapctl check` and the periodic re-check run the same functions.
 */
#ifndef NBDSWAP_CHECKS_H
#define NBDSWAP_CHECKS_H

#include "store/backend.h"
#include "store/report.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct check_target {
	int fd;
	const char *path; /* as people know it, for remedies */
	const struct backend *backend;
	struct stat st;
	uint64_t size; /* of the file, or of the block device */
};

/* Does this errno value say that the file system has no such thing?  Any other says that it could not be asked, which is no good sign. */
bool check_has_none(int error);

/* What can be known before a byte is allocated. */
void check_mount(const struct check_target *t, struct report *r);  /* ro, soft, cached, local locks, data=journal */
void check_owner(const struct check_target *t, struct report *r);  /* mode, owner, links */
void check_flags(const struct check_target *t, struct report *r);  /* NOCOW, compression, encryption, immutable ... */
void check_device(const struct check_target *t, struct report *r); /* zoned, read-only, sector size */

/* Space: every byte has a block of its own. */
void check_holes(const struct check_target *t, struct report *r);   /* SEEK_HOLE and st_blocks */
void check_extents(const struct check_target *t, struct report *r); /* FIEMAP */

#endif
