/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/lockedmem.h"

#include "common/size.h"
#include "store/page.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

int lockedmem_hold(void *memory, size_t bytes, bool allow_unlocked, const char *what, struct errbuf *e)
{
	volatile unsigned char *p = memory;
	char size[SIZE_TEXT];

	if (mlock(memory, bytes) < 0 && !allow_unlocked)
		return err_set(e, ENOMEM, "the %s of %s cannot be locked in memory: %s; give the process CAP_IPC_LOCK or "
			       "LimitMEMLOCK=infinity (ulimit -l), or allow=memlock to go on without", what, size_format(bytes, size),
			       strerror(errno));
	madvise(memory, bytes, MADV_DONTDUMP);
	/* A write to each page, for a read alone could leave the zero page behind; atomic and of nothing, for another process may be at
	 * work on what is mapped here.
	 */
	for (size_t i = 0; i < bytes; i += PAGE_BYTES)
		__atomic_fetch_or(&p[i], 0, __ATOMIC_RELAXED);
	return 0;
}

void *lockedmem_map(int fd, off_t at, size_t bytes, bool allow_unlocked, const char *what, struct errbuf *e)
{
	/* Shared also where nobody shares it: after a fork the first write to each private page would be a fault that allocates. */
	int flags = MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0);
	char size[SIZE_TEXT];
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, flags, fd, at);

	if (p == MAP_FAILED) {
		err_set(e, ENOMEM, "no memory for the %s of %s: %s; add memory or export less", what, size_format(bytes, size),
			strerror(errno));
		return NULL;
	}
	if (lockedmem_hold(p, bytes, allow_unlocked, what, e) < 0) {
		munmap(p, bytes);
		return NULL;
	}
	return p;
}
