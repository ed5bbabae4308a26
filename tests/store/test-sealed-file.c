/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of a sealed backing file: keys and nonces from use to use.  Two uses never encrypt under the same key and nonce, whatever
 * happens between them, an older copy of the whole file included.
 */
#include "config.h"

#include "tests/store/support.h"

#include "common/cleanup.h"
#include "store/backing.h"
#include "store/seal.h"
#include "store/sealkey.h"
#include "store/trailer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BYTES (64 * PAGE_BYTES)

static char *dir, *file, *key_file;

static int setup(void **state)
{
	FILE *f;

	(void)state;
	dir = scratch_dir();
	assert_true(asprintf(&file, "%s/swap", dir) > 0 && asprintf(&key_file, "%s/key", dir) > 0);
	f = fopen(key_file, "w");
	assert_non_null(f);
	fputs("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f\n", f);
	fclose(f);
	assert_int_equal(chmod(key_file, 0600), 0);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(file);
	free(key_file);
	scratch_remove(dir);
	return 0;
}

/* A use of the file. */
struct use {
	struct backing *b;
	struct table *t;
	uint8_t key[SEALKEY_BYTES]; /* of the activation, as a worker gets it */
	uint32_t salt;
	uint64_t activation, first_nonce;
};

static void look_at_key(struct use *u)
{
	struct errbuf e;
	struct sealkey *k = sealkey_map(backing_key_fd(u->b), true, &e);

	assert_non_null(k);
	memcpy(u->key, sealkey_bytes(k), SEALKEY_BYTES);
	assert_true(sealkey_is_for(k, table_spec(u->t)->uuid, table_spec(u->t)->activation));
	sealkey_free(k);
	u->salt = table_spec(u->t)->salt;
	u->activation = table_spec(u->t)->activation;
	u->first_nonce = *table_nonce(u->t);
}

