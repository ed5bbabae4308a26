/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/sealkey.h"

#include "common/cleanup.h"
#include "store/page.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/kdf.h>
#include <openssl/params.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_MAGIC UINT64_C(0x3159454b5753444e) /* "NDSWKEY1" */
#define INFO_MAX 64

enum key_kind { KEY_MASTER = 1, KEY_SUBKEY = 2 };

struct key_page {
	uint64_t magic;
	uint32_t kind;
	uint32_t reserved;
	uint64_t activation;
	uint8_t uuid[16];
	uint8_t key[SEALKEY_BYTES];
};

struct sealkey {
	int fd;
	bool owner;
	struct key_page *page;
};

/* Takes fd over. */
static struct sealkey *key_open(int fd, bool owner, bool allow_unlocked, struct errbuf *e)
{
	struct sealkey *k = calloc(1, sizeof(*k));
	void *p = MAP_FAILED;

	if (!k) {
		close(fd);
		err_set(e, ENOMEM, "no memory for a key");
		return NULL;
	}
	k->fd = fd;
	k->owner = owner;
	p = mmap(NULL, PAGE_BYTES, PROT_READ | (owner ? PROT_WRITE : 0), MAP_SHARED, fd, 0);
	if (p == MAP_FAILED) {
		err_errno(e, "cannot map the page of a key");
		goto fail;
	}
	if (mlock(p, PAGE_BYTES) < 0 && !allow_unlocked) {
		err_set(e, ENOMEM, "the page of a key cannot be locked in memory: %s; give the process CAP_IPC_LOCK or "
			"LimitMEMLOCK=infinity (ulimit -l), or allow=memlock to go on without", strerror(errno));
		goto fail;
	}
	if (madvise(p, PAGE_BYTES, MADV_DONTDUMP) < 0) {
		err_errno(e, "the page of a key cannot be kept out of core dumps");
		goto fail;
	}
	k->page = p;
	return k;
fail:
	if (p != MAP_FAILED)
		munmap(p, PAGE_BYTES);
	close(fd);
	free(k);
	return NULL;
}

static struct sealkey *key_create(enum key_kind kind, bool allow_unlocked, struct errbuf *e)
{
	CLEANUP_CLOSE int fd = memfd_create("nbdswap-key", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	struct sealkey *k;

	if (fd < 0 || ftruncate(fd, PAGE_BYTES) < 0) {
		err_errno(e, "cannot make the page of a key");
		return NULL;
	}
	k = key_open(steal_fd(&fd), true, allow_unlocked, e);
	if (!k)
		return NULL;
	/* Our mapping stays writable, so that we can wipe it. */
	if (fcntl(k->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE | F_SEAL_SEAL) < 0) {
		err_errno(e, "cannot make the page of a key read-only for others (Linux 5.1 is needed)");
		sealkey_free(k);
		return NULL;
	}
	k->page->magic = KEY_MAGIC;
	k->page->kind = kind;
	return k;
}

struct sealkey *sealkey_create_ephemeral(bool allow_unlocked, struct errbuf *e)
{
	struct sealkey *k = key_create(KEY_MASTER, allow_unlocked, e);

