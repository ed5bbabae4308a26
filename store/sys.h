/* SPDX-License-Identifier: BSD-3-Clause */
/* Every call that the store makes of the system for a backing file, under the name and with the meaning of the real one, and with the
 * point it is made from in front.  In a normal build they are the real calls and nothing else; compiled with -DNBDSWAP_FAULTS, for the
 * tests alone, they go through store/fault.c, which can make each of them fail.
 *
 * What concerns no backing file (memory, /proc, /sys) is called directly.
 */
#ifndef NBDSWAP_SYS_H
#define NBDSWAP_SYS_H

#include "store/syspoint.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#ifdef NBDSWAP_FAULTS
#include "store/fault.h"
#define SYS_CALL(point, call)                                                  \
	({                                                                     \
		struct fault fault_;                                           \
		__typeof__(call) result_ = 0;                                  \
		if (fault_before((point), &fault_))                            \
			result_ = (call);                                      \
		fault_after(&fault_) ? -1 : result_;                           \
	})
/* A descriptor that was opened before the call "failed" is nobody's. */
#define SYS_CALL_FD(point, call)                                               \
	({                                                                     \
		struct fault fault_;                                           \
		int fd_ = fault_before((point), &fault_) ? (call) : -1;        \
		if (fault_after(&fault_)) {                                    \
			if (fd_ >= 0)                                          \
				close(fd_);                                    \
			errno = fault_.error;                                  \
			fd_ = -1;                                              \
		}                                                              \
		fd_;                                                           \
	})
#else
#define SYS_CALL(point, call) (call)
#define SYS_CALL_FD(point, call) (call)
#endif

static inline ssize_t sys_preadv(enum sys_point point, int fd, const struct iovec *iov, int count, off_t at)
{
#ifdef NBDSWAP_FAULTS
	return fault_preadv(point, fd, iov, count, at);
#else
	return preadv(fd, iov, count, at);
#endif
}

static inline ssize_t sys_pwritev(enum sys_point point, int fd, const struct iovec *iov, int count, off_t at)
{
#ifdef NBDSWAP_FAULTS
	return fault_pwritev(point, fd, iov, count, at);
#else
	return pwritev(fd, iov, count, at);
#endif
}

static inline ssize_t sys_pread(enum sys_point point, int fd, void *buf, size_t n, off_t at)
{
#ifdef NBDSWAP_FAULTS
	struct iovec iov = { .iov_base = buf, .iov_len = n };

	return fault_preadv(point, fd, &iov, 1, at);
#else
	return pread(fd, buf, n, at);
#endif
}

static inline ssize_t sys_pwrite(enum sys_point point, int fd, const void *buf, size_t n, off_t at)
{
#ifdef NBDSWAP_FAULTS
	struct iovec iov = { .iov_base = (void *)(uintptr_t)buf, .iov_len = n };

	return fault_pwritev(point, fd, &iov, 1, at);
#else
	return pwrite(fd, buf, n, at);
#endif
}

static inline int sys_fsync(enum sys_point point, int fd)
{
	return SYS_CALL(point, fsync(fd));
}

static inline int sys_fdatasync(enum sys_point point, int fd)
{
	return SYS_CALL(point, fdatasync(fd));
}

static inline int sys_fallocate(enum sys_point point, int fd, int mode, off_t at, off_t n)
{
	return SYS_CALL(point, fallocate(fd, mode, at, n));
}

static inline int sys_ftruncate(enum sys_point point, int fd, off_t size)
{
	return SYS_CALL(point, ftruncate(fd, size));
}

static inline int sys_open(enum sys_point point, const char *path, int flags, mode_t mode)
{
	return SYS_CALL_FD(point, open(path, flags, mode));
}

static inline int sys_openat2(enum sys_point point, int dirfd, const char *path, struct open_how *how)
{
	return SYS_CALL_FD(point, (int)syscall(SYS_openat2, dirfd, path, how, sizeof(*how)));
}

static inline int sys_unlink(enum sys_point point, const char *path)
{
	return SYS_CALL(point, unlink(path));
}

static inline int sys_fchmod(enum sys_point point, int fd, mode_t mode)
{
	return SYS_CALL(point, fchmod(fd, mode));
}

static inline int sys_fcntl_lock(enum sys_point point, int fd, int command, struct flock *lock)
{
	return SYS_CALL(point, fcntl(fd, command, lock));
}

static inline int sys_fcntl_getfl(enum sys_point point, int fd)
{
	return SYS_CALL(point, fcntl(fd, F_GETFL));
}

static inline int sys_fcntl_setfl(enum sys_point point, int fd, int flags)
{
	return SYS_CALL(point, fcntl(fd, F_SETFL, flags));
}

static inline int sys_fstat(enum sys_point point, int fd, struct stat *st)
{
	return SYS_CALL(point, fstat(fd, st));
}

static inline int sys_lstat(enum sys_point point, const char *path, struct stat *st)
{
	return SYS_CALL(point, lstat(path, st));
}

static inline int sys_statx(enum sys_point point, int dirfd, const char *path, int flags, unsigned mask, struct statx *x)
{
	return SYS_CALL(point, statx(dirfd, path, flags, mask, x));
}

static inline int sys_fstatfs(enum sys_point point, int fd, struct statfs *s)
{
	return SYS_CALL(point, fstatfs(fd, s));
}

static inline int sys_fstatvfs(enum sys_point point, int fd, struct statvfs *s)
{
	return SYS_CALL(point, fstatvfs(fd, s));
}

static inline off_t sys_lseek(enum sys_point point, int fd, off_t at, int whence)
{
	return SYS_CALL(point, lseek(fd, at, whence));
}

static inline int sys_ioctl(enum sys_point point, int fd, unsigned long request, void *arg)
{
	return SYS_CALL(point, ioctl(fd, request, arg));
}

static inline ssize_t sys_fgetxattr(enum sys_point point, int fd, const char *name, void *value, size_t size)
{
	return SYS_CALL(point, fgetxattr(fd, name, value, size));
}

#endif
