/* SPDX-License-Identifier: BSD-3-Clause */
/* The world of the target fuzz-table: a small file with its page table and store, the history that the input makes, and what may be
 * read after it.
 */
#ifndef NBDSWAP_TESTS_TABLEWORLD_H
#define NBDSWAP_TESTS_TABLEWORLD_H

#include "store/store.h"
#include "tests/fuzz/fuzz.h"

#define PAGES_MAX 12u

/* What may be read of a page, by the numbers of contents; 0: zeros. */
struct expected {
	uint32_t now;	    /* acknowledged last */
	uint32_t under_way; /* by a write that was not answered; now when there is none */
	bool entry_touched, file_touched;
	bool check_made; /* by the input, with what the code under test makes it with */
	bool forged; /* its entry was changed and passes its self-check */
};

extern struct world {
	uint64_t pages;
	enum page_check check;
	int file;
	struct table *table;
	struct store *store;
	struct expected page[PAGES_MAX];
	bool header_touched, slots_touched;
	unsigned unfinished;
} world;

/* A page of this number: 0 zeros, odd ones of one value, even ones not. */
void world_content(uint32_t id, unsigned char *page);

/* A new file, table and store, as the input's first byte says. */
void world_begin(struct input *in);

/* Writes, discards, reads, and writes that are not answered any more, up to the death. */
void world_history(struct input *in);

/* The worker that is dead in copies of file and table is ended in order in the originals. */
void world_end(void);

/* As a worker does it: maps a table, with its key where pages are sealed; makes a store over it and world.file; a whole request, of
 * which 0 or EIO comes back.
 */
struct table *world_map(int fd, struct errbuf *e);
struct store *world_store(struct table *t, struct errbuf *e);
int world_request(struct store *s, enum rw_op op, uint64_t page, uint64_t pages, void *data);

#endif
