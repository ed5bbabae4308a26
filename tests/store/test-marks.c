/* SPDX-License-Identifier: BSD-3-Clause */
/* A page is what was written, or an error: what the storage does behind the store's back is seen, looked at twice, and then the page is lost
 * until it is written anew.
 */
#include "config.h"

#include "tests/store/byhand.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t failed_checks(void)
{
	return table_counters(f.table)->checks_failed;
}

static uint64_t lost_pages(void)
{
	return table_counters(f.table)->lost_pages;
}

static void flip(uint64_t page, unsigned bit)
{
	unsigned char c;
	off_t at = (off_t)(page * P + bit / 8);

	assert_int_equal(pread(f.fd, &c, 1, at), 1);
	c ^= 1 << bit % 8;
	assert_int_equal(pwrite(f.fd, &c, 1, at), 1);
}

static void copy_page(uint64_t from, uint64_t to, int to_fd)
{
	unsigned char page[PAGE_BYTES];

	assert_int_equal(pread(f.fd, page, P, (off_t)(from * P)), P);
	assert_int_equal(pwrite(to_fd, page, P, (off_t)(to * P)), P);
}

static void flipped_bit(void **state)
{
	(void)state;
	srand(5);
	for (int i = 0; i < 200; i++) {
		uint64_t page = (uint64_t)rand() % 8;

		write_now(0, 8, 0x21);
		flip(page, (unsigned)rand() % (PAGE_BYTES * 8));
		expect_eio(page, 1);
		assert_int_equal(table_page(f.table, page).state, PAGE_LOST);
		assert_int_equal(lost_pages(), i + 1);
		assert_int_equal(failed_checks(), 2 * (i + 1)); /* it looked twice */
		expect_eio(page, 1);
		assert_int_equal(failed_checks(), 2 * (i + 1)); /* a lost page is not asked for again */
	}
	write_now(0, 8, 0x22);
	expect_now(0, 8, 0x22);
}

/* The other pages of the request are not lost for it. */
static void one_of_many(void **state)
{
	struct req *r = req_new(RW_READ, 0, 8, 0xee);

	(void)state;
	write_now(0, 8, 0x31);
	flip(5, 77);
	run(r, EIO);
	assert_int_equal(r->rw.cause, EBADMSG);
	expect_now(0, 5, 0x31);
	expect_eio(5, 1);
	expect_now(6, 2, 0x31);
	assert_int_equal(lost_pages(), 1);
	discard_now(5, 1);
	expect_now(5, 1, 0);
	free(r);
}

static void old_and_misplaced_blocks(void **state)
{
	int older = scratch_file(PAGES * P);

	(void)state;
	write_now(0, 1, 0x01);
	write_now(1, 1, 0x02);
	copy_page(0, 0, older);
	write_now(0, 1, 0x03);
	/* A lost write: the backend took it, and has the older content. */
	{
		unsigned char page[PAGE_BYTES];

		assert_int_equal(pread(older, page, P, 0), P);
		assert_int_equal(pwrite(f.fd, page, P, 0), P);
	}
	expect_eio(0, 1);
	/* A page at the place of another. */
	write_now(0, 1, 0x04);
	copy_page(0, 1, f.fd);
	expect_eio(1, 1);
	expect_now(0, 1, 0x04);
	close(older);
}

/* The same content does not pass at another place, nor under another activation: the mark is of both. */
static void marks_are_of_their_place(void **state)
{
	struct table_spec spec = *table_spec(f.table);
	struct marker here, there;
	struct table *other;
	struct page_mark m;
	struct errbuf e;
	unsigned char data[PAGE_BYTES], buffer[PAGE_BYTES];

	(void)state;
	fill_pages(data, 1, 0x44);
	marker_init(&here, f.table);
	mark_make(&here, 7, data, buffer, &m);
	assert_true(mark_verify(&here, 7, &m, buffer, NULL));
	assert_false(mark_verify(&here, 8, &m, buffer, NULL));
	spec.activation++;
	other = table_create(&spec, PAGE_FRESH, true, &e);
	unit_unlock(other);
	marker_init(&there, other);
	assert_false(mark_verify(&there, 7, &m, buffer, NULL));
	table_free(other);
	spec.activation--;
	spec.uuid[3] ^= 1;
	other = table_create(&spec, PAGE_FRESH, true, &e);
	unit_unlock(other);
	marker_init(&there, other);
	assert_false(mark_verify(&there, 7, &m, buffer, NULL));
	table_free(other);
}