static void begin(struct use *u, const char *key)
{
	struct backing_options opt = { .size = BYTES, .provision = PROVISION_CREATE, .dirfd = AT_FDCWD, .allow_unlocked = true,
				       .seal = PAGE_SEAL_AES_256_GCM, .key_file = key };
	struct errbuf e = { .text = "" };

	if (backing_activate(file, &opt, &u->b, NULL, &e) < 0 || backing_begin(u->b, &u->t, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(backing_activation(u->b), table_spec(u->t)->activation);
	look_at_key(u);
}

static void write_pages(struct use *u, uint64_t page, uint64_t pages, uint8_t value)
{
	struct errbuf e;
	struct pool *pool = pool_create(64, true, &e);
	struct store_options o = { .name = "u", .fd = backing_fd(u->b), .table = u->t, .pool = pool };
	struct store *s = store_create(&o, &e);
	unsigned char data[64 * PAGE_BYTES];

	assert_non_null(s);
	fill_pages(data, pages, value);
	assert_int_equal(store_rw(s, NULL, RW_WRITE, page * PAGE_BYTES, pages * PAGE_BYTES, data, NULL), 0);
	store_free(s);
	pool_free(pool);
}

/* value: what fill_pages put there; -1: lost. */
static void expect(struct use *u, uint64_t page, int value)
{
	struct errbuf e;
	struct pool *pool = pool_create(64, true, &e);
	struct store_options o = { .name = "u", .fd = backing_fd(u->b), .table = u->t, .pool = pool };
	struct store *s = store_create(&o, &e);
	unsigned char data[PAGE_BYTES];

	assert_non_null(s);
	assert_int_equal(store_rw(s, NULL, RW_READ, page * PAGE_BYTES, PAGE_BYTES, data, NULL), value < 0 ? EIO : 0);
	if (value >= 0)
		expect_pages(data, 1, (uint8_t)value);
	store_free(s);
	pool_free(pool);
}

static void end(struct use *u, bool clean)
{
	struct errbuf e = { .text = "" };

	if (clean && backing_end(u->b, u->t, &e) < 0)
		fail_msg("%s", e.text);
	table_free(u->t);
	backing_close(u->b);
}

static bool same_key(const struct use *a, const struct use *b)
{
	return memcmp(a->key, b->key, SEALKEY_BYTES) == 0;
}

static void clean_stops_go_on_counting(void **state)
{
	struct use a, b, c;
	uint64_t used;

	(void)state;
	begin(&a, key_file);
	assert_int_equal(a.first_nonce, 0);
	write_pages(&a, 0, 10, 1);
	used = *table_nonce(a.t);
	assert_int_equal(used, 10);
	end(&a, true);
	begin(&b, key_file);
	/* The same generation, so the same key: counted on, behind the image's own nonce. */
	assert_int_equal(b.activation, a.activation);
	assert_true(same_key(&a, &b));
	assert_true(b.first_nonce >= used + 1);
	assert_int_not_equal(b.salt, a.salt);
	expect(&b, 3, 1);
	write_pages(&b, 3, 1, 2);
	used = *table_nonce(b.t);
	end(&b, true);
	begin(&c, key_file);
	assert_true(c.first_nonce >= used + 1);
	expect(&c, 3, 2);
	expect(&c, 4, 1);
	expect(&c, 20, 0);
	end(&c, true);
}

static void unclean_ends_change_the_key(void **state)
{
	struct use a, b, c;

	(void)state;
	begin(&a, key_file);
	write_pages(&a, 0, 10, 1);
	end(&a, false);
	begin(&b, key_file);
	assert_true(b.activation > a.activation);
	assert_false(same_key(&a, &b));
	expect(&b, 0, -1);
	expect(&b, 20, -1);
	/* And so does what is lost in use. */
	{
		struct errbuf e;
		uint8_t key[SEALKEY_BYTES];

		write_pages(&b, 0, 1, 3);
		assert_int_equal(backing_lost(b.b, b.t, &e), 0);
		memcpy(key, b.key, sizeof(key));
		c = b;
		look_at_key(&c);
		assert_false(same_key(&b, &c));
		assert_true(c.activation > b.activation);
		expect(&c, 0, -1);
		write_pages(&c, 0, 1, 4);
		expect(&c, 0, 4);
	}
	end(&c, true);
	begin(&a, key_file);
	assert_true(same_key(&a, &c));
	expect(&a, 0, 4);
	expect(&a, 1, -1);
	end(&a, true);
}

static void ephemeral_keys_are_never_the_same(void **state)
{
	struct use a, b;

	(void)state;
	begin(&a, NULL);
	write_pages(&a, 0, 10, 1);
	expect(&a, 0, 1);
	end(&a, true);
	begin(&b, NULL);
	assert_false(same_key(&a, &b));
	assert_true(b.activation > a.activation); /* nobody resumes onto lost pages */
	expect(&b, 0, -1);
	expect(&b, 20, 0);
	write_pages(&b, 0, 1, 2);
	end(&b, true);
}

static void *whole_file(size_t *bytes)
{
	struct stat st;
	void *p;
	int fd = open(file, O_RDONLY | O_CLOEXEC);

	assert_true(fd >= 0 && fstat(fd, &st) == 0);
	*bytes = (size_t)st.st_size;
	p = malloc(*bytes);
	assert_int_equal(pread(fd, p, *bytes, 0), *bytes);
	close(fd);
	return p;
}

/* The whole file put back: the counter comes back with it, the salt does not, so no nonce comes twice under the key. */
static void an_older_copy_of_the_whole_file(void **state)
{
	struct use a, b;
	size_t bytes;
	CLEANUP_FREE void *old = NULL;
	int fd;

	(void)state;
	begin(&a, key_file);
	write_pages(&a, 0, 10, 1);
	end(&a, true);
	old = whole_file(&bytes);
	begin(&a, key_file);
	write_pages(&a, 0, 10, 2);
	end(&a, true);
	fd = open(file, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, old, bytes, 0), bytes);
	close(fd);
	begin(&b, key_file);
	assert_true(same_key(&a, &b));
	assert_int_equal(a.first_nonce, b.first_nonce);
	assert_int_not_equal(a.salt, b.salt);
	end(&b, true);
}

/* Only the data put back, in use or after a clean stop: the table knows better. */
static void an_older_copy_of_the_data(void **state)
{
	struct use a;
	size_t bytes;
	CLEANUP_FREE void *old = NULL;
	int fd;

	(void)state;
	begin(&a, key_file);
	write_pages(&a, 0, 64, 1);
	end(&a, true);
	old = whole_file(&bytes);
	begin(&a, key_file);
	write_pages(&a, 0, 64, 1); /* the same content again */
	end(&a, true);
	fd = open(file, O_WRONLY | O_CLOEXEC);
	assert_int_equal(pwrite(fd, old, BYTES, 0), BYTES);
	close(fd);
	begin(&a, key_file);
	for (uint64_t i = 0; i < 64; i++)
		expect(&a, i, -1);
	assert_int_equal(table_counters(a.t)->lost_pages, 64);
	end(&a, true);
}

static struct trailer trailer_of(const void *content, size_t bytes)
{
	struct errbuf e;
	struct trailer t;
	int fd = scratch_file(bytes);

	assert_int_equal(pwrite(fd, content, bytes, 0), bytes);
	assert_int_equal(trailer_read(fd, "copy", bytes, &t, &e), 1);
	close(fd);
	return t;
}

/* An older image under the newer header, with the checksum that it needs: made by somebody who can write the file. */
static void a_forged_image(void **state)
{
	struct use a;
	struct errbuf e;
	size_t bytes;
	CLEANUP_FREE unsigned char *old = NULL;
	CLEANUP_FREE unsigned char *new = NULL;
	struct trailer was, is;
	int fd;

	(void)state;
	begin(&a, key_file);
	write_pages(&a, 0, 64, 1);
	end(&a, true);
	old = whole_file(&bytes);
	begin(&a, key_file);
	write_pages(&a, 0, 64, 2);
	end(&a, true);
	new = whole_file(&bytes);
	was = trailer_of(old, bytes);
	is = trailer_of(new, bytes);
	assert_int_equal(was.activation, is.activation);
	memcpy(is.table_check, was.table_check, sizeof(is.table_check));
	fd = open(file, O_RDWR | O_CLOEXEC);
	assert_int_equal(pwrite(fd, old, bytes, 0), bytes); /* pages and image */
	assert_int_equal(trailer_write(fd, file, &is, &e), 0);
	close(fd);
	begin(&a, key_file);
	assert_true(backing_was_unclean(a.b));
	assert_true(a.activation > is.activation);
	expect(&a, 0, -1);
	expect(&a, 63, -1);
	end(&a, true);
}

int main(void)
{
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(clean_stops_go_on_counting),
		T(unclean_ends_change_the_key),
		T(ephemeral_keys_are_never_the_same),
		T(an_older_copy_of_the_whole_file),
		T(an_older_copy_of_the_data),
		T(a_forged_image),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
