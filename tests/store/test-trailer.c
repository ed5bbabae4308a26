/* SPDX-License-Identifier: BSD-3-Clause */
/* The trailer: where things lie, and that whatever happens to one header, the file is never trusted more than it may be. */
#include "config.h"

#include "tests/store/support.h"

#include "store/trailer.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#define DATA (UINT64_C(16) * PAGE_BYTES)

static void layout_and_fit(void **state)
{
	struct trailer t;

	(void)state;
	trailer_layout(&t, PAGE_BYTES);
	assert_int_equal(t.table_offset, PAGE_BYTES);
	assert_int_equal(t.table_bytes, PAGE_BYTES);
	assert_int_equal(t.file_size, 4 * PAGE_BYTES);
	trailer_layout(&t, 120 * PAGE_BYTES);
	assert_int_equal(t.table_bytes, PAGE_BYTES);
	trailer_layout(&t, 121 * PAGE_BYTES);
	assert_int_equal(t.table_bytes, 2 * PAGE_BYTES);
	trailer_layout(&t, UINT64_C(1) << 30);
	assert_int_equal(t.table_bytes, 2185 * PAGE_BYTES);
	assert_int_equal(trailer_fit(0), 0);
	assert_int_equal(trailer_fit(4 * PAGE_BYTES - 1), 0);
	assert_int_equal(trailer_fit(4 * PAGE_BYTES), PAGE_BYTES);
	/* The fit is the largest that fits, at every size around the places where the table grows by a page. */
	for (uint64_t pages = 4; pages < 1200; pages++) {
		uint64_t fit = trailer_fit(pages * PAGE_BYTES);

		trailer_layout(&t, fit);
		assert_true(t.file_size <= pages * PAGE_BYTES);
		trailer_layout(&t, fit + PAGE_BYTES);
		assert_true(t.file_size > pages * PAGE_BYTES);
	}
}

struct file {
	int fd;
	struct trailer t;
};

static struct file make(void)
{
	struct file f = { .fd = -1 };

	memset(&f.t, 0, sizeof(f.t));
	trailer_layout(&f.t, DATA);
	f.fd = scratch_file(f.t.file_size);
	f.t.state = TRAILER_CLEAN;
	f.t.table = TRAILER_TABLE_FRESH;
	f.t.allocated = f.t.table_offset + f.t.table_bytes;
	f.t.activation = 1;
	return f;
}

static void write_state(struct file *f, enum trailer_state state)
{
	f->t.state = state;
	assert_int_equal(trailer_write(f->fd, "f", &f->t, NULL), 0);
}

static int read_back(const struct file *f, struct trailer *out)
{
	return trailer_read(f->fd, "f", f->t.file_size, out, NULL);
}

static off_t slot(const struct file *f, unsigned n)
{
	return (off_t)(f->t.file_size - (2 - n) * PAGE_BYTES);
}

static void damage(const struct file *f, off_t at)
{
	uint8_t byte;

	assert_int_equal(pread(f->fd, &byte, 1, at), 1);
	byte ^= 0x10;
	assert_int_equal(pwrite(f->fd, &byte, 1, at), 1);
}

static void newest_counts(void **state)
{
	struct file f = make();
	struct trailer t;

	(void)state;
	assert_int_equal(read_back(&f, &t), 0);
	write_state(&f, TRAILER_ALLOCATING);
	write_state(&f, TRAILER_CLEAN);
	assert_int_equal(read_back(&f, &t), 1);
	assert_int_equal(t.state, TRAILER_CLEAN);
	write_state(&f, TRAILER_IN_USE);
	assert_int_equal(read_back(&f, &t), 1);
	assert_int_equal(t.state, TRAILER_IN_USE);
	assert_int_equal(t.sequence, f.t.sequence);
	assert_int_equal(memcmp(&t, &f.t, sizeof(t)), 0);
	close(f.fd);
}

/* A torn write of a header leaves the one before it, whichever slot it went to. */
static void torn_header(void **state)
{
	(void)state;
	for (int extra = 0; extra < 2; extra++) {
		struct file f = make();
		struct trailer t;
		uint8_t before[PAGE_BYTES];
		off_t at;

		for (int i = 0; i < 2 + extra; i++)
			write_state(&f, TRAILER_IN_USE);
		at = slot(&f, (unsigned)((f.t.sequence + 1) % 2));
		assert_int_equal(pread(f.fd, before, PAGE_BYTES, at), PAGE_BYTES);
		write_state(&f, TRAILER_CLEAN);
		/* Only its first 16 bytes arrived. */
		assert_int_equal(pwrite(f.fd, before + 16, PAGE_BYTES - 16, at + 16), PAGE_BYTES - 16);
		assert_int_equal(read_back(&f, &t), 1);
		assert_int_equal(t.state, TRAILER_IN_USE);
		close(f.fd);
	}
}

