/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/store/support.h"

#include "common/cleanup.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char *scratch_name(void)
{
	const char *base = getenv("TMPDIR");
	char *name = NULL;

	assert_true(asprintf(&name, "%s/nbdswap-unit.XXXXXX", base && *base ? base : "/tmp") > 0);
	return name;
}

int scratch_file(uint64_t bytes)
{
	CLEANUP_FREE char *name = scratch_name();
	int fd = mkostemp(name, O_CLOEXEC);

	assert_true(fd >= 0);
	unlink(name);
	assert_int_equal(ftruncate(fd, (off_t)bytes), 0);
	return fd;
}

char *scratch_dir(void)
{
	char *name = scratch_name();

	assert_non_null(mkdtemp(name));
	return name;
}

void scratch_remove(char *dir)
{
	CLEANUP_CLOSEDIR DIR *d = opendir(dir);
	struct dirent *x;

	while (d && (x = readdir(d)))
		if (unlinkat(dirfd(d), x->d_name, 0) < 0)
			unlinkat(dirfd(d), x->d_name, AT_REMOVEDIR);
	rmdir(dir);
	free(dir);
}

void fixture_make(struct fixture *f, uint64_t pages, size_t pool_pages, enum page_state state)
{
	struct errbuf e = { .code = 0 };

	f->pages = pages;
	f->fd = scratch_file(pages * PAGE_BYTES);
	f->table = table_create(pages, state, true, &e);
	assert_non_null(f->table);
	f->pool = pool_create(pool_pages, true, &e);
	assert_non_null(f->pool);
	f->store = store_create("unit", f->fd, f->table, f->pool, &e);
	assert_non_null(f->store);
}

void fixture_free(struct fixture *f)
{
	store_free(f->store);
	pool_free(f->pool);
	table_free(f->table);
	close(f->fd);
}

void fill_pages(void *p, size_t pages, uint8_t value)
{
	memset(p, value, pages * PAGE_BYTES);
}

void expect_pages(const void *p, size_t pages, uint8_t value)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < pages * PAGE_BYTES; i++)
		if (b[i] != value)
			fail_msg("byte %zu (page %zu) is 0x%02x, not 0x%02x", i, i / PAGE_BYTES, b[i], value);
}
