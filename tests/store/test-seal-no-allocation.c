/* SPDX-License-Identifier: BSD-3-Clause */
/* Sealing and unsealing ask for no memory, whichever thread does it and also when a page does not verify: the calls
 * that OpenSSL makes are counted, for this program's malloc stands in front of the C library's.
 */
#include "config.h"

#include "tests/countmalloc.h"
#include "tests/store/support.h"

#include "store/page.h"
#include "store/seal.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

static _Atomic unsigned long calls;
static _Thread_local bool counting; /* a new thread's own stack and start are not the seal's doing */

static void count(void)
{
	if (counting)
		atomic_fetch_add(&calls, 1);
}

static void work(struct seal *s)
{
	uint8_t in[PAGE_BYTES], out[PAGE_BYTES], tag[SEAL_TAG_BYTES];

	memset(in, 9, sizeof(in));
	for (uint64_t i = 0; i < 5000; i++) {
		assert_true(seal_page(s, i, i, 1, in, out, tag));
		assert_true(unseal_page(s, i, i, 1, out, out, tag));
		assert_false(unseal_page(s, i + 1, i, 1, out, out, tag));
	}
}

static void *in_a_thread(void *arg)
{
	counting = true;
	work(arg);
	counting = false;
	return NULL;
}

static void nothing_is_allocated(void **state)
{
	static const uint8_t uuid[16] = "a file";
	struct errbuf e = { .code = 0 };
	struct sealkey *master = sealkey_create_ephemeral(true, &e);
	struct sealkey *k = sealkey_derive(master, uuid, 1, true, &e);
	struct seal *s;
	pthread_t t;

	(void)state;
	counting = true;
	s = seal_create(k, 2, &e);
	counting = false;
	assert_non_null(s);
	assert_true(calls > 10); /* OpenSSL's calls are seen: otherwise the rest says nothing */
	calls = 0;
	/* A thread that never used OpenSSL, before any warming up. */
	assert_int_equal(pthread_create(&t, NULL, in_a_thread, s), 0);
	pthread_join(t, NULL);
	assert_int_equal(calls, 0);
	counting = true;
	work(s);
	counting = false;
	assert_int_equal(calls, 0);
	seal_free(s);
	sealkey_free(k);
	sealkey_free(master);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_allocated),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