/* Every bit of a header counts, and with both damaged there is none. */
static void damaged_header(void **state)
{
	(void)state;
	for (size_t byte = 0; byte < sizeof(struct trailer); byte += 7) {
		struct file f = make();
		struct trailer t;

		write_state(&f, TRAILER_IN_USE);
		write_state(&f, TRAILER_CLEAN);
		damage(&f, slot(&f, (unsigned)(f.t.sequence % 2)) + (off_t)byte);
		assert_int_equal(read_back(&f, &t), 1);
		assert_int_equal(t.state, TRAILER_IN_USE);
		damage(&f, slot(&f, (unsigned)((f.t.sequence + 1) % 2)) + (off_t)byte);
		assert_int_equal(read_back(&f, &t), 0);
		close(f.fd);
	}
}

/* A trailer is good for a file of its own size only: a longer, a cut one and one that was cut in a page have none. */
static void other_size(void **state)
{
	struct file f = make();
	struct trailer t;
	uint64_t size = f.t.file_size;

	(void)state;
	write_state(&f, TRAILER_CLEAN);
	write_state(&f, TRAILER_CLEAN);
	assert_int_equal(trailer_read(f.fd, "f", size, &t, NULL), 1);
	assert_int_equal(ftruncate(f.fd, (off_t)(size + PAGE_BYTES)), 0);
	assert_int_equal(trailer_read(f.fd, "f", size + PAGE_BYTES, &t, NULL), 0);
	assert_int_equal(ftruncate(f.fd, (off_t)(size + 512)), 0);
	assert_int_equal(trailer_read(f.fd, "f", size + 512, &t, NULL), 0);
	assert_int_equal(ftruncate(f.fd, (off_t)(size - PAGE_BYTES)), 0);
	assert_int_equal(trailer_read(f.fd, "f", size - PAGE_BYTES, &t, NULL), 0);
	assert_int_equal(trailer_read(f.fd, "f", 0, &t, NULL), 0);
	assert_int_equal(trailer_read(f.fd, "f", 2 * PAGE_BYTES, &t, NULL), 0);
	close(f.fd);
}

/* A header that contradicts itself is none, however right its check is. */
static void contradictions(void **state)
{
	(void)state;
	for (int i = 0; i < 9; i++) {
		struct file f = make();
		struct trailer t;

		switch (i) {
		case 0:
			f.t.table = TRAILER_TABLE_RECORDS + 1;
			break;
		case 1:
			f.t.state = TRAILER_IN_USE + 1;
			break;
		case 2:
			f.t.allocated += PAGE_BYTES;
			break;
		case 3:
			f.t.allocated -= PAGE_BYTES; /* clean, but not written whole */
			break;
		case 4:
			f.t.state = TRAILER_ALLOCATING;
			f.t.allocated = 512;
			break;
		case 5:
			memset(f.t.owner_host, 'x', sizeof(f.t.owner_host));
			break;
		case 6:
			f.t.table_offset -= PAGE_BYTES;
			break;
		case 7:
			f.t.data_size += PAGE_BYTES;
			break;
		case 8:
			f.t.seal = TRAILER_SEAL_KEY_FILE + 1;
			break;
		}
		assert_int_equal(trailer_write(f.fd, "f", &f.t, NULL), 0);
		assert_int_equal(read_back(&f, &t), 0);
		close(f.fd);
	}
}

static void unreadable_is_an_error(void **state)
{
	struct file f = make();
	struct trailer t;
	struct errbuf e = { .code = 0 };
	uint64_t size = f.t.file_size;

	(void)state;
	assert_int_equal(ftruncate(f.fd, 0), 0); /* reading finds the end of the file */
	assert_int_equal(trailer_read(f.fd, "f", size, &t, &e), -1);
	assert_int_equal(e.code, EIO);
	close(f.fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(layout_and_fit), cmocka_unit_test(newest_counts),
		cmocka_unit_test(torn_header),	  cmocka_unit_test(damaged_header),
		cmocka_unit_test(other_size),	  cmocka_unit_test(contradictions),
		cmocka_unit_test(unreadable_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
