/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/fullio.h"

#include "store/sys.h"

#include <errno.h>
#include <unistd.h>

int full_pread(enum sys_point point, int fd, void *buf, size_t n, off_t offset)
{
	char *p = buf;

	while (n > 0) {
		ssize_t r = sys_pread(point, fd, p, n, offset);

		if (r < 0 && errno == EINTR)
			continue;
		if (r == 0)
			errno = EIO;
		if (r <= 0)
			return -1;
		p += r;
		offset += r;
		n -= (size_t)r;
	}
	return 0;
}

int full_pwrite(enum sys_point point, int fd, const void *buf, size_t n, off_t offset)
{
	const char *p = buf;

	while (n > 0) {
		ssize_t r = sys_pwrite(point, fd, p, n, offset);

		if (r < 0 && errno == EINTR)
			continue;
		if (r == 0)
			errno = ENOSPC;
		if (r <= 0)
			return -1;
		p += r;
		offset += r;
		n -= (size_t)r;
	}
	return 0;
}
