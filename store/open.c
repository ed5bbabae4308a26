/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/open.h"

#include "common/cleanup.h"
#include "store/page.h"
#include "store/sys.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Only to look (O_PATH): a FIFO does not block and a device is not touched. */
static int look_at(int dirfd, const char *path)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};

	if (dirfd == AT_FDCWD)
		return sys_open(POINT_OPEN_LOOK, path, O_PATH | O_CLOEXEC, 0);
	return sys_openat2(POINT_OPEN_LOOK, dirfd, path, &how);
}

/* A second open of the very inode that was looked at, not of the name, which could have changed. */
static int reopen(int fd, int flags)
{
	char self[64];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fd);
	return sys_open(POINT_OPEN, self, flags | O_CLOEXEC, 0);
}

static int open_failed(const char *path, struct errbuf *e)
{
	if (errno == ELOOP || errno == EXDEV)
		return err_set(e, errno, "%s: is a symbolic link or leaves the directory; links are not followed here", path);
	return err_errno(e, "%s: cannot open it", path);
}

/* Refused for writing: why, where the system's word is too short to help. */
static int reopen_failed(int fd, const char *path, struct errbuf *e)
{
	int code = errno;
	struct statx x;

	if (code == EBUSY)
		return err_set(e, EBUSY, "%s: the device is mounted or otherwise in use on this machine", path);
	if (code == EROFS)
		return err_set(e, EROFS, "%s: is on a read-only mount or device; remount it read-write", path);
	if (code == EPERM && sys_statx(POINT_STAT, fd, "", AT_EMPTY_PATH, STATX_BASIC_STATS, &x) == 0) {
		if (x.stx_attributes & STATX_ATTR_IMMUTABLE)
			return err_set(e, EPERM, "%s: is immutable; run `chattr -i` on it", path);
		if (x.stx_attributes & STATX_ATTR_APPEND)
			return err_set(e, EPERM, "%s: can only be appended to; run `chattr -a` on it", path);
	}
	errno = code;
	return open_failed(path, e);
}

static int device_size(struct opened *out, const char *path, struct errbuf *e)
{
	uint64_t bytes;

	if (sys_ioctl(POINT_DEVICE, out->fd, BLKGETSIZE64, &bytes) < 0)
		return err_errno(e, "%s: cannot find the size of the device", path);
	out->size = bytes / PAGE_BYTES * PAGE_BYTES;
	return 0;
}

int open_backing(int dirfd, const char *path, bool writing, struct opened *out, struct errbuf *e)
{
	CLEANUP_CLOSE int fd = -1;
	int access = writing ? O_RDWR : O_RDONLY, flags;
	char self[64];
	ssize_t n;

	memset(out, 0, sizeof(*out));
	out->fd = -1;
	out->direct = true;
	/* What it is decides how it is opened. */
	fd = look_at(dirfd, path);
	if (fd < 0)
		return open_failed(path, e);
	if (sys_fstat(POINT_STAT, fd, &out->st) < 0)
		return err_errno(e, "%s: cannot look at it", path);
	if (!S_ISREG(out->st.st_mode) && !S_ISBLK(out->st.st_mode))
		return err_set(e, EINVAL, "%s: is neither a regular file nor a block device; give one of these", path);
	flags = access | (S_ISBLK(out->st.st_mode) && writing ? O_EXCL : 0);
	out->fd = reopen(fd, flags | O_DIRECT);
	if (out->fd < 0 && errno == EINVAL) {
		out->direct = false;
		out->fd = reopen(fd, flags);
	}
	if (out->fd < 0)
		return reopen_failed(fd, path, e);
	/* A read is to change nothing, not even the time of access; only an owner may ask for that. */
	flags = sys_fcntl_getfl(POINT_OPEN_FLAGS, out->fd);
	if (flags >= 0 && sys_fcntl_setfl(POINT_OPEN_FLAGS, out->fd, flags | O_NOATIME) < 0 && errno != EPERM) {
		err_errno(e, "%s: cannot set its open flags", path);
		close(steal_fd(&out->fd));
		return -1;
	}
	snprintf(self, sizeof(self), "/proc/self/fd/%d", out->fd);
	n = readlink(self, out->path, sizeof(out->path) - 1);
	if (n < 0) {
		err_errno(e, "%s: cannot look at it", path);
		close(steal_fd(&out->fd));
		return -1;
	}
	out->path[n] = '\0';
	out->size = (uint64_t)out->st.st_size;
	if (S_ISBLK(out->st.st_mode) && device_size(out, path, e) < 0) {
		close(steal_fd(&out->fd));
		return -1;
	}
	return 0;
}

int reopen_buffered(int fd)
{
	return reopen(fd, O_RDONLY);
}

int reopen_same(int fd)
{
	int flags = sys_fcntl_getfl(POINT_OPEN_FLAGS, fd);

	return flags < 0 ? -1 : reopen(fd, flags);
}

int create_backing(const char *path, struct errbuf *e)
{
	CLEANUP_CLOSE int fd = sys_open(POINT_CREATE, path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return err_errno(e, "%s: cannot create it", path);
	if (sys_fchmod(POINT_CREATE, fd, 0600) < 0) {
		err_errno(e, "%s: cannot set its mode to 0600", path);
		sys_unlink(POINT_REMOVE, path);
		return -1;
	}
	return 0;
}
