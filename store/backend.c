/* SPDX-License-Identifier: BSD-3-Clause */
/* Finding the backend.  statfs tells the family; the mount table tells the version, the options and
 * the name of what is refused.  The mount is found by the descriptor's mount id and not by device number, which on btrfs
 * is that of the subvolume and stands in no mount table.
 */
#include "config.h"

#include "store/backend.h"

#include "common/cleanup.h"
#include "store/page.h"
#include "store/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#ifndef SMB2_MAGIC_NUMBER
#define SMB2_MAGIC_NUMBER 0xfe534d42
#endif
#ifndef CIFS_MAGIC_NUMBER
#define CIFS_MAGIC_NUMBER 0xff534d42
#endif

struct mount_entry {
	char point[256], type[64], source[256], options[1024];
	bool cut; /* the options did not fit: one that matters could be missing */
};

/* The kernel writes blank, tab, newline and backslash as \ooo. */
static void unescape(char *s)
{
	char *w = s;

	while (*s) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] && s[3]) {
			*w++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 4;
		} else {
			*w++ = *s++;
		}
	}
	*w = '\0';
}

static int mount_id_of(int fd, int *id)
{
	char path[64];
	CLEANUP_FCLOSE FILE *f = NULL;
	CLEANUP_FREE char *line = NULL;
	size_t cap = 0;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = fopen(path, "re");
	if (!f)
		return -1;
	while (getline(&line, &cap, f) > 0)
		if (sscanf(line, "mnt_id: %d", id) == 1)
			return 0;
	errno = ENODATA;
	return -1;
}

/* Splits at blanks; each field stays in line. */
static char *field(char **p)
{
	return strsep(p, " \n");
}

static int mount_parse(char *line, struct mount_entry *m)
{
	char *p = line, *point, *options, *type, *source, *super, *f;

	for (int i = 0; i < 4; i++) /* id, parent, device, root */
		if (!field(&p))
			return -1;
	point = field(&p);
	options = field(&p);
	do
		f = field(&p); /* optional fields end with a lone "-" */
	while (f && strcmp(f, "-") != 0);
	type = field(&p);
	source = field(&p);
	super = field(&p);
	if (!super)
		return -1;
	unescape(point);
	unescape(source);
	snprintf(m->point, sizeof(m->point), "%s", point);
	snprintf(m->type, sizeof(m->type), "%s", type);
	snprintf(m->source, sizeof(m->source), "%s", source);
	m->cut = snprintf(m->options, sizeof(m->options), "%s,%s", options, super) >= (int)sizeof(m->options);
	return 0;
}

static int mount_find(int fd, struct mount_entry *m)
{
	CLEANUP_FCLOSE FILE *f = NULL;
	CLEANUP_FREE char *line = NULL;
	size_t cap = 0;
	int id;

	if (mount_id_of(fd, &id) < 0)
		return -1;
	f = fopen("/proc/self/mountinfo", "re");
	if (!f)
		return -1;
	errno = 0;
	while (getline(&line, &cap, f) > 0)
		if (atoi(line) == id)
			return mount_parse(line, m);
	if (!errno)
		errno = ENODATA;
	return -1;
}

bool backend_option(const struct backend *b, const char *opt, const char **value)
{
	size_t n = strlen(opt);
	bool prefix = n > 0 && opt[n - 1] == '=';

	for (const char *p = b->mount_options; p && *p; p = strchr(p, ',')) {
		if (*p == ',')
			p++;
		if (strncmp(p, opt, n) == 0 && (prefix || p[n] == ',' || p[n] == '\0')) {
			if (value)
				*value = p + n;
			return true;
		}
	}
	return false;
}

/* "nfs" and the version from the options: "nfs4.2". */
static void name_with_version(struct backend *b, const char *family)
{
	const char *v = "";
	int n = 0;

	if (backend_option(b, "vers=", &v))
		n = (int)strcspn(v, ",");
	snprintf(b->name, sizeof(b->name), "%s%.*s", family, n, v);
}

