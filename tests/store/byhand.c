/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/store/byhand.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct fixture f;

void on_wake(struct rw *rw)
{
	((struct req *)(void *)rw)->wakes++;
}

struct req *req_new(enum rw_op op, uint64_t page, uint64_t pages, uint8_t value)
{
	struct req *r = malloc(sizeof(*r));

	assert_non_null(r);
	r->wakes = 0;
	fill_pages(r->data, 64, value);
	rw_init(&r->rw, f.store, op, page * P, pages * P, r->data, on_wake);
	return r;
}

ssize_t move(struct req *r, size_t limit)
{
	struct rw *rw = &r->rw;
	ssize_t total = 0;

	for (int i = 0; i < rw->iovcnt && limit > 0; i++) {
		size_t n = rw->iov[i].iov_len < limit ? rw->iov[i].iov_len : limit;
		ssize_t k = rw->op == RW_WRITE ? pwrite(rw->fd, rw->iov[i].iov_base, n, rw->position + total)
					       : pread(rw->fd, rw->iov[i].iov_base, n, rw->position + total);

		assert_int_equal(k, n);
		total += k;
		limit -= n;
	}
	return total;
}

enum rw_next finish_io(struct req *r)
{
	return rw_complete(&r->rw, move(r, SIZE_MAX));
}

void run(struct req *r, int error)
{
	enum rw_next next = rw_begin(&r->rw);

	while (next == RW_IO)
		next = finish_io(r);
	assert_int_equal(next, RW_DONE);
	assert_int_equal(r->rw.error, error);
}

void write_now(uint64_t page, uint64_t pages, uint8_t value)
{
	struct req *r = req_new(RW_WRITE, page, pages, value);

	run(r, 0);
	free(r);
}

void discard_now(uint64_t page, uint64_t pages)
{
	struct req *r = req_new(RW_DISCARD, page, pages, 0);

	run(r, 0);
	free(r);
}

void expect_now(uint64_t page, uint64_t pages, uint8_t value)
{
	struct req *r = req_new(RW_READ, page, pages, 0xee);

	run(r, 0);
	expect_pages(r->data, pages, value);
	free(r);
}

void expect_eio(uint64_t page, uint64_t pages)
{
	struct req *r = req_new(RW_READ, page, pages, 0xee);

	run(r, EIO);
	free(r);
}

int setup(void **state)
{
	(void)state;
	fixture_make(&f, PAGES, 64, PAGE_FRESH);
	return 0;
}

int setup_lost(void **state)
{
	(void)state;
	fixture_make(&f, PAGES, 64, PAGE_LOST);
	return 0;
}

int teardown(void **state)
{
	(void)state;
	assert_int_equal(table_counters(f.table)->in_flight, 0);
	for (uint64_t i = 0; i < f.pages; i++)
		assert_int_equal(table_page(f.table, i).in_flight, 0);
	assert_true(store_drain(f.store, 0));
	fixture_free(&f); /* asserts that every buffer is back */
	return 0;
}
