/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of the space: holes, blocks, extents. */
#include "config.h"

#include "store/checks.h"

#include "common/cleanup.h"
#include "common/size.h"
#include "store/page.h"
#include "store/sys.h"

#include <errno.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define REWRITE_REMEDY "run `nbdswapctl activate --rewrite` on it to write every page (its content will be lost)"

static void cannot_seek(const struct check_target *t, struct report *r)
{
	report_add(r, VERDICT_FAIL, "seek", "%s: cannot be looked through for holes: %s; see to the storage and try again", t->path,
		   strerror(errno));
}

/* On NFS an unwritten extent is told as a hole, which is what we want to know. */
static void check_seek(const struct check_target *t, struct report *r)
{
	char where[SIZE_TEXT];
	off_t at = 0, first = -1;
	unsigned count = 0;

	while (at < (off_t)t->size) {
		off_t hole = sys_lseek(POINT_SEEK, t->fd, at, SEEK_HOLE);

		if (hole < 0) {
			if (check_has_none(errno))
				report_add(r, VERDICT_SKIP, "holes", "%s does not tell where a file has holes", t->backend->name);
			else
				cannot_seek(t, r);
			return;
		}
		if (hole >= (off_t)t->size)
			break;
		if (count++ == 0)
			first = hole;
		at = sys_lseek(POINT_SEEK, t->fd, hole, SEEK_DATA);
		if (at < 0 && errno != ENXIO) {
			cannot_seek(t, r);
			return;
		}
		if (at < 0)
			break; /* a hole up to the end */
	}
	if (count)
		report_add(r, VERDICT_FAIL, "holes", "%s: has %u hole%s, first at %s; " REWRITE_REMEDY, t->path, count,
			   count > 1 ? "s" : "", size_format((uint64_t)first, where));
	else
		report_add(r, VERDICT_OK, "holes", "no holes");
}

void check_holes(const struct check_target *t, struct report *r)
{
	char have[SIZE_TEXT], want[SIZE_TEXT];
	uint64_t allocated = (uint64_t)t->st.st_blocks * 512;

	if (!backend_tells_allocation(t->backend)) {
		report_add(r, VERDICT_SKIP, "holes", "%s does not tell where a file has space: the trailer's stamp is the proof",
			   t->backend->name);
		return;
	}
	check_seek(t, r);
	if (allocated < t->size)
		report_add(r, VERDICT_FAIL, "blocks", "%s: occupies %s of its %s; " REWRITE_REMEDY, t->path,
			   size_format(allocated, have), size_format(t->size, want));
	else
		report_add(r, VERDICT_OK, "blocks", "%s allocated", size_format(allocated, have));
}

static const struct extent_kind {
	uint32_t flags;
	const char *item, *what, *remedy;
} extent_kinds[] = {
	{ FIEMAP_EXTENT_UNWRITTEN, "unwritten", "allocated but never written", REWRITE_REMEDY },
	{ FIEMAP_EXTENT_SHARED, "shared", "shared with another file or a snapshot (copied at the next write)",
	  REWRITE_REMEDY " and keep it out of reflinks and snapshots" },
	{ FIEMAP_EXTENT_DATA_INLINE | FIEMAP_EXTENT_DATA_TAIL, "inline", "kept inside metadata", REWRITE_REMEDY },
	{ FIEMAP_EXTENT_DATA_ENCRYPTED, "encrypted-extents", "encrypted by the file system",
	  "put it in a directory without encryption" },
	{ FIEMAP_EXTENT_ENCODED, "encoded", "compressed or encoded", "make a new file, on btrfs with `chattr +C`" },
	{ FIEMAP_EXTENT_DELALLOC, "delalloc", "not allocated yet (delayed)", "run `sync` on it, then try again" },
	{ FIEMAP_EXTENT_UNKNOWN, "unknown-extents", "at an unknown place", REWRITE_REMEDY },
};
#define EXTENT_KINDS (sizeof(extent_kinds) / sizeof(extent_kinds[0]))