/* What is wrong once and right the second time was the way, not the page. */
static void right_at_the_second_look(void **state)
{
	struct req *r = req_new(RW_READ, 0, 4, 0xee);

	(void)state;
	write_now(0, 4, 0x51);
	assert_int_equal(rw_begin(&r->rw), RW_IO);
	move(r, SIZE_MAX);
	((unsigned char *)r->rw.iov[2].iov_base)[9] ^= 4;
	assert_int_equal(rw_complete(&r->rw, 4 * P), RW_IO);
	assert_int_equal(r->rw.position, 0);
	assert_int_equal(r->rw.iovcnt, 4);
	assert_int_equal(finish_io(r), RW_DONE);
	assert_int_equal(r->rw.error, 0);
	expect_pages(r->data, 4, 0x51);
	assert_int_equal(lost_pages(), 0);
	assert_int_equal(table_counters(f.table)->reread_good, 1);
	free(r);
}

/* A page that is written while it is looked at again is not lost for what it was. */
static void quarantine_does_not_hit_a_newer_page(void **state)
{
	struct req *r = req_new(RW_READ, 0, 1, 0xee);
	ssize_t n;

	(void)state;
	write_now(0, 1, 0x61);
	flip(0, 5);
	assert_int_equal(rw_begin(&r->rw), RW_IO);
	assert_int_equal(finish_io(r), RW_IO);
	n = move(r, SIZE_MAX);
	write_now(0, 1, 0x62);
	assert_int_equal(rw_complete(&r->rw, n), RW_IO); /* begins anew */
	assert_int_equal(finish_io(r), RW_DONE);
	assert_int_equal(r->rw.error, 0);
	expect_pages(r->data, 1, 0x62);
	assert_int_equal(lost_pages(), 0);
	free(r);
}

static void pages_of_one_value_are_entries(void **state)
{
	struct req *w = req_new(RW_WRITE, 0, 6, 0x71), *r = req_new(RW_READ, 0, 6, 0xee);
	uint64_t pattern = UINT64_C(0x1122334455667788);

	(void)state;
	fill_pages(w->data, 6, 0x71);
	memset(w->data + P, 0, P);
	for (size_t i = 0; i < 2 * P; i += 8)
		memcpy(w->data + 2 * P + i, &pattern, 8);
	assert_int_equal(rw_begin(&w->rw), RW_IO);
	assert_int_equal(w->rw.iovcnt, 1);
	assert_int_equal(finish_io(w), RW_IO); /* over 1, 2 and 3 */
	assert_int_equal(w->rw.position, 4 * P);
	assert_int_equal(w->rw.iovcnt, 2);
	assert_int_equal(finish_io(w), RW_DONE);
	assert_int_equal(table_counters(f.table)->same_pages, 3);
	for (uint64_t i = 0; i < 6; i++)
		assert_int_equal(table_page(f.table, i).state, i >= 1 && i <= 3 ? PAGE_SAME : PAGE_WRITTEN);
	run(r, 0);
	expect_pages(r->data, 1, 0x71);
	expect_pages(r->data + P, 1, 0);
	for (size_t i = 0; i < 2 * P; i += 8)
		assert_memory_equal(r->data + 2 * P + i, &pattern, 8);
	expect_pages(r->data + 4 * P, 2, 0x71);
	/* And back again. */
	write_now(0, 6, 0x72);
	expect_now(0, 6, 0x72);
	discard_now(0, 6);
	expect_now(0, 6, 0);
	free(w);
	free(r);
}

/* The last byte counts, and so does each other. */
static void almost_one_value(void **state)
{
	unsigned char page[PAGE_BYTES];
	uint64_t value;

	(void)state;
	for (unsigned i = 0; i < PAGE_BYTES; i++) {
		memset(page, 0x5a, sizeof(page));
		assert_true(page_is_same(page, &value));
		assert_true(value == UINT64_C(0x5a5a5a5a5a5a5a5a));
		page[i] ^= 1;
		assert_false(page_is_same(page, &value));
	}
}

