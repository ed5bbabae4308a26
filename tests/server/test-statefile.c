/* SPDX-License-Identifier: BSD-3-Clause */
/* The text that a daemon leaves: read after every number of bytes that its writer can have come to, it is the one before or the one after. */
#include "config.h"

#include "server/statefile.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static char *get(int fd)
{
	struct errbuf e;
	size_t bytes;
	char *text = statefile_read(fd, &bytes, &e);

	if (text)
		assert_int_equal(bytes, strlen(text));
	else
		assert_int_equal(e.code, EPROTO);
	return text;
}

static void is(int fd, const char *want)
{
	char *text = get(fd);

	assert_non_null(text);
	assert_string_equal(text, want);
	free(text);
}

static void put(int fd, const char *text)
{
	struct errbuf e;

	assert_int_equal(statefile_write(fd, text, strlen(text), &e), 0);
}

static void replaced(void **state)
{
	struct errbuf e;
	int fd = statefile_create(&e);

	(void)state;
	assert_true(fd >= 0);
	assert_null(get(fd));
	put(fd, "one");
	is(fd, "one");
	put(fd, "another, longer one");
	is(fd, "another, longer one");
	put(fd, "");
	is(fd, "");
	put(fd, "last");
	is(fd, "last");
	close(fd);
}

#define BYTES (4096 + 2 * (size_t)STATEFILE_MAX)

/* A copy of the memory as it was, with the first of the changed bytes, in the order of their writing: the text, then its head. */
static void cut_at_every_byte(void **state)
{
	static const char old[] = "{\"the\":\"old one\"}", new[] = "{\"the\":\"new, and longer than it was\"}";
	const size_t text_at = 4096, head_at = 64, head = 32;
	struct errbuf e;

	(void)state;
	for (size_t n = 0; n <= strlen(new) + head; n++) {
		int fd = statefile_create(&e);
		unsigned char *m, before[128 + 64], text_before[64], text_after[64], after[128 + 64];

		assert_true(fd >= 0);
		put(fd, "two before"); /* which lies where the new one goes */
		put(fd, old);
		m = mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		assert_ptr_not_equal(m, MAP_FAILED);
		memcpy(before, m, sizeof(before));
		memcpy(text_before, m + text_at, sizeof(text_before));
		put(fd, new);
		memcpy(after, m, sizeof(after));
		memcpy(text_after, m + text_at, sizeof(text_after));
		assert_memory_not_equal(text_before, text_after, sizeof(text_before));
		memcpy(m, before, sizeof(before));
		memcpy(m + text_at, text_before, sizeof(text_before));
		memcpy(m + text_at, text_after, n < strlen(new) ? n : strlen(new));
		if (n > strlen(new))
			memcpy(m + head_at, after + head_at, n - strlen(new));
		is(fd, n == strlen(new) + head ? new : old);
		munmap(m, BYTES);
		close(fd);
	}
}

static void damaged(void **state)
{
	struct errbuf e;
	int fd = statefile_create(&e), other = memfd_create("test", MFD_CLOEXEC);
	char x = 'x';

	(void)state;
	put(fd, "something");
	assert_int_equal(pwrite(fd, &x, 1, 4096), 1);
	assert_null(get(fd));
	assert_null(get(other));
	assert_int_equal(pwrite(fd, &x, 1, 0), 1); /* another layout */
	assert_null(get(fd));
	close(fd);
	close(other);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(replaced), cmocka_unit_test(cut_at_every_byte), cmocka_unit_test(damaged) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