struct extent_sum {
	uint64_t first[EXTENT_KINDS];
	unsigned count[EXTENT_KINDS];
	uint64_t covered; /* end of the contiguous cover from 0 */
	unsigned extents;
};

/* DELALLOC comes with UNKNOWN and ENCRYPTED with ENCODED: each extent is counted once, as the first kind that fits. */
static void extent_count(struct extent_sum *sum, const struct fiemap_extent *x)
{
	static const unsigned order[EXTENT_KINDS] = { 5, 3, 4, 0, 1, 2, 6 };

	sum->extents++;
	if (x->fe_logical <= sum->covered && x->fe_logical + x->fe_length > sum->covered)
		sum->covered = x->fe_logical + x->fe_length;
	for (size_t i = 0; i < EXTENT_KINDS; i++) {
		unsigned k = order[i];

		if (!(x->fe_flags & extent_kinds[k].flags))
			continue;
		if (sum->count[k]++ == 0)
			sum->first[k] = x->fe_logical;
		return;
	}
}

static int extents_walk(const struct check_target *t, struct extent_sum *sum)
{
	enum { BATCH = 256 };
	CLEANUP_FREE struct fiemap *map = calloc(1, sizeof(*map) + BATCH * sizeof(struct fiemap_extent));
	uint64_t at = 0;

	if (!map)
		return -1;
	while (at < t->size) {
		map->fm_start = at;
		map->fm_length = t->size - at;
		map->fm_flags = 0; /* not FIEMAP_FLAG_SYNC: a check touches nothing */
		map->fm_extent_count = BATCH;
		if (sys_ioctl(POINT_EXTENTS, t->fd, FS_IOC_FIEMAP, map) < 0)
			return -1;
		if (map->fm_mapped_extents == 0)
			return 0;
		for (uint32_t i = 0; i < map->fm_mapped_extents; i++) {
			const struct fiemap_extent *x = &map->fm_extents[i];

			extent_count(sum, x);
			at = x->fe_logical + x->fe_length;
			if (x->fe_flags & FIEMAP_EXTENT_LAST)
				return 0;
		}
	}
	return 0;
}

void check_extents(const struct check_target *t, struct report *r)
{
	struct extent_sum sum = { .covered = 0 };
	char where[SIZE_TEXT];
	bool bad = false;

	if (t->backend->kind == BACKEND_BLOCKDEV)
		return;
	/* SMB forwards the request but its answer is made up from the size. */
	if (t->backend->kind == BACKEND_SMB) {
		report_add(r, VERDICT_SKIP, "extents", "%s does not tell a file's extents", t->backend->name);
		return;
	}
	if (extents_walk(t, &sum) < 0) {
		bool never = t->backend->kind == BACKEND_NFS || t->backend->kind == BACKEND_TMPFS;

		report_add(r, never ? VERDICT_SKIP : VERDICT_FAIL, "extents", "%s: extents cannot be read on %s: %s", t->path,
			   t->backend->name, strerror(errno));
		return;
	}
	for (size_t k = 0; k < EXTENT_KINDS; k++) {
		if (!sum.count[k])
			continue;
		bad = true;
		report_add(r, VERDICT_FAIL, extent_kinds[k].item, "%s: has %u extent%s %s, first at %s; %s", t->path,
			   sum.count[k], sum.count[k] > 1 ? "s" : "", extent_kinds[k].what,
			   size_format(sum.first[k], where), extent_kinds[k].remedy);
	}
	if (sum.covered < t->size) {
		bad = true;
		report_add(r, VERDICT_FAIL, "extents", "%s: no extent at %s; " REWRITE_REMEDY, t->path,
			   size_format(sum.covered, where));
	}
	if (!bad)
		report_add(r, VERDICT_OK, "extents", "%u extent%s, all written and unshared", sum.extents,
			   sum.extents == 1 ? "" : "s");
}
