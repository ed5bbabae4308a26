/* SPDX-License-Identifier: BSD-3-Clause */
/* Sealing: the published answers, the format of a page's nonce and associated data, and that nothing changed verifies. */
#include "config.h"

#include "tests/store/support.h"

#include "store/page.h"
#include "store/seal.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

static const uint8_t test_uuid[16] = "0123456789abcdef";

/* A subkey with chosen bytes: made in the ordinary way, then filled through the only mapping that may write. */
static struct sealkey *subkey_with(const uint8_t *bytes, uint64_t activation)
{
	struct errbuf e = { .code = 0 };
	struct sealkey *master = sealkey_create_ephemeral(true, &e);
	struct sealkey *k = sealkey_derive(master, test_uuid, activation, true, &e);

	assert_non_null(k);
	if (bytes)
		memcpy((void *)(uintptr_t)sealkey_bytes(k), bytes, SEALKEY_BYTES);
	sealkey_free(master);
	return k;
}

static struct seal *seal_with(const uint8_t *bytes, uint64_t activation, unsigned lanes)
{
	struct errbuf e = { .code = 0 };
	struct sealkey *k = subkey_with(bytes, activation);
	struct seal *s = seal_create(k, lanes, &e);

	assert_non_null(s);
	sealkey_free(k); /* needed no more */
	return s;
}

static size_t unhex(const char *text, uint8_t *out)
{
	size_t n = strlen(text) / 2;

	for (size_t i = 0; i < n; i++) {
		unsigned v;

		assert_int_equal(sscanf(text + 2 * i, "%2x", &v), 1);
		out[i] = (uint8_t)v;
	}
	return n;
}

/* AES-256 with nonces of 96 bits.  Tags are cut to 96 bits, as SP 800-38D defines a shorter tag: the leftmost bits. */
static const struct vector {
	const char *what, *key, *iv, *aad, *text, *sealed, *tag;
} vectors[] = {
	{ "McGrew and Viega, The Galois/Counter Mode of Operation, test case 13",
	  "0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "", "", "",
	  "530f8afbc74536b9a963b4f1c4cb738b" },
	{ "test case 14", "0000000000000000000000000000000000000000000000000000000000000000", "000000000000000000000000", "",
	  "00000000000000000000000000000000", "cea7403d4d606b6e074ec5d3baf39d18", "d0d1c8a799996bf0265b98b5d48ab919" },
	{ "test case 15", "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888", "",
	  "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
	  "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b391aafd255",
	  "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
	  "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662898015ad",
	  "b094dac5d93471bdec1a502270e3cc6c" },
	{ "test case 16", "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308", "cafebabefacedbaddecaf888",
	  "feedfacedeadbeeffeedfacedeadbeefabaddad2",
	  "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72"
	  "1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39",
	  "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa"
	  "8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662",
	  "76fc6ece0f4e1768cddf8853bb2d551b" },
	{ "NIST CAVS gcmEncryptExtIV256, PTlen 128, AADlen 0, count 0",
	  "31bdadd96698c204aa9ce1448ea94ae1fb4a9a0b3c9d773b51bb1822666b8f22", "0d18e06c7c725ac9e362e1ce", "",
	  "2db5168e932556f8089a0622981d017d", "fa4362189661d163fcd6a56d8bf0405a", "d636ac1bbedd5cc3ee727dc2ab4a9489" },
	{ "CAVS, PTlen 128, AADlen 0, count 1", "460fc864972261c2560e1eb88761ff1c992b982497bd2ac36c04071cbb8e5d99",
	  "8a4a16b9e210eb68bcb6f58d", "", "99e4e926ffe927f691893fb79a96b067", "133fc15751621b5f325c7ff71ce08324",
	  "ec4e87e0cf74a13618d0b68636ba9fa7" },
	{ "CAVS, PTlen 128, AADlen 128, count 0", "92e11dcdaa866f5ce790fd24501f92509aacf4cb8b1339d50c9c1240935dd08b",
	  "ac93a1a6145299bde902f21a", "1e0889016f67601c8ebea4943bc23ad6", "2d71bcfa914e4ac045b2aa60955fad24",
	  "8995ae2e6df3dbf96fac7b7137bae67f", "eca5aa77d51d4a0a14d9c51e1da474ab" },
	{ "CAVS, PTlen 104, AADlen 0, count 3", "e5a0eb92cc2b064e1bc80891faf1fab5e9a17a9c3a984e25416720e30e6c2b21",
	  "4742357c335913153ff0eb0f", "", "8499893e16b0ba8b007d54665a", "eb8e6175f1fe38eb1acf95fd51",
	  "88a8b74bb74fda553e91020a23deed45" },
	{ "CAVS, PTlen 256, AADlen 0, count 6", "37f39137416bafde6f75022a7a527cc593b6000a83ff51ec04871a0ff5360e4e",
	  "a291484c3de8bec6b47f525f", "", "fafd94cede8b5a0730394bec68a8e77dba288d6ccaa8e1563a81d6e7ccc7fc97",
	  "44dc868006b21d49284016565ffb3979cc4271d967628bf7cdaf86db888e92e5", "01a2b578aa2f41ec6379a44a31cc019c" },
	{ "CAVS, PTlen 408, AADlen 0, count 8", "595f259c55abe00ae07535ca5d9b09d6efb9f7e9abb64605c337acbd6b14fc7e",
	  "92f258071d79af3e63672285", "",
	  "a6fee33eb110a2d769bbc52b0f36969c287874f665681477a25fc4c48015c541fbe2394133ba490a34ee2dd67b898177849a91",
	  "bbca4a9e09ae9690c0f6f8d405e53dccd666aa9c5fa13c8758bc30abe1ddd1bcce0d36a1eaaaaffef20cd3c5970b9673f8a65c",
	  "26ccecb9976fd6ac9c2c0f372c52c821" },
};

