/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads and writes that are continued until whole (control side only: the I/O side does this itself, in pieces). */
#ifndef NBDSWAP_FULLIO_H
#define NBDSWAP_FULLIO_H

#include "store/syspoint.h"

#include <stddef.h>
#include <sys/types.h>

/* 0, or -1 with errno; the end of the file before n bytes is EIO. */
int full_pread(enum sys_point point, int fd, void *buf, size_t n, off_t offset);

/* 0, or -1 with errno; a write that makes no progress is ENOSPC. */
int full_pwrite(enum sys_point point, int fd, const void *buf, size_t n, off_t offset);

#endif
