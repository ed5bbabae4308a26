/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests driven by hand, as an asynchronous caller does it: each I/O is done, and said to be done, when the test wants. */
#ifndef NBDSWAP_TESTS_STORE_BYHAND_H
#define NBDSWAP_TESTS_STORE_BYHAND_H

#include "tests/store/support.h"

#define P ((uint64_t)PAGE_BYTES)
#define PAGES 256

/* A request with its data and what the store told it. */
struct req {
	struct rw rw;
	int wakes;
	unsigned char data[64 * PAGE_BYTES];
};

extern struct fixture f; /* of the test that runs */

/* The caller frees it. */
struct req *req_new(enum rw_op op, uint64_t page, uint64_t pages, uint8_t value);
void on_wake(struct rw *rw);

/* The I/O in hand, really done, at most limit bytes of it. */
ssize_t move(struct req *r, size_t limit);
enum rw_next finish_io(struct req *r); /* all of it, and completed */

/* Whole requests, for which nothing may be in the way. */
void run(struct req *r, int error);
void write_now(uint64_t page, uint64_t pages, uint8_t value);
void discard_now(uint64_t page, uint64_t pages);
void expect_now(uint64_t page, uint64_t pages, uint8_t value);
void expect_eio(uint64_t page, uint64_t pages);

int setup(void **state);
int setup_lost(void **state);

/* After every test nothing may be left over: no mark, no buffer, no request counted. */
int teardown(void **state);

#endif