static void published_answers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		const struct vector *v = &vectors[i];
		uint8_t key[32], iv[12], aad[64], text[64], want[64], want_tag[16], out[64], back[64], tag[SEAL_TAG_BYTES];
		size_t aad_bytes = unhex(v->aad, aad), n = unhex(v->text, text);
		struct seal *s;

		print_message("%s\n", v->what);
		assert_int_equal(unhex(v->key, key), 32);
		assert_int_equal(unhex(v->iv, iv), 12);
		assert_int_equal(unhex(v->sealed, want), n);
		assert_int_equal(unhex(v->tag, want_tag), 16);
		s = seal_with(key, 1, 1);
		/* Twice: the second use of a context must be as good as the first. */
		for (int round = 0; round < 2; round++) {
			assert_true(seal_bytes(s, iv, aad, aad_bytes, text, out, n, tag));
			assert_memory_equal(out, want, n);
			assert_memory_equal(tag, want_tag, SEAL_TAG_BYTES);
			assert_true(unseal_bytes(s, iv, aad, aad_bytes, want, back, n, want_tag));
			assert_memory_equal(back, text, n);
			tag[round] ^= 0x10;
			assert_false(unseal_bytes(s, iv, aad, aad_bytes, want, back, n, tag));
		}
		seal_free(s);
	}
}

/* GCM written down from SP 800-38D, on single blocks of AES: slow, and independent of OpenSSL's GCM. */
static void aes_block(const uint8_t *key, const uint8_t *in, uint8_t *out)
{
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n;

	assert_int_equal(EVP_EncryptInit_ex(ctx, EVP_aes_256_ecb(), NULL, key, NULL), 1);
	EVP_CIPHER_CTX_set_padding(ctx, 0);
	assert_int_equal(EVP_EncryptUpdate(ctx, out, &n, in, 16), 1);
	EVP_CIPHER_CTX_free(ctx);
}

static void multiply(uint8_t *x, const uint8_t *h)
{
	uint8_t z[16] = { 0 }, v[16];

	memcpy(v, h, 16);
	for (int i = 0; i < 128; i++) {
		int low = v[15] & 1;

		if (x[i / 8] >> (7 - i % 8) & 1)
			for (int j = 0; j < 16; j++)
				z[j] ^= v[j];
		for (int j = 15; j > 0; j--)
			v[j] = (uint8_t)(v[j] >> 1 | v[j - 1] << 7);
		v[0] >>= 1;
		if (low)
			v[0] ^= 0xe1;
	}
	memcpy(x, z, 16);
}

