/* SPDX-License-Identifier: BSD-3-Clause */
/* Scoped cleanup: a variable marked with one of these is released when it leaves its scope.
 * To hand the resource on, take it out with steal_fd() or steal_ptr().
 */
#ifndef NBDSWAP_CLEANUP_H
#define NBDSWAP_CLEANUP_H

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static inline void cleanup_free_(void *p)
{
	free(*(void **)p);
}

static inline void cleanup_close_(int *fd)
{
	if (*fd >= 0) {
		int saved = errno;

		close(*fd);
		errno = saved;
	}
}

static inline void cleanup_fclose_(FILE **f)
{
	if (*f)
		fclose(*f);
}

static inline void cleanup_closedir_(DIR **d)
{
	if (*d)
		closedir(*d);
}

#define CLEANUP_FREE __attribute__((cleanup(cleanup_free_)))
#define CLEANUP_CLOSE __attribute__((cleanup(cleanup_close_)))
#define CLEANUP_FCLOSE __attribute__((cleanup(cleanup_fclose_)))
#define CLEANUP_CLOSEDIR __attribute__((cleanup(cleanup_closedir_)))

static inline int steal_fd(int *fd)
{
	int r = *fd;

	*fd = -1;
	return r;
}

#define steal_ptr(pp) __extension__({ __typeof__(*(pp)) stolen_ = *(pp); *(pp) = NULL; stolen_; })

#endif
