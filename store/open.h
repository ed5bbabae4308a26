/* SPDX-License-Identifier: BSD-3-Clause */
/* Opening a backing file: links, types and direct I/O. */
#ifndef NBDSWAP_OPEN_H
#define NBDSWAP_OPEN_H

#include "common/errbuf.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct opened {
	int fd;
	bool direct; /* false only where the file system has no O_DIRECT at all */
	struct stat st;
	uint64_t size;	    /* of the file, or of the block device rounded down to pages */
	char path[4096];    /* where it really is, links followed */
};

/* Opens path with O_DIRECT, for writing or only to look.  dirfd AT_FDCWD: the administrator's path, links are followed once and
 * out->path says where they led.  Otherwise path is one name in the directory; links and anything that leaves it are
 * refused.  Block devices are opened O_EXCL when writing, so a mounted one is refused.  Only regular files and block devices are opened.
 * Returns 0 (out->fd is the caller's), or -1 with *e; ENOENT when it does not exist.
 */
int open_backing(int dirfd, const char *path, bool writing, struct opened *out, struct errbuf *e);

/* A second, read-only description of the same file without O_DIRECT; the caller's.  -1 with errno. */
int reopen_buffered(int fd);

/* A second description of the same file, opened as fd was (but not O_EXCL, which goes with fd); the caller's.  -1 with errno. */
int reopen_same(int fd);

/* Creates an empty file, mode 0600 whatever the umask, that did not exist (else EEXIST).  0 or -1 with *e. */
int create_backing(const char *path, struct errbuf *e);

#endif
