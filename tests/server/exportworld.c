/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/server/exportworld.h"

#include "tests/setpage.h"

#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/vfs.h>
#include <unistd.h>

static char dir[] = "/tmp/nbdswap-test-exports.XXXXXX";
struct exports set;
int barriers, barrier_error, barrier_errors;
const struct export *last_settled;
unsigned scrubs_ended;

const char *export_file(void)
{
	static char path[sizeof(dir) + 2];

	snprintf(path, sizeof(path), "%s/a", dir);
	return path;
}

int __wrap_backend_barrier(const struct backend *b, int fd, int *worker_fd, const char *path, struct errbuf *e);

int __wrap_backend_barrier(const struct backend *b, int fd, int *worker_fd, const char *path, struct errbuf *e)
{
	barriers++;
	if (barrier_errors && barriers > barrier_errors)
		return 0;
	return barrier_error ? err_set(e, barrier_error, "no barrier here") : 0;
}

static void finished(void *arg, struct export *x)
{
	ev_break(arg, EVBREAK_ALL);
}

static void settled(void *arg, struct export *x)
{
	last_settled = x;
	finished(arg, x);
}

static void counted(void *arg)
{
	ev_break(arg, EVBREAK_ALL);
}

static void ignore(void *arg, struct export *x)
{
}

/* Nobody waits for the loop to end here but the test of scrubs. */
static void scrubbed(void *arg, struct export *x)
{
	scrubs_ended++;
	if (x->state == EXPORT_READY)
		finished(arg, x);
}

static const struct exports_ops ops = { ignore, finished, finished, settled, ignore, counted, ignore, scrubbed };

struct export *activate(struct export *x)
{
	struct conf_export conf = { .name = "a", .size = PAGES * PAGE_BYTES, .create = 1 };

	snprintf(conf.file, sizeof(conf.file), "%s", export_file());
	if (!x)
		x = exports_add(&set, &conf);
	export_activate(x, PROVISION_CREATE, false);
	assert_int_not_equal(export_refusal(x, NULL), 0);
	ev_run(set.arg, 0);
	if (x->state != EXPORT_READY)
		print_error("%s\n", x->why.text);
	assert_int_equal(x->state, EXPORT_READY);
	assert_int_equal(export_refusal(x, NULL), 0);
	return x;
}

void release(struct export *x)
{
	export_release(x);
	assert_int_equal(x->state, EXPORT_RELEASING);
	ev_run(set.arg, 0);
	assert_int_equal(x->state, EXPORT_DOWN);
}

void begin(void)
{
	struct errbuf e;

	unlink(export_file());
	barriers = barrier_error = 0;
	set = (struct exports){ .ops = &ops, .arg = ev_loop_new(EVFLAG_AUTO), .allow_unlocked = true };
	set.backends = job_runner_create(set.arg, 4, &e);
	set.checks = job_runner_create(set.arg, 4, &e);
	set.quick = job_runner_create(set.arg, 4, &e);
	scrubs_ended = 0;
}

void end(struct export *x)
{
	assert_true(exports_idle(&set));
	exports_remove(&set, x);
	job_runner_free(set.backends);
	job_runner_free(set.checks);
	job_runner_free(set.quick);
	ev_loop_destroy(set.arg);
}

void until_idle(void)
{
	while (!exports_idle(&set))
		ev_run(set.arg, EVRUN_ONCE);
}

void write_one(struct export *x)
{
	set_page(x->table, 1, PAGE_WRITTEN, false);
	atomic_fetch_add(&table_counters(x->table)->writes, 1); /* a table that was never written to is not kept */
}

void write_two(struct export *x)
{
	write_one(x);
	set_page(x->table, 2, PAGE_WRITTEN, true);
}

int export_tests_run(const char *name, const struct CMUnitTest *tests, size_t count)
{
	struct statfs fs;
	int rc;

	if (!mkdtemp(dir))
		return 1;
	if (statfs(dir, &fs) < 0 || (fs.f_type != EXT4_SUPER_MAGIC && fs.f_type != XFS_SUPER_MAGIC)) {
		puts("skipped: /tmp is not on ext4 or xfs");
		rmdir(dir);
		return 77;
	}
	rc = _cmocka_run_group_tests(name, tests, count, NULL, NULL);
	unlink(export_file());
	rmdir(dir);
	return rc;
}
