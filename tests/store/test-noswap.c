/* SPDX-License-Identifier: BSD-3-Clause */
/* Where keys may be handed down: no swap, or a control group that may use none. */
#include "config.h"

#include "tests/store/support.h"

#include "common/cleanup.h"
#include "common/noswap.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define HEADING "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"
#define ZRAM HEADING "/dev/zram0                              partition\t1024\t\t0\t\t-2\n"

static char *root;

/* A file with its directories below root; text NULL: it is removed. */
static void put(const char *name, const char *text)
{
	CLEANUP_FREE char *path = NULL;
	CLEANUP_FCLOSE FILE *f = NULL;

	assert_true(asprintf(&path, "%s%s", root, name) > 0);
	if (!text) {
		unlink(path);
		return;
	}
	for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
		*p = '\0';
		mkdir(path, 0700);
		*p = '/';
	}
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
}

static void expect(int r, const char *text)
{
	struct errbuf e = { .text = "" };

	assert_int_equal(noswap_check_below(root, &e), r);
	if (r < 0) {
		assert_int_equal(e.code, EPERM);
		assert_non_null(strstr(e.text, text));
		assert_non_null(strstr(e.text, "MemorySwapMax=0"));
	}
}

static void swap_and_groups(void **state)
{
	CLEANUP_FREE char *clean = NULL;

	(void)state;
	root = scratch_dir();
	expect(0, NULL); /* a kernel without swap */
	put("/proc/swaps", HEADING);
	expect(0, NULL);
	put("/proc/swaps", ZRAM);
	expect(-1, "/dev/zram0");
	put("/proc/self/cgroup", "4:memory:/x\n0::/system.slice/nbdswapd.service\n");
	expect(-1, "/dev/zram0");
	put("/sys/fs/cgroup/system.slice/nbdswapd.service/memory.swap.max", "max\n");
	expect(-1, "/dev/zram0");
	put("/sys/fs/cgroup/system.slice/nbdswapd.service/memory.swap.max", "4096\n");
	expect(-1, "/dev/zram0");
	put("/sys/fs/cgroup/system.slice/nbdswapd.service/memory.swap.max", "0\n");
	expect(0, NULL);
	/* A limit above holds below too. */
	put("/sys/fs/cgroup/system.slice/nbdswapd.service/memory.swap.max", "max\n");
	put("/sys/fs/cgroup/system.slice/memory.swap.max", "0\n");
	expect(0, NULL);
	/* A group beside does not. */
	put("/proc/self/cgroup", "0::/system.slice2/nbdswapd.service\n");
	expect(-1, "/dev/zram0");
	put("/sys/fs/cgroup/unified/system.slice2/memory.swap.max", "0\n");
	expect(0, NULL);
	assert_true(asprintf(&clean, "rm -r '%s'", root) > 0);
	assert_int_equal(system(clean), 0);
	free(root);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(swap_and_groups) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
