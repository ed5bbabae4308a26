/* SPDX-License-Identifier: BSD-3-Clause */
/* Checks of the place: mount options, owner and mode, inode flags, block device. */
#include "config.h"

#include "store/checks.h"

#include "common/cleanup.h"
#include "store/page.h"
#include "store/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static bool option_is(const struct backend *b, const char *key, const char *want)
{
	const char *v;

	return backend_option(b, key, &v) && strncmp(v, want, strlen(want)) == 0 &&
	       (v[strlen(want)] == ',' || v[strlen(want)] == '\0');
}

static void check_mount_network(const struct check_target *t, struct report *r)
{
	const struct backend *b = t->backend;
	bool nfs = b->kind == BACKEND_NFS;

	/* A soft mount turns a server's restart into EIO after seconds, and a swap read answered with EIO kills its process. */
	if (backend_option(b, "soft", NULL) || backend_option(b, "softerr", NULL))
		report_add(r, VERDICT_FAIL, "mount-soft",
			   "%s: the %s mount %s is soft: a restart of the storage server would become I/O errors; "
			   "mount it with the option `hard`", t->path, b->name, b->mount_point);
	else
		report_add(r, VERDICT_OK, "mount-soft", "%s is a hard mount", b->mount_point);

	if (nfs ? backend_option(b, "nolock", NULL) || option_is(b, "local_lock=", "all") ||
			  option_is(b, "local_lock=", "posix")
		: backend_option(b, "nobrl", NULL))
		report_add(r, VERDICT_FAIL, "mount-locks",
			   "%s: locks on %s stay on this machine, another could activate the same file; mount it without `%s`",
			   t->path, b->mount_point, nfs ? "nolock and local_lock" : "nobrl");
	else
		report_add(r, VERDICT_OK, "mount-locks", "locks on %s reach the server", b->mount_point);

	if (!nfs && !option_is(b, "cache=", "none"))
		report_add(r, VERDICT_WARN, "mount-cache",
			   "%s: %s is mounted with a client cache, which can stall under memory pressure; mount it with the "
			   "option `cache=none`", t->path, b->mount_point);
}

void check_mount(const struct check_target *t, struct report *r)
{
	const struct backend *b = t->backend;

	if (b->kind == BACKEND_BLOCKDEV)
		return;
	if (backend_option(b, "ro", NULL))
		report_add(r, VERDICT_FAIL, "mount-ro", "%s: %s is mounted read-only; remount it read-write", t->path,
			   b->mount_point);
	else
		report_add(r, VERDICT_OK, "mount-ro", "%s is mounted read-write", b->mount_point);
	switch (b->kind) {
	case BACKEND_NFS:
	case BACKEND_SMB:
		check_mount_network(t, r);
		break;
	case BACKEND_EXT4:
		if (backend_option(b, "data=journal", NULL))
			report_add(r, VERDICT_FAIL, "mount-journal",
				   "%s: %s is mounted with data=journal, where direct I/O is not direct; mount it with "
				   "data=ordered", t->path, b->mount_point);
		break;
	case BACKEND_TMPFS:
		report_add(r, VERDICT_WARN, "backend",
			   "%s: is on tmpfs, which keeps it in memory or swap: for tests only", t->path);
		break;
	case BACKEND_XFS:
	case BACKEND_BTRFS:
	case BACKEND_BLOCKDEV:
		break;
	}
}

void check_owner(const struct check_target *t, struct report *r)
{
	unsigned mode = t->st.st_mode & 07777;

	if (t->backend->kind == BACKEND_BLOCKDEV)
		return;
	/* SMB shows modes of the mount's choosing; the server's access rules are what counts and cannot be seen. */
	if (mode & 077)
		report_add(r, t->backend->kind != BACKEND_SMB && mode & 022 ? VERDICT_FAIL : VERDICT_WARN, "mode",
			   "%s: mode %04o lets others read or write swapped memory; %s", t->path, mode,
			   t->backend->kind == BACKEND_SMB ? "mount with file_mode=0600" : "chmod 0600 it");
	else
		report_add(r, VERDICT_OK, "mode", "mode %04o", mode);
	if (t->st.st_uid != 0 && t->st.st_uid != geteuid())
		report_add(r, VERDICT_WARN, "owner", "%s: belongs to uid %u, who can read and change swapped memory; "
			   "chown it to root", t->path, (unsigned)t->st.st_uid);
	else
		report_add(r, VERDICT_OK, "owner", "owner uid %u", (unsigned)t->st.st_uid);
	if (t->st.st_nlink == 0)
		report_add(r, VERDICT_FAIL, "links", "%s: has been removed", t->path);
	else if (t->st.st_nlink > 1)
		report_add(r, VERDICT_WARN, "links", "%s: has %u hard links; another name could be used to change it",
			   t->path, (unsigned)t->st.st_nlink);
}

bool check_has_none(int error)
{
	return error == ENOTTY || error == EOPNOTSUPP || error == EINVAL || error == ENOSYS;
}

