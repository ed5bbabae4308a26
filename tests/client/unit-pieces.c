/* SPDX-License-Identifier: BSD-3-Clause */
/* Small pieces: options, progress, latency, swap header, memory check, devices' names. */
#include "config.h"

#include "client/blockqueue.h"
#include "client/detach_one.h"
#include "client/latency.h"
#include "client/nbddev.h"
#include "client/strays.h"
#include "client/swapheader.h"
#include "common/options.h"
#include "common/progress.h"
#include "tests/client/unit.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

enum { OPT_LONG = 1 };

static const struct option_def defs[] = {
	{ 'a', "all", NULL, "everything" },
	{ 'n', "number", "N", "a number" },
	{ OPT_LONG, "long-only", "[X]", "optional" },
	OPTION_HELP,
	{ 0 },
};

static void test_options(void **state)
{
	char *argv[] = { (char *)"prog",	(char *)"-an",
			 (char *)"5",		(char *)"first",
			 (char *)"--long-only", (char *)"--long-only=7",
			 (char *)"--numb=8",	(char *)"--",
			 (char *)"-n",		NULL };
	struct options o;
	struct errbuf e = { 0 };

	options_begin(&o, defs, 9, argv);
	assert_int_equal(options_next(&o, &e), 'a');
	assert_int_equal(options_next(&o, &e), 'n');
	assert_string_equal(o.value, "5");
	assert_int_equal(options_next(&o, &e), OPT_LONG);
	assert_null(o.value);
	assert_int_equal(options_next(&o, &e), OPT_LONG);
	assert_string_equal(o.value, "7");
	assert_int_equal(options_next(&o, &e), 'n');
	assert_string_equal(o.value, "8");
	assert_int_equal(options_next(&o, &e), 0);
	assert_int_equal(options_operands(&o), 7);
	assert_string_equal(argv[7], "first");
	assert_string_equal(argv[8], "-n");
}

static void bad_option(char *word, const char *reason)
{
	char *argv[] = { (char *)"prog", word, NULL };
	struct options o;
	struct errbuf e = { 0 };

	options_begin(&o, defs, 2, argv);
	assert_int_equal(options_next(&o, &e), -1);
	if (!strstr(e.text, reason))
		fail_msg("%s: \"%s\" does not say \"%s\"", word, e.text, reason);
}

static void test_bad_options(void **state)
{
	bad_option((char *)"-x", "unknown option \"-x\"");
	bad_option((char *)"--xyz", "\"--xyz\"");
	bad_option((char *)"-n", "needs an argument");
	bad_option((char *)"--number", "needs an argument");
	bad_option((char *)"--all=1", "\"--all\" takes no argument");
}

static void test_options_help(void **state)
{
	FILE *f = tmpfile();
	char line[200];

	options_help(f, defs);
	rewind(f);
	assert_non_null(fgets(line, sizeof(line), f));
	assert_string_equal(line, "  -a, --all                        everything\n");
	assert_non_null(fgets(line, sizeof(line), f));
	assert_string_equal(line, "  -n, --number N                   a number\n");
	assert_non_null(fgets(line, sizeof(line), f));
	assert_string_equal(line, "      --long-only[=X]              optional\n");
	fclose(f);
}

static void test_progress(void **state)
{
	char out[PROGRESS_TEXT];
	struct progress p;
	FILE *f = tmpfile();

	assert_string_equal(progress_line("nbd0", 256 << 20, 1 << 30, 256 << 20, 4000, out), "nbd0 "
											     "[######.........."
											     "........]  25 %  "
											     "256 MiB of 1 GiB "
											     " 64 MiB/s  0:12 left");
	assert_string_equal(progress_line("nbd0", 0, 1 << 30, 0, 0, out), "nbd0 [........................]   0 "
									  "%  0 bytes of 1 GiB  0 bytes/s");
	assert_string_equal(progress_line("nbd0", 2 << 20, 1 << 20, 0, 1000, out), "nbd0 "
										   "[########################] "
										   "100 %  1 MiB of 1 MiB  0 "
										   "bytes/s");
	assert_string_equal(progress_line("x", 1 << 20, 0, 1 << 20, 1000, out), "x 1 MiB  1 MiB/s");

	/* Nothing at all on what is not a terminal. */
	progress_begin(&p, f, "x", 100);
	progress_update(&p, 50);
	progress_end(&p);
	assert_int_equal(ftell(f), 0);
	fclose(f);
}

