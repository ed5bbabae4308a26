/* SPDX-License-Identifier: BSD-3-Clause */
/* Preloaded into a process, counts every call that asks for memory in the file named by COUNTALLOC (eight bytes, shared): what
 * the whole process does, nbdkit and libraries too.  What the C library does inside itself (brk, mmap) strace sees.
 *
 * Behind the sum lie 511 counts of threads: that of thread t has index 1 + t % 511.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

void *__libc_malloc(size_t n);
void *__libc_calloc(size_t a, size_t b);
void *__libc_realloc(void *p, size_t n);
void *__libc_memalign(size_t align, size_t n);

static _Atomic uint64_t *counter;

static void __attribute__((constructor)) open_counter(void)
{
	const char *path = getenv("COUNTALLOC");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	void *p = fd < 0 ? MAP_FAILED
			 : (void *)syscall(SYS_mmap, NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (fd >= 0)
		close(fd);
	if (p != MAP_FAILED)
		counter = p;
}

static void count(void)
{
	static __thread __attribute__((tls_model("initial-exec"))) unsigned thread;

	if (!counter)
		return;
	if (!thread)
		thread = (unsigned)syscall(SYS_gettid);
	atomic_fetch_add(counter, 1);
	atomic_fetch_add(&counter[1 + thread % 511], 1);
}

void *malloc(size_t n)
{
	count();
	return __libc_malloc(n);
}

void *calloc(size_t a, size_t b)
{
	count();
	return __libc_calloc(a, b);
}

void *realloc(void *p, size_t n)
{
	count();
	return __libc_realloc(p, n);
}

void *aligned_alloc(size_t align, size_t n)
{
	count();
	return __libc_memalign(align, n);
}

int posix_memalign(void **out, size_t align, size_t n)
{
	count();
	*out = __libc_memalign(align, n);
	return *out ? 0 : ENOMEM;
}

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	count();
	return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, offset);
}

int brk(void *addr)
{
	count();
	return syscall(SYS_brk, addr) == (long)addr ? 0 : -1;
}
