/* SPDX-License-Identifier: BSD-3-Clause */
/* What the store's unit tests share: scratch files and a store over one of them. */
#ifndef NBDSWAP_TESTS_STORE_SUPPORT_H
#define NBDSWAP_TESTS_STORE_SUPPORT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "store/store.h"

/* An open, nameless file of this size below TMPDIR, without O_DIRECT. */
int scratch_file(uint64_t bytes);

/* A new directory below TMPDIR; the caller frees the name. scratch_remove() removes it with the files in it. */
char *scratch_dir(void);
void scratch_remove(char *dir);

/* A store over a scratch file with a table in the given state. */
struct fixture {
	int fd;
	uint64_t pages;
	struct table *table;
	struct pool *pool;
	struct store *store;
};

void fixture_make(struct fixture *f, uint64_t pages, size_t pool_pages, enum page_state state);
void fixture_free(struct fixture *f);

/* A table of this many pages with checks on, or sealed. */
struct table *unit_table(uint64_t pages, enum page_state state);

/* A group setup: tables made from now on are sealed.  unit_unlock() is for those that a test makes or maps itself: does nothing to others. */
int unit_seal(void **state);
void unit_unlock(struct table *t);

/* The same: tables made from now on survive the host, and no more. */
int unit_keep(void **state);
int unit_keep_not(void **state);

/* Fills pages at p with bytes of this value, and the opposite.  Unless it is 0, one byte of each page is another, for pages of one value
 * never reach the file.
 */
#define ODD_BYTE 100
void fill_pages(void *p, size_t pages, uint8_t value);
void expect_pages(const void *p, size_t pages, uint8_t value);

#endif
