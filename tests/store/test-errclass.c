/* SPDX-License-Identifier: BSD-3-Clause */
/* The class of an error, and how long a request is held for it. */
#include "config.h"

#include "store/errclass.h"
#include "store/retry.h"
#include "tests/store/support.h"

#include <errno.h>

#define ALL_KINDS 7 /* enum backend_kind */

static void expect_everywhere(const int codes[], size_t n, enum err_class want)
{
	for (size_t i = 0; i < n; i++)
		for (int kind = 0; kind < ALL_KINDS; kind++)
			assert_int_equal(errclass_of(codes[i], (enum backend_kind)kind), want);
}

static void same_everywhere(void **state)
{
	static const int passing[] = { EINTR, EAGAIN, ENOBUFS, ENOMEM, EBUSY, ETIMEDOUT, ETIME, ENOLINK };
	static const int lasting[] = { EROFS, ENODEV, ENXIO, EFBIG, EINVAL, EFAULT, EPERM, ENODATA, EILSEQ, EOPNOTSUPP, EISDIR,
				       ESPIPE, 12345 };

	(void)state;
	expect_everywhere(passing, sizeof(passing) / sizeof(passing[0]), ERR_PASSING);
	expect_everywhere(lasting, sizeof(lasting) / sizeof(lasting[0]), ERR_LASTING);
}

static void network_is_not_local(void **state)
{
	static const struct {
		int code;
		enum err_class network, local, device;
	} want[] = {
		{ EIO, ERR_PASSING_AWHILE, ERR_LASTING, ERR_LASTING },
		{ EACCES, ERR_PASSING_AWHILE, ERR_LASTING, ERR_LASTING },
		{ ENOSPC, ERR_SERVER_FULL, ERR_BROKEN_PROMISE, ERR_BROKEN_PROMISE },
		{ EDQUOT, ERR_SERVER_FULL, ERR_BROKEN_PROMISE, ERR_BROKEN_PROMISE },
		{ ESTALE, ERR_STALE, ERR_STALE, ERR_LASTING },
		{ EBADF, ERR_STALE, ERR_LASTING, ERR_LASTING },
		{ ECONNRESET, ERR_PASSING, ERR_LASTING, ERR_LASTING },
		{ EHOSTDOWN, ERR_PASSING, ERR_LASTING, ERR_LASTING },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		static const enum backend_kind local[] = { BACKEND_EXT4, BACKEND_XFS, BACKEND_BTRFS, BACKEND_TMPFS };

		assert_int_equal(errclass_of(want[i].code, BACKEND_NFS), want[i].network);
		assert_int_equal(errclass_of(want[i].code, BACKEND_SMB), want[i].network);
		for (size_t k = 0; k < sizeof(local) / sizeof(local[0]); k++)
			assert_int_equal(errclass_of(want[i].code, local[k]), want[i].local);
		assert_int_equal(errclass_of(want[i].code, BACKEND_BLOCKDEV), want[i].device);
	}
}

static void what_classes_mean(void **state)
{
	(void)state;
	assert_true(errclass_is_held(ERR_PASSING));
	assert_true(errclass_is_held(ERR_PASSING_AWHILE));
	assert_true(errclass_is_held(ERR_SERVER_FULL));
	assert_true(errclass_is_held(ERR_STALE));
	assert_false(errclass_is_held(ERR_BROKEN_PROMISE));
	assert_false(errclass_is_held(ERR_LASTING));
	assert_true(errclass_is_impossible(ERR_BROKEN_PROMISE));
	assert_true(errclass_is_impossible(ERR_SERVER_FULL));
	assert_false(errclass_is_impossible(ERR_LASTING));
}

static void back_off_doubles(void **state)
{
	static const int want[] = { 10, 20, 40, 80, 160, 320, 640, 1000, 1000, 1000 };
	struct retry r = { 0 };
	int64_t now = 5000;

	(void)state;
	for (size_t i = 0; i < sizeof(want) / sizeof(want[0]); i++) {
		int ms = retry_next(&r, EAGAIN, ERR_PASSING, true, now, 300);

		assert_int_equal(ms, want[i]);
		now += ms;
	}
	r = (struct retry){ 0 };
	assert_int_equal(retry_next(&r, EINTR, ERR_PASSING, true, now, 300), 0); /* once at once, then as all others */
	assert_int_equal(retry_next(&r, EINTR, ERR_PASSING, true, now, 300), 20);
}

/* A write is tried for the last time when the time has run out, and then given up. */
static void writes_end_with_retry_time(void **state)
{
	struct retry r = { 0 };
	int64_t now = 1000;
	int ms;

	(void)state;
	while ((ms = retry_next(&r, ETIMEDOUT, ERR_PASSING, true, now, 5)) >= 0)
		now += ms;
	assert_int_equal(now, 1000 + 5000);
	/* The backend itself may have taken all the time: still there is one more try, not more. */
	r = (struct retry){ 0 };
	assert_int_equal(retry_next(&r, ETIMEDOUT, ERR_PASSING, true, now, 0), 10);
	assert_int_equal(retry_next(&r, ETIMEDOUT, ERR_PASSING, true, now + 10, 0), -1);
}

static void reads_are_held_without_end(void **state)
{
	static const enum err_class unbounded[] = { ERR_PASSING, ERR_SERVER_FULL, ERR_STALE };

	(void)state;
	for (size_t i = 0; i < sizeof(unbounded) / sizeof(unbounded[0]); i++) {
		struct retry r = { 0 };

		for (int64_t now = 0; now < INT64_C(86400000) * 30; now += 60000)
			assert_true(retry_next(&r, ETIMEDOUT, unbounded[i], false, now, 1) > 0);
	}
}

static void what_may_last_ends_for_reads_too(void **state)
{
	struct retry r = { 0 };

	(void)state;
	assert_int_equal(retry_next(&r, EIO, ERR_PASSING_AWHILE, false, 0, 60), 10);
	assert_int_equal(retry_next(&r, EIO, ERR_PASSING_AWHILE, false, 59990, 60), 10);
	assert_int_equal(retry_next(&r, EIO, ERR_PASSING_AWHILE, false, 60000, 60), -1);
}

static void lasting_is_not_held(void **state)
{
	struct retry r = { 0 };

	(void)state;
	assert_int_equal(retry_next(&r, EIO, ERR_LASTING, false, 0, 300), -1);
	assert_int_equal(retry_next(&r, ENOSPC, ERR_BROKEN_PROMISE, true, 0, 300), -1);
	assert_int_equal(r.tries, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(same_everywhere),
		cmocka_unit_test(network_is_not_local),
		cmocka_unit_test(what_classes_mean),
		cmocka_unit_test(back_off_doubles),
		cmocka_unit_test(writes_end_with_retry_time),
		cmocka_unit_test(reads_are_held_without_end),
		cmocka_unit_test(what_may_last_ends_for_reads_too),
		cmocka_unit_test(lasting_is_not_held),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
