/* SPDX-License-Identifier: BSD-3-Clause */
/* The model: what each page may read as, whoever writes it at the same time and whoever was killed over it.
 *
 * Every content is unlike every other: it is told by a 64-bit id.  A page has a history of versions, each with the time before its
 * request was made and the time after its answer.  A read that was made at rs and answered at re may find a version that was begun
 * before re, and that no other version had replaced for good before rs: one begun after the first had ended, and ended before rs.  "Lost"
 * is a version too.  What was under way when the server was killed has no end: it may be found, and replaces nothing.
 *
 * All of it lies in memory that outlives the server.  Times are counts of events, not clocks.
 */
#ifndef NBDSWAP_TESTS_FAULTS_MODEL_H
#define NBDSWAP_TESTS_FAULTS_MODEL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define MODEL_PAGES 128
#define MODEL_VERSIONS 16

/* Ids.  Others tell contents; the lowest two bits their kind. */
#define ID_ZEROS UINT64_C(0)
#define ID_LOST UINT64_MAX
#define ID_NONE (UINT64_MAX - 1) /* no content that was ever made */

enum content_kind { CONTENT_MIXED = 1, CONTENT_SAME = 2 };

struct version {
	uint64_t id, begun, ended; /* ended: UINT64_MAX while under way */
	bool used;
	bool weak; /* it may be found, but it is not sure that it replaced anything */
};

struct page_model {
	_Atomic uint32_t lock;
	uint64_t dropped; /* time at which the last one was dropped from the history */
	struct version version[MODEL_VERSIONS]; /* in no order; never moved, for whoever does it may be killed over it */
};

struct model {
	_Atomic uint64_t time, next_id;
	struct page_model page[MODEL_PAGES];
};

/* The contents of a page. */
uint64_t content_id(struct model *m, enum content_kind kind);
void content_make(uint64_t id, uint64_t page, void *out);
/* The id of what is there, ID_NONE when it is nothing that content_make() ever made for this page, whole. */
uint64_t content_read(uint64_t page, const void *data);

uint64_t model_now(struct model *m);

/* Every page begins as zeros. */
void model_init(struct model *m);

/* A write (or discard, ID_ZEROS) of a page is about to be made; it was answered: good, failed for good (the page is lost), or failed as
 * part of something larger, of which nobody knows how far it came (it may be what it was, what was to be written, or lost).
 */
enum model_answer { ANSWER_GOOD, ANSWER_LOST, ANSWER_UNSURE };
void model_begin(struct model *m, uint64_t page, uint64_t id, uint64_t begun);
void model_answer(struct model *m, uint64_t page, uint64_t id, uint64_t begun, enum model_answer answer);

/* A read found the page lost (at some time from begun on). */
void model_found_lost(struct model *m, uint64_t page, uint64_t begun, uint64_t ended);

enum verdict_of_read { READ_RIGHT, READ_WRONG, READ_TOO_LONG_AGO /* the history does not reach back that far */ };
enum verdict_of_read model_judge(struct model *m, uint64_t page, uint64_t id, uint64_t begun, uint64_t ended);

/* After a death, with nobody else at it: the page was found so, and is that from now on. */
void model_settle(struct model *m, uint64_t page, uint64_t id);
void model_unlock_all(struct model *m); /* locks that the dead one held */
bool model_under_way(const struct model *m, uint64_t page); /* was a write of it, when the server died? */

/* For a message: the page's history. */
void model_print(const struct model *m, uint64_t page);

#endif