void check_flags(const struct check_target *t, struct report *r)
{
	static const struct {
		unsigned long flag;
		const char *item, *what, *remedy;
	} bad[] = {
		{ FS_COMPR_FL, "compressed", "is compressed (chattr +c)",
		  "make a new file in a directory with `chattr +C` and without +c" },
		{ FS_ENCRYPT_FL, "encrypted", "is encrypted by its file system", "put it in a directory without a policy" },
		{ FS_VERITY_FL, "verity", "is sealed by fs-verity", "make a new file" },
		{ FS_IMMUTABLE_FL, "immutable", "is immutable", "run `chattr -i` on it" },
		{ FS_APPEND_FL, "append-only", "can only be appended to", "run `chattr -a` on it" },
		{ FS_JOURNAL_DATA_FL, "journal-data", "journals its data, so direct I/O is not direct",
		  "run `chattr -j` on it" },
		{ FS_INLINE_DATA_FL, "inline-flag", "keeps its data in the inode", "rewrite it with `nbdswapctl activate`" },
	};
	int flags = 0;
	bool found = false;
	char compression[32];
	ssize_t n;

	if (t->backend->kind == BACKEND_BLOCKDEV || t->backend->kind == BACKEND_NFS)
		return;
	if (sys_ioctl(POINT_FLAGS, t->fd, FS_IOC_GETFLAGS, &flags) < 0) {
		if (check_has_none(errno))
			report_add(r, VERDICT_SKIP, "flags", "%s has no inode flags", t->backend->name);
		else
			report_add(r, VERDICT_FAIL, "flags", "%s: its inode flags cannot be read: %s; see to the storage and try "
				   "again", t->path, strerror(errno));
		return;
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (!((unsigned long)flags & bad[i].flag))
			continue;
		report_add(r, VERDICT_FAIL, bad[i].item, "%s: %s; %s", t->path, bad[i].what, bad[i].remedy);
		found = true;
	}
	n = sys_fgetxattr(POINT_FLAGS, t->fd, "btrfs.compression", compression, sizeof(compression) - 1);
	if (n < 0 && errno != ENODATA && !check_has_none(errno)) {
		report_add(r, VERDICT_FAIL, "flags", "%s: whether it is compressed cannot be read: %s; see to the storage and try again",
			   t->path, strerror(errno));
		found = true;
	}
	if (n > 0 && !(n == 4 && memcmp(compression, "none", 4) == 0)) {
		report_add(r, VERDICT_FAIL, "compressed", "%s: has the property btrfs.compression=%.*s; make a new file "
			   "in a directory with `chattr +C`", t->path, (int)n, compression);
		found = true;
	}
	if (t->backend->kind == BACKEND_BTRFS && !(flags & FS_NOCOW_FL)) {
		report_add(r, VERDICT_FAIL, "nocow",
			   "%s: is copy-on-write, so every write would allocate; remove it and let nbdswapctl make it (NOCOW "
			   "can be set on an empty file only)", t->path);
		found = true;
	}
	if (!found)
		report_add(r, VERDICT_OK, "flags", "inode flags 0x%x have nothing that allocates or transforms", flags);
}

static void sysfs_word(const struct check_target *t, const char *name, char out[32])
{
	char path[128];
	CLEANUP_FCLOSE FILE *f = NULL;

	out[0] = '\0';
	/* A partition's queue is that of its disk, one directory up. */
	for (int up = 0; up < 2 && !f; up++) {
		snprintf(path, sizeof(path), "/sys/dev/block/%u:%u/%squeue/%s", major(t->st.st_rdev),
			 minor(t->st.st_rdev), up ? "../" : "", name);
		f = fopen(path, "re");
	}
	if (f && fgets(out, 32, f))
		out[strcspn(out, "\n")] = '\0';
}

void check_device(const struct check_target *t, struct report *r)
{
	char zoned[32];
	int ro = 0, sector = 0;

	if (t->backend->kind != BACKEND_BLOCKDEV)
		return;
	sysfs_word(t, "zoned", zoned);
	if (zoned[0] && strcmp(zoned, "none") != 0)
		report_add(r, VERDICT_FAIL, "zoned",
			   "%s: is a zoned block device (%s), which cannot be overwritten in place; use another device",
			   t->path, zoned);
	else
		report_add(r, VERDICT_OK, "zoned", "not a zoned device");
	if (sys_ioctl(POINT_DEVICE, t->fd, BLKROGET, &ro) == 0 && ro)
		report_add(r, VERDICT_FAIL, "device-ro", "%s: the device is read-only; run `blockdev --setrw` on it",
			   t->path);
	if (sys_ioctl(POINT_DEVICE, t->fd, BLKSSZGET, &sector) == 0 && (sector <= 0 || PAGE_BYTES % (unsigned)sector))
		report_add(r, VERDICT_FAIL, "sectors", "%s: has sectors of %d bytes, a page is 4096; use another device",
			   t->path, sector);
	report_add(r, VERDICT_WARN, "lock-device",
		   "%s: a lock on a block device holds on this machine only; no other machine may use the same device",
		   t->path);
}