	/* Up to 256 bytes come whole once the kernel's generator is ready, which getrandom waits for. */
	if (k && getrandom(k->page->key, SEALKEY_BYTES, 0) != SEALKEY_BYTES) {
		err_errno(e, "the kernel gave no random bytes for a key");
		sealkey_free(k);
		return NULL;
	}
	return k;
}

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* text: n bytes, as the file has them.  Returns whether they are a key. */
static bool parse_key(const unsigned char *text, size_t n, uint8_t key[SEALKEY_BYTES])
{
	bool varied = false;

	if (n == SEALKEY_BYTES) {
		memcpy(key, text, SEALKEY_BYTES);
	} else if (n == 2 * SEALKEY_BYTES || (n == 2 * SEALKEY_BYTES + 1 && text[n - 1] == '\n')) {
		for (size_t i = 0; i < SEALKEY_BYTES; i++) {
			int high = hex_digit((char)text[2 * i]), low = hex_digit((char)text[2 * i + 1]);

			if (high < 0 || low < 0)
				return false;
			key[i] = (uint8_t)(high << 4 | low);
		}
	} else {
		return false;
	}
	/* A file of zeros is what a failed command leaves behind, not a key. */
	for (size_t i = 1; i < SEALKEY_BYTES; i++)
		varied |= key[i] != key[0];
	return varied;
}

static int check_key_file(int fd, const char *path, struct errbuf *e)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return err_errno(e, "key file %s: cannot look at it", path);
	if (!S_ISREG(st.st_mode))
		return err_set(e, EINVAL, "key file %s: it is not a regular file; name a file that holds the key", path);
	if (st.st_uid != 0 && st.st_uid != geteuid())
		return err_set(e, EACCES, "key file %s: it belongs to user %u, who could replace the key; it must be root's or "
			       "user %u's (chown)", path, (unsigned)st.st_uid, (unsigned)geteuid());
	if (st.st_mode & 077)
		return err_set(e, EACCES, "key file %s: its mode %04o lets others at the key; use chmod 600 and a new key", path,
			       (unsigned)st.st_mode & 07777);
	return 0;
}

struct sealkey *sealkey_load(const char *path, bool allow_unlocked, struct errbuf *e)
{
	/* O_NONBLOCK: a pipe of this name is refused and not waited for. */
	CLEANUP_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	unsigned char text[2 * SEALKEY_BYTES + 2];
	struct sealkey *k;
	size_t n = 0;
	ssize_t r = 0;
	bool good;

	if (fd < 0) {
		if (errno == ENOENT)
			err_set(e, ENOENT, "key file %s: it does not exist; make one: (umask 077; "
				"head -c 32 /dev/urandom > %s)", path, path);
		else
			err_errno(e, "key file %s: cannot open it", path);
		return NULL;
	}
	if (check_key_file(fd, path, e) < 0)
		return NULL;
	k = key_create(KEY_MASTER, allow_unlocked, e);
	if (!k)
		return NULL;
	while (n < sizeof(text) && (r = read(fd, text + n, sizeof(text) - n)) > 0)
		n += (size_t)r;
	good = r >= 0 && parse_key(text, n, k->page->key);
	OPENSSL_cleanse(text, sizeof(text));
	if (good)
		return k;
	if (r < 0)
		err_errno(e, "key file %s: cannot read it", path);
	else
		err_set(e, EINVAL, "key file %s: it must hold a random key of 32 bytes, or 64 hexadecimal digits, and "
			"nothing else; make one: (umask 077; head -c 32 /dev/urandom > %s)", path, path);
	sealkey_free(k);
	return NULL;
}

/* HKDF-SHA256 (RFC 5869) without salt: the input is a uniform key already. */
static int hkdf(const uint8_t key[SEALKEY_BYTES], const void *info, size_t info_bytes, uint8_t *out, size_t out_bytes,
		struct errbuf *e)
{
	char digest[] = "SHA256";
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, digest, 0),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)key, SEALKEY_BYTES),
		OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info, info_bytes),
		OSSL_PARAM_construct_end(),
	};
	EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
	EVP_KDF_CTX *ctx = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
	bool done = ctx && EVP_KDF_derive(ctx, out, out_bytes, params) == 1;

	EVP_KDF_CTX_free(ctx); /* wipes its copy of the key */
	EVP_KDF_free(kdf);
	return done ? 0 : err_set(e, ENOTSUP, "OpenSSL cannot derive a key (HKDF with SHA256); see that its default "
				  "provider is active");
}

