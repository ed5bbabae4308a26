/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/seal.h"

#include "common/procself.h"
#include "store/page.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LANES_MAX 64
#define PIECE_MAX (1u << 30) /* OpenSSL counts in int */

struct lane {
	EVP_CIPHER_CTX *encrypt, *decrypt;
	struct lane *next; /* while free */
};

struct page_aad {
	uint64_t page, activation; /* little-endian as the machine is, like the file's other numbers */
	uint8_t uuid[16];
};
_Static_assert(sizeof(struct page_aad) == 32, "no padding is authenticated");

struct seal {
	pthread_mutex_t lock; /* guards the list of free lanes */
	pthread_cond_t given;
	struct lane *free;
	uint64_t activation;
	uint8_t uuid[16];
	unsigned count;
	struct lane lanes[];
};

static pthread_once_t counted = PTHREAD_ONCE_INIT;
static long processors;

static void count_processors(void)
{
	processors = sysconf(_SC_NPROCESSORS_ONLN);
}

unsigned seal_lanes(void)
{
	pthread_once(&counted, count_processors);
	return processors < 2 ? 2 : processors > LANES_MAX ? LANES_MAX : (unsigned)processors;
}

void seal_prepare(void)
{
	pthread_once(&counted, count_processors);
	OPENSSL_init_crypto(OPENSSL_INIT_LOAD_CONFIG, NULL);
}

static bool lane_make(struct lane *l, const EVP_CIPHER *cipher, const uint8_t *key)
{
	l->encrypt = EVP_CIPHER_CTX_new();
	l->decrypt = EVP_CIPHER_CTX_new();
	return l->encrypt && l->decrypt && EVP_EncryptInit_ex2(l->encrypt, cipher, key, NULL, NULL) == 1 &&
	       EVP_DecryptInit_ex2(l->decrypt, cipher, key, NULL, NULL) == 1 &&
	       EVP_CIPHER_CTX_get_iv_length(l->encrypt) == SEAL_NONCE_BYTES;
}

struct seal *seal_create(const struct sealkey *key, unsigned lanes, struct errbuf *e)
{
	EVP_CIPHER *cipher;
	struct seal *s;
	bool made;

	if (procself_undumpable(e) < 0)
		return NULL;
	cipher = EVP_CIPHER_fetch(NULL, "AES-256-GCM", NULL);
	s = calloc(1, sizeof(*s) + lanes * sizeof(struct lane));
	made = cipher && s && lanes > 0;
	if (s) {
		pthread_mutex_init(&s->lock, NULL);
		pthread_cond_init(&s->given, NULL);
		s->activation = sealkey_activation(key);
		memcpy(s->uuid, sealkey_uuid(key), sizeof(s->uuid));
		s->count = lanes;
	}
	for (unsigned i = 0; made && i < lanes; i++) {
		made = lane_make(&s->lanes[i], cipher, sealkey_bytes(key));
		s->lanes[i].next = s->free;
		s->free = &s->lanes[i];
	}
	EVP_CIPHER_free(cipher); /* the contexts hold it */
	if (made)
		return s;
	seal_free(s);
	err_set(e, ENOTSUP, "OpenSSL cannot set up AES-256-GCM; see that its default provider is active, or use seal=none");
	return NULL;
}

void seal_free(struct seal *s)
{
	if (!s)
		return;
	for (unsigned i = 0; i < s->count; i++) {
		EVP_CIPHER_CTX_free(s->lanes[i].encrypt); /* wipes its key */
		EVP_CIPHER_CTX_free(s->lanes[i].decrypt);
	}
	pthread_cond_destroy(&s->given);
	pthread_mutex_destroy(&s->lock);
	free(s);
}

static struct lane *lane_take(struct seal *s)
{
	struct lane *l;

	pthread_mutex_lock(&s->lock);
	while (!s->free)
		pthread_cond_wait(&s->given, &s->lock);
	l = s->free;
	s->free = l->next;
	pthread_mutex_unlock(&s->lock);
	return l;
}

static void lane_give(struct seal *s, struct lane *l)
{
	pthread_mutex_lock(&s->lock);
	l->next = s->free;
	s->free = l;
	pthread_cond_signal(&s->given);
	pthread_mutex_unlock(&s->lock);
}

