/* SPDX-License-Identifier: BSD-3-Clause */
/* Keys: made, loaded with every refusal, derived as written down, handed down read-only, kept out of dumps and wiped. */
#include "config.h"

#include "tests/store/support.h"

#include "common/cleanup.h"
#include "store/page.h"
#include "store/sealkey.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static const uint8_t uuid_a[16] = "file number one.", uuid_b[16] = "file number two.";

static void ephemeral_is_random(void **state)
{
	static const uint8_t zeros[SEALKEY_BYTES];
	struct errbuf e;
	struct sealkey *a = sealkey_create_ephemeral(true, &e), *b = sealkey_create_ephemeral(true, &e);

	(void)state;
	assert_non_null(a);
	assert_non_null(b);
	assert_memory_not_equal(sealkey_bytes(a), sealkey_bytes(b), SEALKEY_BYTES);
	assert_memory_not_equal(sealkey_bytes(a), zeros, SEALKEY_BYTES);
	sealkey_free(a);
	sealkey_free(b);
	sealkey_free(NULL);
}

/* HKDF (RFC 5869) from HMAC: extract with a salt of zeros, then the first block of expand. */
static void plain_hkdf(const uint8_t *key, const uint8_t *info, size_t info_bytes, uint8_t out[32])
{
	static const uint8_t salt[32];
	uint8_t prk[32], text[128];
	unsigned n;

	assert_non_null(HMAC(EVP_sha256(), salt, 32, key, 32, prk, &n));
	memcpy(text, info, info_bytes);
	text[info_bytes] = 1;
	assert_non_null(HMAC(EVP_sha256(), prk, 32, text, info_bytes + 1, out, &n));
}

static void derived_as_written_down(void **state)
{
	struct errbuf e = { .code = 0 };
	struct sealkey *master = sealkey_create_ephemeral(true, &e);
	struct sealkey *k = sealkey_derive(master, uuid_a, 0x0102030405060708, true, &e), *other;
	uint8_t info[15 + 16 + 8], want[32], id[SEALKEY_ID_BYTES], id_b[SEALKEY_ID_BYTES];

	(void)state;
	assert_non_null(k);
	memcpy(info, "nbdswap seal v1", 15);
	memcpy(info + 15, uuid_a, 16);
	memcpy(info + 31, "\x08\x07\x06\x05\x04\x03\x02\x01", 8);
	plain_hkdf(sealkey_bytes(master), info, sizeof(info), want);
	assert_memory_equal(sealkey_bytes(k), want, SEALKEY_BYTES);
	assert_true(sealkey_is_for(k, uuid_a, 0x0102030405060708));
	assert_false(sealkey_is_for(k, uuid_a, 1));
	assert_false(sealkey_is_for(k, uuid_b, 0x0102030405060708));
	assert_false(sealkey_is_for(master, sealkey_uuid(master), 0));

	other = sealkey_derive(master, uuid_a, 0x0102030405060709, true, &e); /* the next activation */
	assert_memory_not_equal(sealkey_bytes(k), sealkey_bytes(other), SEALKEY_BYTES);
	sealkey_free(other);
	other = sealkey_derive(master, uuid_b, 0x0102030405060708, true, &e); /* another file */
	assert_memory_not_equal(sealkey_bytes(k), sealkey_bytes(other), SEALKEY_BYTES);
	sealkey_free(other);
	assert_null(sealkey_derive(k, uuid_a, 1, true, &e));
	assert_int_equal(e.code, EINVAL);

	memcpy(info, "nbdswap key id v1", 17);
	memcpy(info + 17, uuid_a, 16);
	plain_hkdf(sealkey_bytes(master), info, 33, want);
	assert_int_equal(sealkey_id(master, uuid_a, id, &e), 0);
	assert_memory_equal(id, want, SEALKEY_ID_BYTES);
	assert_int_equal(sealkey_id(master, uuid_b, id_b, &e), 0);
	assert_memory_not_equal(id, id_b, SEALKEY_ID_BYTES);
	sealkey_free(k);
	sealkey_free(master);
}

static char *key_file(const char *dir, const void *text, size_t n, mode_t mode)
{
	char *path;
	int fd;

	assert_true(asprintf(&path, "%s/key", dir) > 0);
	unlink(path);
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), (ssize_t)n);
	assert_int_equal(fchmod(fd, mode), 0);
	close(fd);
	return path;
}

static void expect_key(const char *dir, const void *text, size_t n, const void *want)
{
	CLEANUP_FREE char *path = key_file(dir, text, n, 0400);
	struct errbuf e = { .text = "" };
	struct sealkey *k = sealkey_load(path, true, &e);

	assert_string_equal(e.text, "");
	assert_non_null(k);
	assert_memory_equal(sealkey_bytes(k), want, SEALKEY_BYTES);
	sealkey_free(k);
}

/* The message names the file, the reason and what to do. */
static void expect_refusal(const char *path, int code, const char *reason, const char *remedy)
{
	struct errbuf e = { .text = "" };

	assert_null(sealkey_load(path, true, &e));
	print_message("%s\n", e.text);
	assert_int_equal(e.code, code);
	assert_non_null(strstr(e.text, path));
	assert_non_null(strstr(e.text, reason));
	assert_non_null(strstr(e.text, remedy));
}

