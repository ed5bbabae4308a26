/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests: this program's malloc and its kin, in front of the C library's, each telling count() that it was called.  For one source file of a
 * program, which defines count() itself.
 */
#ifndef NBDSWAP_TESTS_COUNTMALLOC_H
#define NBDSWAP_TESTS_COUNTMALLOC_H

#include <errno.h>
#include <stdlib.h>

static void count(void);

/* In front of the C library's: every caller in this program comes through these. */
extern void *__libc_malloc(size_t n);
extern void *__libc_calloc(size_t n, size_t size);
extern void *__libc_realloc(void *p, size_t n);
extern void *__libc_memalign(size_t align, size_t n);

void *malloc(size_t n)
{
	count();
	return __libc_malloc(n);
}

void *calloc(size_t n, size_t size)
{
	count();
	return __libc_calloc(n, size);
}

void *realloc(void *p, size_t n)
{
	count();
	return __libc_realloc(p, n);
}

int posix_memalign(void **out, size_t align, size_t n)
{
	count();
	*out = __libc_memalign(align, n);
	return *out ? 0 : ENOMEM;
}

void *aligned_alloc(size_t align, size_t n)
{
	count();
	return __libc_memalign(align, n);
}

#endif