/* Without checks only what the table says is known. */
static void without_checks(void **state)
{
	struct table_spec spec = *table_spec(f.table);
	struct errbuf e;

	(void)state;
	store_free(f.store);
	table_free(f.table);
	spec.check = CHECK_NONE;
	f.table = table_create(&spec, PAGE_FRESH, true, &e);
	f.store = store_create(&(struct store_options){ .name = "u", .fd = f.fd, .table = f.table, .pool = f.pool }, &e);
	assert_non_null(f.store);
	write_now(0, 1, 0x81);
	flip(0, 8 * 50);
	{
		struct req *r = req_new(RW_READ, 0, 1, 0xee);

		run(r, 0);
		assert_int_equal(r->data[50], 0x80);
		free(r);
	}
	assert_int_equal(failed_checks(), 0);
}

/* Neither written as it is nor read as it is, whoever forgets the key. */
static void sealed_without_a_key(void **state)
{
	unsigned char data[PAGE_BYTES], buffer[PAGE_BYTES];
	struct errbuf e = { .code = 0 };
	struct table *locked = table_map(table_fd(f.table), true, &e);
	struct marker here, without;
	struct page_mark m;

	(void)state;
	assert_non_null(locked);
	assert_null(store_create(&(struct store_options){ .name = "u", .fd = f.fd, .table = locked, .pool = f.pool }, &e));
	assert_int_equal(e.code, ENOKEY);
	fill_pages(data, 1, 0x44);
	marker_init(&here, f.table);
	assert_true(mark_make(&here, 7, data, buffer, &m));
	assert_memory_not_equal(buffer, data, PAGE_BYTES);
	assert_true(mark_verify(&here, 7, &m, buffer, NULL));
	marker_init(&without, locked);
	assert_false(mark_verify(&without, 7, &m, buffer, NULL));
	assert_false(mark_make(&without, 7, data, buffer, &m));
	table_free(locked);
}

/* Each sealing of a page takes a counter of its own, also over two mappings of one table and when the write comes to nothing. */
static void nonces_never_repeat(void **state)
{
	struct req *r = req_new(RW_WRITE, 0, 2, 0x10);
	uint64_t before = *table_nonce(f.table);
	struct errbuf e;
	struct table *again;
	struct marker m[2];
	struct page_mark mark[4];
	unsigned char data[PAGE_BYTES], buffer[PAGE_BYTES];

	(void)state;
	assert_int_equal(rw_begin(&r->rw), RW_IO);
	assert_int_equal(*table_nonce(f.table), before + 2);
	assert_int_equal(rw_complete(&r->rw, -EBADF), RW_DONE);
	assert_int_equal(*table_nonce(f.table), before + 2);
	again = table_map(table_fd(f.table), true, &e);
	unit_unlock(again);
	marker_init(&m[0], f.table);
	marker_init(&m[1], again);
	fill_pages(data, 1, 0x44);
	for (int i = 0; i < 4; i++) {
		assert_true(mark_make(&m[i % 2], 7, data, buffer, &mark[i]));
		assert_int_equal(mark[i].value, before + 3 + (uint64_t)i);
		assert_int_equal(mark[i].salt, table_spec(f.table)->salt);
	}
	table_free(again);
	free(r);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(flipped_bit),
		T(one_of_many),
		T(old_and_misplaced_blocks),
		T(marks_are_of_their_place),
		T(right_at_the_second_look),
		T(quarantine_does_not_hit_a_newer_page),
		T(pages_of_one_value_are_entries),
		cmocka_unit_test(almost_one_value),
		T(without_checks),
	};
	const struct CMUnitTest sealed[] = {
		T(flipped_bit),
		T(one_of_many),
		T(old_and_misplaced_blocks),
		T(marks_are_of_their_place),
		T(right_at_the_second_look),
		T(quarantine_does_not_hit_a_newer_page),
		T(pages_of_one_value_are_entries),
		T(sealed_without_a_key),
		T(nonces_never_repeat),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	return failed + cmocka_run_group_tests(sealed, unit_seal, NULL);
}