static void refuse_content(const char *dir, const void *text, size_t n)
{
	CLEANUP_FREE char *path = key_file(dir, text, n, 0600);

	expect_refusal(path, EINVAL, "32 bytes", "head -c 32 /dev/urandom");
}

#define HEX "000102030405060708090a0b0c0d0e0f101112131415161718191A1B1C1D1E1F"

static void key_files(void **state)
{
	char *dir = scratch_dir();
	uint8_t raw[33];
	CLEANUP_FREE char *fifo = NULL;

	(void)state;
	for (int i = 0; i < 33; i++)
		raw[i] = (uint8_t)i;
	expect_key(dir, raw, 32, raw);
	expect_key(dir, HEX, 64, raw);
	expect_key(dir, HEX "\n", 65, raw);
	refuse_content(dir, "", 0);
	refuse_content(dir, raw, 31);
	refuse_content(dir, raw, 33);
	refuse_content(dir, HEX "\n\n", 66);
	refuse_content(dir, HEX "0", 65);
	refuse_content(dir, HEX HEX, 128);
	refuse_content(dir, "x" HEX, 64);
	refuse_content(dir, (uint8_t[32]){ 0 }, 32);
	refuse_content(dir, "7777777777777777777777777777777777777777777777777777777777777777", 64);
	for (mode_t bit = 001; bit <= 040; bit <<= 1) {
		CLEANUP_FREE char *path = key_file(dir, raw, 32, 0600 | bit);

		expect_refusal(path, EACCES, "its mode", "chmod 600");
	}
	if (geteuid() == 0) {
		CLEANUP_FREE char *path = key_file(dir, raw, 32, 0600);

		assert_int_equal(chown(path, 12345, 0), 0);
		expect_refusal(path, EACCES, "12345", "chown");
	}
	expect_refusal(dir, EINVAL, "not a regular file", "name a file");
	assert_true(asprintf(&fifo, "%s/fifo", dir) > 0);
	expect_refusal(fifo, ENOENT, "does not exist", "head -c 32 /dev/urandom");
	assert_int_equal(mkfifo(fifo, 0600), 0);
	expect_refusal(fifo, EINVAL, "not a regular file", "name a file");
	scratch_remove(dir);
}

/* Another process reads the key and cannot write it. */
static void handed_down_read_only(void **state)
{
	struct errbuf e = { .code = 0 };
	struct sealkey *master = sealkey_create_ephemeral(true, &e);
	struct sealkey *k = sealkey_derive(master, uuid_a, 77, true, &e), *mine;
	int status, other = memfd_create("other", MFD_CLOEXEC);
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0) {
		mine = sealkey_map(sealkey_fd(k), true, &e);
		if (!mine || memcmp(sealkey_bytes(mine), sealkey_bytes(k), SEALKEY_BYTES) != 0 || !sealkey_is_for(mine, uuid_a, 77))
			_exit(1);
		if (mmap(NULL, PAGE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, sealkey_fd(k), 0) != MAP_FAILED)
			_exit(2);
		if (pwrite(sealkey_fd(k), "x", 1, 0) == 1 || ftruncate(sealkey_fd(k), 0) == 0)
			_exit(3);
		sealkey_free(mine); /* must not wipe what is another's */
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	mine = sealkey_map(sealkey_fd(k), true, &e);
	assert_non_null(mine);
	assert_memory_equal(sealkey_bytes(mine), sealkey_bytes(k), SEALKEY_BYTES);
	/* Wiped by its owner: nobody has it any more. */
	sealkey_free(k);
	for (int i = 0; i < SEALKEY_BYTES; i++)
		assert_int_equal(sealkey_bytes(mine)[i], 0);
	sealkey_free(mine);

	assert_null(sealkey_map(sealkey_fd(master), true, &e)); /* a master is never handed down */
	assert_int_equal(e.code, EPROTO);
	assert_null(sealkey_map(other, true, &e));
	assert_int_equal(e.code, EPROTO);
	assert_int_equal(ftruncate(other, PAGE_BYTES), 0); /* of the right size, but somebody could shrink it */
	assert_null(sealkey_map(other, true, &e));
	assert_int_equal(e.code, EPROTO);
	close(other);
	sealkey_free(master);
}

/* The mapping's flags in smaps: dd = not in core dumps, lo = locked. */
static void not_in_dumps_and_locked(void **state)
{
	struct errbuf e = { .code = 0 };
	struct sealkey *k = sealkey_create_ephemeral(false, &e);
	CLEANUP_FCLOSE FILE *f = fopen("/proc/self/smaps", "re");
	char line[512];
	bool mine = false, found = false;

	(void)state;
	if (!k && e.code == ENOMEM)
		skip(); /* no right to lock memory here */
	assert_non_null(k);
	while (fgets(line, sizeof(line), f)) {
		if (strstr(line, "nbdswap-key"))
			mine = true;
		if (!mine || strncmp(line, "VmFlags:", 8) != 0)
			continue;
		found = true;
		assert_non_null(strstr(line, " dd"));
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) /* they turn mlock off */
		assert_non_null(strstr(line, " lo"));
#endif
		mine = false;
	}
	assert_true(found);
	sealkey_free(k);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ephemeral_is_random),
		cmocka_unit_test(derived_as_written_down),
		cmocka_unit_test(key_files),
		cmocka_unit_test(handed_down_read_only),
		cmocka_unit_test(not_in_dumps_and_locked),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