static void test_latency(void **state)
{
	uint64_t ns[1000];
	struct latency l;

	for (size_t i = 0; i < 1000; i++)
		ns[i] = 1000 - i;
	latency_compute(ns, 1000, &l);
	assert_int_equal(l.p50, 500);
	assert_int_equal(l.p90, 900);
	assert_int_equal(l.p99, 990);
	assert_int_equal(l.p999, 999);
	assert_int_equal(l.max, 1000);
	latency_compute(ns, 1, &l);
	assert_int_equal(l.p50, 1);
	assert_int_equal(l.p999, 1);
	latency_compute(ns, 0, &l);
	assert_int_equal(l.max, 0);
}

static void test_swap_header(void **state)
{
	static const unsigned char uuid[16] = { 1, 2, 3 };
	unsigned char page[4096];
	struct swap_header h;
	struct errbuf e = { 0 };

	assert_int_equal(swapheader_build(page, sizeof(page), 1 << 20, "a label that is too long", uuid, &e),
			 0);
	assert_true(swapheader_parse(page, sizeof(page), &h));
	assert_int_equal(h.last_page, 255);
	assert_string_equal(h.label, "a label that is");
	assert_memory_equal(h.uuid, uuid, 16);
	/* The size is not a multiple of a page: the rest is left out. */
	assert_int_equal(swapheader_build(page, sizeof(page), (1 << 20) + 5000, "", uuid, &e), 0);
	assert_true(swapheader_parse(page, sizeof(page), &h));
	assert_int_equal(h.last_page, 256);
	assert_int_equal(swapheader_build(page, sizeof(page), 9 * 4096, "", uuid, &e), -1);
	assert_non_null(strstr(e.text, "at least 10 pages"));
	page[4095] = '3';
	assert_false(swapheader_parse(page, sizeof(page), &h));
}

static void test_detach_memory(void **state)
{
	const uint64_t mib = 1 << 20;
	struct errbuf e = { 0 };

	assert_int_equal(detach_memory_check(0, 0, 0, &e), 0);
	assert_int_equal(detach_memory_check(100 * mib, 200 * mib, 0, &e), 0);
	assert_int_equal(detach_memory_check(100 * mib, 50 * mib, 100 * mib, &e), 0);
	assert_int_equal(detach_memory_check(100 * mib, 100 * mib, 0, &e), -1);
	assert_non_null(strstr(e.text, "100 MiB of pages would have to come back"));
}

static void test_device_names(void **state)
{
	struct nbddev d;

	assert_int_equal(nbddev_parse("/dev/nbd12", &d, NULL), 0);
	assert_int_equal(d.index, 12);
	assert_string_equal(d.name, "nbd12");
	assert_string_equal(d.path, "/dev/nbd12");
	assert_int_equal(nbddev_parse("nbd0", &d, NULL), 0);
	assert_int_equal(nbddev_parse("nbd0p1", &d, NULL), -1);
	assert_int_equal(nbddev_parse("nbd", &d, NULL), -1);
	assert_int_equal(nbddev_parse("sda", &d, NULL), -1);
	assert_int_equal(nbddev_parse("../nbd0", &d, NULL), -1);
	assert_int_equal(nbddev_parse("nbd99999999999", &d, NULL), -1);
}

static void test_schedulers(void **state)
{
	char now[SCHEDULER_MAX];

	assert_true(scheduler_parse("none [mq-deadline] kyber\n", now));
	assert_string_equal(now, "mq-deadline");
	assert_true(scheduler_parse("[bfq] none", now));
	assert_string_equal(now, "bfq");
	assert_false(scheduler_parse("[none] mq-deadline\n", now));
	assert_false(scheduler_parse("none\n", now)); /* there is nothing else */
	assert_false(scheduler_parse("noop [deadline] nonesuch\n", now));
}

static void test_strays(void **state)
{
	int status;
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid == 0) {
		int known[] = { dup(0), -1, dup(0) }, stray = dup(0), high = fcntl(0, F_DUPFD, 900);

		strays_close(known, 3);
		_exit(fcntl(known[0], F_GETFD) >= 0 && fcntl(known[2], F_GETFD) >= 0 && fcntl(0, F_GETFD) >= 0 && fcntl(2, F_GETFD) >= 0 &&
		      fcntl(stray, F_GETFD) < 0 && fcntl(high, F_GETFD) < 0 ? 7 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_options),	      cmocka_unit_test(test_bad_options),
		cmocka_unit_test(test_options_help),  cmocka_unit_test(test_progress),
		cmocka_unit_test(test_latency),	      cmocka_unit_test(test_swap_header),
		cmocka_unit_test(test_detach_memory), cmocka_unit_test(test_device_names),
		cmocka_unit_test(test_schedulers),    cmocka_unit_test(test_strays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
