/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/lock.h"

#include "store/page.h"
#include "store/sys.h"
#include "store/trailer.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

int lock_take(int fd, uint64_t length)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = (off_t)length };

	while (sys_fcntl_lock(POINT_LOCK_TAKE, fd, F_OFD_SETLK, &fl) < 0) {
		if (errno == EINTR)
			continue;
		if (errno == EAGAIN || errno == EACCES)
			errno = EBUSY;
		return -1;
	}
	return 0;
}

uint64_t lock_range(uint64_t file_size)
{
	const uint64_t headers = TRAILER_SLOTS * PAGE_BYTES;

	return file_size > 2 * headers ? file_size - headers : 1;
}

void lock_release(int fd)
{
	struct flock fl = { .l_type = F_UNLCK, .l_whence = SEEK_SET };

	while (sys_fcntl_lock(POINT_LOCK_GIVE, fd, F_OFD_SETLK, &fl) < 0 && errno == EINTR)
		;
}

#define PRESENCE_BYTE (INT64_MAX - 1)

static struct flock presence(short type)
{
	return (struct flock){ .l_type = type, .l_whence = SEEK_SET, .l_start = PRESENCE_BYTE, .l_len = 1 };
}

static int lock_presence_byte(enum sys_point point, int fd, int command, short type)
{
	struct flock fl = presence(type);
	int r;

	do
		r = sys_fcntl_lock(point, fd, command, &fl);
	while (r < 0 && errno == EINTR);
	return r;
}

int lock_presence(int fd)
{
	return lock_presence_byte(POINT_LOCK_TAKE, fd, F_OFD_SETLK, F_RDLCK);
}

int lock_is_present(int fd)
{
	struct flock fl = presence(F_WRLCK);

	if (sys_fcntl_lock(POINT_LOCK_LOOK, fd, F_OFD_GETLK, &fl) < 0)
		return -1;
	return fl.l_type != F_UNLCK;
}

int lock_await_absence(int fd)
{
	if (lock_presence_byte(POINT_BARRIER, fd, F_OFD_SETLKW, F_WRLCK) < 0)
		return -1;
	return lock_presence_byte(POINT_LOCK_GIVE, fd, F_OFD_SETLK, F_UNLCK);
}

void lock_end_awaiting(int fd)
{
	lock_presence_byte(POINT_LOCK_GIVE, fd, F_OFD_SETLK, F_UNLCK);
}

int lock_held(int fd)
{
	struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 1 };

	if (sys_fcntl_lock(POINT_LOCK_LOOK, fd, F_OFD_GETLK, &fl) < 0)
		return -1;
	return fl.l_type != F_UNLCK;
}
