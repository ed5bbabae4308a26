/* SPDX-License-Identifier: BSD-3-Clause */
/* What each page of an export may read as: the versions that were written to it, and which of them another has replaced for good.
 *
 * Times are counts of events.  A version takes effect at some time between its request and its answer; that it has is known from its
 * answer on, or from the end of the first read that found it.  A version is dead
 *   - once one has taken effect whose request was made after it had taken effect itself,
 *   - once a read has found another one that was begun after it had taken effect.
 * A read must find none that was dead before it began.  Every version but zeros is unlike every other, and says of which page it is.
 *
 * One thread.
 */
#ifndef NBDSWAP_TESTS_ENGINE_PAGEMODEL_H
#define NBDSWAP_TESTS_ENGINE_PAGEMODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_VERSIONS 6 /* of a page, that are not dead or may still be found by a read under way */
#define VERSION_ZEROS UINT64_C(0)
#define PAGEMODEL_PAGES (1u << 22) /* at most */

struct pagemodel;

/* All pages are zeros. */
struct pagemodel *pagemodel_make(uint32_t pages);
void pagemodel_free(struct pagemodel *m);

uint64_t pagemodel_now(struct pagemodel *m); /* a new time, later than all before */

/* A version that was never used, of this writer (0 ... 255); 40 bits. */
uint64_t pagemodel_version(struct pagemodel *m, unsigned writer);

/* The page's content in this version; one in eight is all one 64-bit value. */
void pagemodel_fill(uint32_t page, uint64_t version, void *out);

/* May one more write, or read, of this page be made now?  (There is no place for more versions.) */
bool pagemodel_may_write(struct pagemodel *m, uint32_t page);

void pagemodel_write_begins(struct pagemodel *m, uint32_t page, uint64_t version, uint64_t now);
void pagemodel_write_ended(struct pagemodel *m, uint32_t page, uint64_t version, uint64_t begun, uint64_t now);

void pagemodel_read_begins(struct pagemodel *m, uint32_t page);
/* It found this.  True: it may; else what is wrong is described in text. */
bool pagemodel_read_ended(struct pagemodel *m, uint32_t page, const void *data, uint64_t begun, uint64_t now, char *text, size_t bytes);

#endif
