/* SPDX-License-Identifier: BSD-3-Clause */
/* The SMB client's list of open files, in the forms that kernels give it. */
#include "config.h"

#include "store/cifsfiles.h"
#include "tests/store/support.h"

#include <string.h>

static int busy(const char *text, const char *name)
{
	FILE *f = fmemopen((void *)(uintptr_t)text, strlen(text), "r");
	int r;

	assert_non_null(f);
	r = cifsfiles_busy(f, name);
	fclose(f);
	return r;
}

#define LINUX_6_1                                                                   \
	"# Version:1\n# Format:\n"                                                  \
	"# <tree id> <ses id> <persistent fid> <flags> <count> <pid> <uid> <filename>\n"
#define LINUX_6_12                                                                                         \
	"# Version:1\n# Format:\n"                                                                         \
	"# <tree id> <ses id> <persistent fid> <flags> <count> <pid> <uid> <filename> <lease> <lease-key> <mid>\n"

static void counts(void **state)
{
	(void)state;
	assert_int_equal(busy(LINUX_6_1 "0x724cbce8 0xb43a7785 0x8384305f 0xc002 3 366 0 ws1\n", "ws1"), 1);
	assert_int_equal(busy(LINUX_6_1 "0x724cbce8 0xb43a7785 0x8384305f 0xc002 1 366 0 ws1\n", "ws1"), 0);
	/* The flags, or a pid, are no count. */
	assert_int_equal(busy(LINUX_6_1 "0x1 0x1 0x1 0x3 1 3 3 ws1\n", "ws1"), 0);
	assert_int_equal(busy(LINUX_6_12 "0x1 0x1 0x1 0xc002 2 366 0 ws1 RWH 2fd2 12\n", "ws1"), 1);
	assert_int_equal(busy(LINUX_6_12 "0x1 0x1 0x1 0xc002 1 366 0 ws1 RWH 2fd2 12\n", "ws1"), 0);
}

static void names(void **state)
{
	static const char two[] = LINUX_6_1 "0x1 0x1 0x1 0xc002 1 366 0 ws1\n0x1 0x1 0x2 0xc002 3 366 0 ws10\n";

	(void)state;
	assert_int_equal(busy(two, "ws1"), 0);
	assert_int_equal(busy(two, "ws10"), 1);
	/* One of two of the same name is enough. */
	assert_int_equal(busy(LINUX_6_1 "0x1 0x1 0x1 0xc002 1 366 0 a b\n0x2 0x1 0x2 0xc002 2 366 0 a b\n", "a b"), 1);
	/* What may be another's name is taken for this one. */
	assert_int_equal(busy(LINUX_6_1 "0x1 0x1 0x1 0xc002 1 366 0 a\n0x2 0x1 0x2 0xc002 2 366 0 a b\n", "a"), 1);
}

/* Nothing is concluded from what is not there. */
static void not_understood(void **state)
{
	(void)state;
	assert_int_equal(busy(LINUX_6_1, "ws1"), -1);
	assert_int_equal(busy(LINUX_6_1 "0x1 0x1 0x1 0xc002 1 366 0 other\n", "ws1"), -1);
	assert_int_equal(busy("0x1 0x1 0x1 0xc002 1 366 0 ws1\n", "ws1"), -1);
	assert_int_equal(busy("# Format:\n# <tree id> <pid> <filename>\n0x1 1 ws1\n", "ws1"), -1);
	assert_int_equal(busy("# Format:\n# <tree id> <filename> <count>\n0x1 ws1 1\n", "ws1"), -1);
	assert_int_equal(busy(LINUX_6_1 "0x1\n", "ws1"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(counts),
		cmocka_unit_test(names),
		cmocka_unit_test(not_understood),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
