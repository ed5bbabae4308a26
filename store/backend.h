/* SPDX-License-Identifier: BSD-3-Clause */
/* What holds a backing file: found by statfs and the mount table, refused by name when unknown. */
#ifndef NBDSWAP_BACKEND_H
#define NBDSWAP_BACKEND_H

#include "common/errbuf.h"

#include <stdbool.h>

enum backend_kind {
	BACKEND_NFS,
	BACKEND_SMB,
	BACKEND_EXT4,
	BACKEND_XFS,
	BACKEND_BTRFS,
	BACKEND_BLOCKDEV,
	BACKEND_TMPFS, /* for tests */
};

struct backend {
	enum backend_kind kind;
	char name[24];		 /* for people and JSON: "nfs4.2", "smb3.1.1", "ext4", "blockdev" ... */
	char mount_point[256];	 /* "" for a block device */
	char mount_source[256];	 /* "server:/export", "//server/share", "/dev/vda1" */
	char mount_options[1024]; /* per-mount and per-superblock options, comma separated */
};

/* Finds the backend of the open descriptor fd; path is used in messages only.
 * Returns 0; -1 with *e filled when the file system is not one that can be trusted with swap (named in the
 * message) or when it cannot be found out.
 */
int backend_find(int fd, const char *path, struct backend *out, struct errbuf *e);

/* The kind from a name that backend_find() gave, here or in another process.  0, or -1 when it is none. */
int backend_kind_of(const char *name, enum backend_kind *kind);

/* Is opt ("ro", "soft", or a prefix ending in '=' such as "vers=") among the mount options?  With a prefix, *value (if not NULL)
 * is set to point at the text behind it, which ends at ',' or at the end.
 */
bool backend_option(const struct backend *b, const char *opt, const char **value);

/* Does the file system tell where a file has no space of its own (holes)?  On SMB it does not. */
bool backend_tells_allocation(const struct backend *b);

#endif