static size_t make_info(uint8_t out[INFO_MAX], const char *label, const uint8_t uuid[16], const uint64_t *activation)
{
	size_t n = strlen(label);

	memcpy(out, label, n);
	memcpy(out + n, uuid, 16);
	n += 16;
	for (size_t i = 0; activation && i < 8; i++)
		out[n++] = (uint8_t)(*activation >> (8 * i));
	return n;
}

struct sealkey *sealkey_derive(const struct sealkey *master, const uint8_t uuid[16], uint64_t activation, bool allow_unlocked,
			       struct errbuf *e)
{
	uint8_t info[INFO_MAX];
	size_t n = make_info(info, "nbdswap seal v1", uuid, &activation);
	struct sealkey *k;

	if (master->page->kind != KEY_MASTER) {
		err_set(e, EINVAL, "a key of one activation cannot be used to make another");
		return NULL;
	}
	k = key_create(KEY_SUBKEY, allow_unlocked, e);
	if (!k)
		return NULL;
	memcpy(k->page->uuid, uuid, 16);
	k->page->activation = activation;
	if (hkdf(master->page->key, info, n, k->page->key, SEALKEY_BYTES, e) < 0) {
		sealkey_free(k);
		return NULL;
	}
	return k;
}

int sealkey_id(const struct sealkey *master, const uint8_t uuid[16], uint8_t id[SEALKEY_ID_BYTES], struct errbuf *e)
{
	uint8_t info[INFO_MAX];
	size_t n = make_info(info, "nbdswap key id v1", uuid, NULL);

	return hkdf(master->page->key, info, n, id, SEALKEY_ID_BYTES, e);
}

static struct sealkey *map_kind(int fd, enum key_kind kind, bool allow_unlocked, struct errbuf *e)
{
	CLEANUP_CLOSE int mine = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	struct sealkey *k;
	struct stat st;
	int seals;

	if (mine < 0 || fstat(mine, &st) < 0) {
		err_errno(e, "cannot look at the key that was handed down");
		return NULL;
	}
	/* Sealed against shrinking, so that reading it later cannot fault. */
	seals = fcntl(mine, F_GET_SEALS);
	if (st.st_size != PAGE_BYTES || seals < 0 || !(seals & F_SEAL_SHRINK)) {
		err_set(e, EPROTO, "the key that was handed down is not one; restart the daemon and its workers with the same version "
			"of nbdswap");
		return NULL;
	}
	k = key_open(steal_fd(&mine), false, allow_unlocked, e);
	if (k && (k->page->magic != KEY_MAGIC || k->page->kind != kind)) {
		err_set(e, EPROTO, "the key that was handed down has another layout; restart the daemon and its workers with the same "
			"version of nbdswap");
		sealkey_free(k);
		return NULL;
	}
	return k;
}

struct sealkey *sealkey_map(int fd, bool allow_unlocked, struct errbuf *e)
{
	return map_kind(fd, KEY_SUBKEY, allow_unlocked, e);
}

struct sealkey *sealkey_map_master(int fd, bool allow_unlocked, struct errbuf *e)
{
	return map_kind(fd, KEY_MASTER, allow_unlocked, e);
}

int sealkey_fd(const struct sealkey *k)
{
	return k->fd;
}

const uint8_t *sealkey_bytes(const struct sealkey *k)
{
	return k->page->key;
}

const uint8_t *sealkey_uuid(const struct sealkey *k)
{
	return k->page->uuid;
}

uint64_t sealkey_activation(const struct sealkey *k)
{
	return k->page->activation;
}

bool sealkey_is_for(const struct sealkey *k, const uint8_t uuid[16], uint64_t activation)
{
	return k->page->kind == KEY_SUBKEY && k->page->activation == activation && memcmp(k->page->uuid, uuid, 16) == 0;
}

void sealkey_free(struct sealkey *k)
{
	if (!k)
		return;
	if (k->owner)
		OPENSSL_cleanse(k->page, PAGE_BYTES);
	munmap(k->page, PAGE_BYTES);
	close(k->fd);
	free(k);
}