static void hash_blocks(uint8_t *x, const uint8_t *h, const uint8_t *data, size_t bytes)
{
	for (size_t at = 0; at < bytes; at += 16) {
		for (int j = 0; j < 16; j++)
			x[j] ^= data[at + (size_t)j];
		multiply(x, h);
	}
}

/* aad_bytes and bytes: multiples of 16, as they are for a page. */
static void plain_gcm(const uint8_t *key, const uint8_t *nonce, const uint8_t *aad, size_t aad_bytes, const uint8_t *in, uint8_t *out,
		      size_t bytes, uint8_t *tag)
{
	uint8_t h[16] = { 0 }, x[16] = { 0 }, block[16], stream[16], lengths[16] = { 0 };

	aes_block(key, h, h);
	memcpy(block, nonce, 12);
	for (size_t at = 0; at < bytes; at += 16) {
		uint32_t n = (uint32_t)(at / 16) + 2;

		for (int j = 0; j < 4; j++)
			block[12 + j] = (uint8_t)(n >> (24 - 8 * j));
		aes_block(key, block, stream);
		for (size_t j = 0; j < 16; j++)
			out[at + j] = in[at + j] ^ stream[j];
	}
	for (int j = 0; j < 8; j++) {
		lengths[j] = (uint8_t)((uint64_t)aad_bytes * 8 >> (56 - 8 * j));
		lengths[8 + j] = (uint8_t)((uint64_t)bytes * 8 >> (56 - 8 * j));
	}
	hash_blocks(x, h, aad, aad_bytes);
	hash_blocks(x, h, out, bytes);
	hash_blocks(x, h, lengths, 16);
	memcpy(block + 12, "\0\0\0\1", 4);
	aes_block(key, block, tag);
	for (int j = 0; j < 16; j++)
		tag[j] ^= x[j];
}

/* A page is what the headers say it is: nonce = counter and salt big-endian, associated data = page, activation, uuid. */
static void format_of_a_page(void **state)
{
	static uint8_t in[PAGE_BYTES], want[PAGE_BYTES], out[PAGE_BYTES];
	const uint64_t activation = 0x1122334455667788, page = 0x0a0b0c0d0e0f;
	const uint8_t nonce[12] = { 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0xa1, 0xa2, 0xa3, 0xa4 };
	uint8_t key[32], aad[32], want_tag[16], tag[SEAL_TAG_BYTES];
	struct seal *s;

	(void)state;
	for (int i = 0; i < 32; i++)
		key[i] = (uint8_t)(i * 7 + 3);
	for (size_t i = 0; i < PAGE_BYTES; i++)
		in[i] = (uint8_t)(i * i >> 3);
	memcpy(aad, "\x0f\x0e\x0d\x0c\x0b\x0a\0\0\x88\x77\x66\x55\x44\x33\x22\x11", 16);
	memcpy(aad + 16, test_uuid, 16);
	plain_gcm(key, nonce, aad, sizeof(aad), in, want, PAGE_BYTES, want_tag);
	s = seal_with(key, activation, 2);
	assert_true(seal_page(s, page, 0x0102030405060708, 0xa1a2a3a4, in, out, tag));
	assert_memory_equal(out, want, PAGE_BYTES);
	assert_memory_equal(tag, want_tag, SEAL_TAG_BYTES);
	assert_true(unseal_page(s, page, 0x0102030405060708, 0xa1a2a3a4, want, out, want_tag));
	assert_memory_equal(out, in, PAGE_BYTES);
	seal_free(s);
}

static void expect_refused(struct seal *s, uint64_t page, uint64_t counter, uint32_t salt, const uint8_t *in, const uint8_t *tag)
{
	static const uint8_t zeros[PAGE_BYTES];
	static uint8_t out[PAGE_BYTES];

	memset(out, 0x55, sizeof(out));
	assert_false(unseal_page(s, page, counter, salt, in, out, tag));
	assert_memory_equal(out, zeros, PAGE_BYTES); /* no unverified content */
}

