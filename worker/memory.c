/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "worker/memory.h"

#include "common/allow.h"
#include "common/memlock.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>

/* With it 8 threads of nbdkit's and their buffers stay below 4 MiB a connection. */
#define THREAD_STACK (192u << 10)

void worker_memory_tame(void)
{
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* their frames are larger */
	pthread_attr_t attr;

	/* For threads that are started without a size of their own; ulimit -s is then for the main thread alone. */
	if (pthread_attr_init(&attr) == 0) {
		if (pthread_attr_setstacksize(&attr, THREAD_STACK) == 0)
			pthread_setattr_default_np(&attr);
		pthread_attr_destroy(&attr);
	}
#endif
	mallopt(M_ARENA_MAX, 1);
}

int worker_memory_lock(unsigned allow, uint64_t *locked_kib, struct errbuf *e)
{
	if (memlock_process(e) == 0 && memlock_populate_future(e) == 0 && memlock_verify(locked_kib, e) == 0)
		return 0;
	*locked_kib = 0;
	if (!(allow & ALLOW_MEMLOCK))
		return -1;
	/* Nothing half: locked mappings beyond the limit would fail later, while clients are served. */
	munlockall();
	return 1;
}