/* Which of those that are served has this number and this name: ext2 and ext3 have the number of ext4, ramfs-like ones that of tmpfs. */
static int kind_of(uint32_t magic, const char *type, enum backend_kind *kind)
{
	static const struct {
		uint32_t magic;
		const char *type; /* NULL: any */
		enum backend_kind kind;
	} served[] = {
		{ NFS_SUPER_MAGIC, NULL, BACKEND_NFS },	      { SMB2_MAGIC_NUMBER, NULL, BACKEND_SMB },
		{ CIFS_MAGIC_NUMBER, NULL, BACKEND_SMB },     { EXT4_SUPER_MAGIC, "ext4", BACKEND_EXT4 },
		{ XFS_SUPER_MAGIC, NULL, BACKEND_XFS },	      { BTRFS_SUPER_MAGIC, NULL, BACKEND_BTRFS },
		{ TMPFS_MAGIC, "tmpfs", BACKEND_TMPFS },
	};

	for (size_t i = 0; i < sizeof(served) / sizeof(served[0]); i++)
		if (served[i].magic == magic && (!served[i].type || strcmp(served[i].type, type) == 0)) {
			*kind = served[i].kind;
			return 0;
		}
	return -1;
}

int backend_find(int fd, const char *path, struct backend *out, struct errbuf *e)
{
	struct mount_entry m;
	struct statfs sfs;
	struct stat st;

	memset(out, 0, sizeof(*out));
	if (sys_fstat(POINT_STAT, fd, &st) < 0 || sys_fstatfs(POINT_STAT, fd, &sfs) < 0)
		return err_errno(e, "%s: cannot find out what file system it is on", path);
	if (S_ISBLK(st.st_mode)) {
		out->kind = BACKEND_BLOCKDEV;
		snprintf(out->name, sizeof(out->name), "blockdev");
		return 0;
	}
	if (mount_find(fd, &m) < 0)
		return err_errno(e, "%s: cannot find its mount in /proc/self/mountinfo", path);
	snprintf(out->mount_point, sizeof(out->mount_point), "%s", m.point);
	snprintf(out->mount_source, sizeof(out->mount_source), "%s", m.source);
	snprintf(out->mount_options, sizeof(out->mount_options), "%s", m.options);
	snprintf(out->name, sizeof(out->name), "%.*s", (int)sizeof(out->name) - 1, m.type);

	if (kind_of((uint32_t)sfs.f_type, m.type, &out->kind) < 0)
		return err_set(e, ENOTSUP,
			       "%s: is on %s (mounted on %s), which nbdswap does not know to be safe for swap; put the file on "
			       "NFS, SMB, ext4, xfs, btrfs or give a block device",
			       path, m.type, m.point);
	if (m.cut)
		return err_set(e, EOVERFLOW, "%s: the mount options of %s are too long to be checked; mount it with fewer", path, m.point);
	if (out->kind == BACKEND_NFS)
		name_with_version(out, "nfs");
	else if (out->kind == BACKEND_SMB)
		name_with_version(out, "smb");
	return 0;
}

bool backend_tells_allocation(const struct backend *b)
{
	return b->kind != BACKEND_SMB && b->kind != BACKEND_BLOCKDEV;
}

int backend_kind_of(const char *name, enum backend_kind *kind)
{
	static const struct {
		const char *name;
		bool version; /* follows it */
		enum backend_kind kind;
	} names[] = {
		{ "nfs", true, BACKEND_NFS },	   { "smb", true, BACKEND_SMB },	   { "ext4", false, BACKEND_EXT4 },
		{ "xfs", false, BACKEND_XFS },	   { "btrfs", false, BACKEND_BTRFS }, { "blockdev", false, BACKEND_BLOCKDEV },
		{ "tmpfs", false, BACKEND_TMPFS },
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		size_t n = strlen(names[i].name);

		if (strncmp(name, names[i].name, n) == 0 && (name[n] == '\0' || names[i].version)) {
			*kind = names[i].kind;
			return 0;
		}
	}
	return -1;
}
