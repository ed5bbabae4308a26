/* SPDX-License-Identifier: BSD-3-Clause */
/* Mount options are found whole and by value, and what holds a file is told by name. */
#include "config.h"

#include "tests/store/support.h"

#include "store/backend.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static struct backend with(const char *options)
{
	struct backend b = { .kind = BACKEND_NFS };

	snprintf(b.mount_options, sizeof(b.mount_options), "%s", options);
	return b;
}

static void options(void **state)
{
	struct backend b = with("rw,relatime,softreval,vers=4.2,hard,local_lock=none,nolocks,ro2,data=ordered");
	const char *v = NULL;

	(void)state;
	assert_true(backend_option(&b, "rw", NULL));
	assert_true(backend_option(&b, "hard", NULL));
	assert_true(backend_option(&b, "data=ordered", NULL));
	assert_false(backend_option(&b, "soft", NULL)); /* softreval is another option */
	assert_false(backend_option(&b, "nolock", NULL));
	assert_false(backend_option(&b, "ro", NULL));
	assert_false(backend_option(&b, "data=journal", NULL));
	assert_true(backend_option(&b, "vers=", &v));
	assert_int_equal(strncmp(v, "4.2,", 4), 0);
	assert_true(backend_option(&b, "local_lock=", &v));
	assert_int_equal(strncmp(v, "none,", 5), 0);
	assert_false(backend_option(&b, "lock=", &v)); /* not in the middle of another */
	b = with("ro");
	assert_true(backend_option(&b, "ro", NULL));
	assert_false(backend_option(&b, "r", NULL));
	b = with("");
	assert_false(backend_option(&b, "ro", NULL));
}

static void unknown_file_system_is_named(void **state)
{
	struct errbuf e = { .code = 0 };
	struct backend b;
	int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);

	(void)state;
	assert_int_equal(backend_find(fd, "/proc/self/status", &b, &e), -1);
	assert_int_equal(e.code, ENOTSUP);
	assert_non_null(strstr(e.text, "is on proc (mounted on /proc)"));
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(options),
		cmocka_unit_test(unknown_file_system_is_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