static void nothing_changed_verifies(void **state)
{
	static uint8_t in[PAGE_BYTES], sealed[PAGE_BYTES], other[PAGE_BYTES], out[PAGE_BYTES];
	uint8_t key[32], tag[SEAL_TAG_BYTES], other_tag[SEAL_TAG_BYTES];
	struct seal *s, *later;

	(void)state;
	for (int i = 0; i < 32; i++)
		key[i] = (uint8_t)(200 - i);
	memset(in, 7, sizeof(in));
	s = seal_with(key, 5, 1);
	assert_true(seal_page(s, 10, 1, 99, in, sealed, tag));
	assert_true(seal_page(s, 11, 2, 99, in, other, other_tag));
	assert_memory_not_equal(sealed, other, PAGE_BYTES); /* equal pages look different */
	for (size_t bit = 0; bit < PAGE_BYTES * 8; bit++) {
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
		expect_refused(s, 10, 1, 99, sealed, tag);
		sealed[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	for (size_t bit = 0; bit < SEAL_TAG_BYTES * 8; bit++) {
		tag[bit / 8] ^= (uint8_t)(1 << bit % 8);
		expect_refused(s, 10, 1, 99, sealed, tag);
		tag[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	expect_refused(s, 11, 1, 99, sealed, tag); /* in another place */
	expect_refused(s, 10, 2, 99, sealed, tag);
	expect_refused(s, 10, 1, 98, sealed, tag);
	expect_refused(s, 10, 1, 99, other, tag);
	later = seal_with(key, 6, 1); /* even under the same key, which cannot be */
	expect_refused(later, 10, 1, 99, sealed, tag);
	seal_free(later);
	assert_true(unseal_page(s, 10, 1, 99, sealed, out, tag)); /* refusals leave nothing behind */
	assert_memory_equal(out, in, PAGE_BYTES);
	/* In place, both ways. */
	memcpy(out, in, PAGE_BYTES);
	assert_true(seal_page(s, 10, 1, 99, out, out, tag));
	assert_memory_equal(out, sealed, PAGE_BYTES);
	assert_true(unseal_page(s, 10, 1, 99, out, out, tag));
	assert_memory_equal(out, in, PAGE_BYTES);
	seal_free(s);
}

struct job {
	struct seal *s;
	unsigned seed;
	bool good;
};

static void *seal_and_back(void *arg)
{
	uint8_t in[PAGE_BYTES], out[PAGE_BYTES], back[PAGE_BYTES], tag[SEAL_TAG_BYTES];
	struct job *j = arg;

	j->good = true;
	for (int i = 0; i < 2000 && j->good; i++) {
		uint64_t page = (uint64_t)rand_r(&j->seed);

		memset(in, (int)page, sizeof(in));
		j->good = seal_page(j->s, page, (uint64_t)i, j->seed, in, out, tag) &&
			  unseal_page(j->s, page, (uint64_t)i, j->seed, out, back, tag) && memcmp(in, back, PAGE_BYTES) == 0;
		tag[0] ^= 1;
		j->good = j->good && !unseal_page(j->s, page, (uint64_t)i, j->seed, out, back, tag);
	}
	return NULL;
}

/* More threads than lanes. */
static void threads_share_the_lanes(void **state)
{
	struct seal *s = seal_with(NULL, 1, 2);
	struct job jobs[6];
	pthread_t threads[6];

	(void)state;
	for (unsigned i = 0; i < 6; i++) {
		jobs[i] = (struct job){ .s = s, .seed = i + 1 };
		assert_int_equal(pthread_create(&threads[i], NULL, seal_and_back, &jobs[i]), 0);
	}
	for (unsigned i = 0; i < 6; i++) {
		pthread_join(threads[i], NULL);
		assert_true(jobs[i].good);
	}
	seal_free(s);
}

/* The expanded keys lie in ordinary memory. */
static void no_core_dumps(void **state)
{
	struct seal *s;

	(void)state;
	assert_int_equal(prctl(PR_SET_DUMPABLE, 1L, 0L, 0L, 0L), 0);
	s = seal_with(NULL, 1, 1);
	assert_int_equal(prctl(PR_GET_DUMPABLE, 0L, 0L, 0L, 0L), 0);
	seal_free(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(published_answers),
		cmocka_unit_test(format_of_a_page),
		cmocka_unit_test(nothing_changed_verifies),
		cmocka_unit_test(no_core_dumps),
		cmocka_unit_test(threads_share_the_lanes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