/* Works in either direction; GCM is a stream, so out has as many bytes as in. */
static bool update(EVP_CIPHER_CTX *ctx, const void *in, void *out, size_t bytes)
{
	for (size_t done = 0; done < bytes;) {
		size_t piece = bytes - done < PIECE_MAX ? bytes - done : PIECE_MAX;
		unsigned char *to = out ? (unsigned char *)out + done : NULL;
		int n;

		if (EVP_CipherUpdate(ctx, to, &n, (const unsigned char *)in + done, (int)piece) != 1 || (size_t)n != piece)
			return false;
		done += piece;
	}
	return true;
}

static bool lane_seal(EVP_CIPHER_CTX *ctx, const uint8_t *nonce, const void *aad, size_t aad_bytes, const void *in, void *out,
		      size_t bytes, uint8_t *tag)
{
	unsigned char none[16];
	int n;

	return EVP_EncryptInit_ex2(ctx, NULL, NULL, nonce, NULL) == 1 && update(ctx, aad, NULL, aad_bytes) &&
	       update(ctx, in, out, bytes) && EVP_EncryptFinal_ex(ctx, none, &n) == 1 &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, SEAL_TAG_BYTES, tag) == 1;
}

static bool lane_unseal(EVP_CIPHER_CTX *ctx, const uint8_t *nonce, const void *aad, size_t aad_bytes, const void *in, void *out,
			size_t bytes, const uint8_t *tag)
{
	unsigned char none[16];
	int n;

	return EVP_DecryptInit_ex2(ctx, NULL, NULL, nonce, NULL) == 1 &&
	       EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, SEAL_TAG_BYTES, (void *)tag) == 1 &&
	       update(ctx, aad, NULL, aad_bytes) && update(ctx, in, out, bytes) && EVP_DecryptFinal_ex(ctx, none, &n) == 1;
}

bool seal_bytes(struct seal *s, const uint8_t nonce[SEAL_NONCE_BYTES], const void *aad, size_t aad_bytes, const void *in, void *out,
		size_t bytes, uint8_t tag[SEAL_TAG_BYTES])
{
	struct lane *l = lane_take(s);
	bool good = lane_seal(l->encrypt, nonce, aad, aad_bytes, in, out, bytes, tag);

	lane_give(s, l);
	return good;
}

bool unseal_bytes(struct seal *s, const uint8_t nonce[SEAL_NONCE_BYTES], const void *aad, size_t aad_bytes, const void *in, void *out,
		  size_t bytes, const uint8_t tag[SEAL_TAG_BYTES])
{
	struct lane *l = lane_take(s);
	bool good = lane_unseal(l->decrypt, nonce, aad, aad_bytes, in, out, bytes, tag);

	lane_give(s, l);
	if (!good)
		memset(out, 0, bytes);
	return good;
}

void seal_nonce(uint64_t counter, uint32_t salt, uint8_t nonce[SEAL_NONCE_BYTES])
{
	for (int i = 0; i < 8; i++)
		nonce[i] = (uint8_t)(counter >> (56 - 8 * i));
	for (int i = 0; i < 4; i++)
		nonce[8 + i] = (uint8_t)(salt >> (24 - 8 * i));
}

static struct page_aad page_aad(const struct seal *s, uint64_t page)
{
	struct page_aad aad = { .page = page, .activation = s->activation };

	memcpy(aad.uuid, s->uuid, sizeof(aad.uuid));
	return aad;
}

bool seal_page(struct seal *s, uint64_t page, uint64_t counter, uint32_t salt, const void *in, void *out,
	       uint8_t tag[SEAL_TAG_BYTES])
{
	struct page_aad aad = page_aad(s, page);
	uint8_t nonce[SEAL_NONCE_BYTES];

	seal_nonce(counter, salt, nonce);
	return seal_bytes(s, nonce, &aad, sizeof(aad), in, out, PAGE_BYTES, tag);
}

bool unseal_page(struct seal *s, uint64_t page, uint64_t counter, uint32_t salt, const void *in, void *out,
		 const uint8_t tag[SEAL_TAG_BYTES])
{
	struct page_aad aad = page_aad(s, page);
	uint8_t nonce[SEAL_NONCE_BYTES];

	seal_nonce(counter, salt, nonce);
	return unseal_bytes(s, nonce, &aad, sizeof(aad), in, out, PAGE_BYTES, tag);
}
