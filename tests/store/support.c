/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/store/support.h"

#include "common/cleanup.h"
#include "store/sealkey.h"

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

static struct sealkey *unit_key; /* NULL: not sealed */

int unit_seal(void **state)
{
	struct errbuf e;

	(void)state;
	unit_key = sealkey_create_ephemeral(true, &e);
	return unit_key ? 0 : -1;
}

void unit_unlock(struct table *t)
{
	const struct table_spec *spec = table_spec(t);
	struct errbuf e;
	struct sealkey *k;

	if (spec->seal == PAGE_SEAL_NONE)
		return;
	k = sealkey_derive(unit_key, spec->uuid, spec->activation, true, &e);
	assert_non_null(k);
	assert_int_equal(table_unlock_seal(t, k, &e), 0);
	sealkey_free(k);
}

static bool unit_keeps;

int unit_keep(void **state)
{
	(void)state;
	unit_keeps = true;
	return 0;
}

int unit_keep_not(void **state)
{
	(void)state;
	unit_keeps = false;
	return 0;
}

struct table *unit_table(uint64_t pages, enum page_state state)
{
	struct table_spec spec = { .pages = pages, .activation = 1, .uuid = "unit test" };
	struct errbuf e = { .code = 0 };
	struct table *t;

	spec.survive = unit_keeps ? SURVIVE_HOST : SURVIVE_PROCESS;
	if (unit_key) {
		spec.seal = PAGE_SEAL_AES_256_GCM;
		spec.salt = 0x5a175a17;
	}
	t = table_create(&spec, state, true, &e);

	assert_non_null(t);
	unit_unlock(t);
	return t;
}

void fixture_make(struct fixture *f, uint64_t pages, size_t pool_pages, enum page_state state)
{
	struct errbuf e = { .code = 0 };

	f->pages = pages;
	f->fd = scratch_file(pages * PAGE_BYTES);
	f->table = unit_table(pages, state);
	f->pool = pool_create(pool_pages, true, &e);
	assert_non_null(f->pool);
	f->store = store_create(&(struct store_options){ .name = "unit", .fd = f->fd, .table = f->table, .pool = f->pool,
							 .kind = BACKEND_EXT4 }, &e);
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
	for (size_t i = 0; value && i < pages; i++)
		((uint8_t *)p)[i * PAGE_BYTES + ODD_BYTE] ^= 0xff;
}

void expect_pages(const void *p, size_t pages, uint8_t value)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < pages * PAGE_BYTES; i++)
		if (b[i] != (value && i % PAGE_BYTES == ODD_BYTE ? value ^ 0xff : value))
			fail_msg("byte %zu (page %zu) is 0x%02x, not 0x%02x", i, i / PAGE_BYTES, b[i], value);
}
