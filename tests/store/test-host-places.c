/* SPDX-License-Identifier: BSD-3-Clause */
/* Where survive = host is refused, by what backend_find() would say of the place, and when another machine may go on with the records. */
#include "config.h"

#include "common/errbuf.h"
#include "store/backing.h"
#include "store/trailer.h"
#include "tests/store/support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct backend place;
static char *dir, path[300];

int __wrap_backend_find(int fd, const char *name, struct backend *out, struct errbuf *e);
int __wrap_backend_find(int fd, const char *name, struct backend *out, struct errbuf *e)
{
	(void)fd;
	(void)name;
	(void)e;
	*out = place;
	return 0;
}

static void set_place(enum backend_kind kind, const char *name, const char *options)
{
	memset(&place, 0, sizeof(place));
	place.kind = kind;
	snprintf(place.name, sizeof(place.name), "%s", name);
	snprintf(place.mount_point, sizeof(place.mount_point), "/mnt");
	snprintf(place.mount_options, sizeof(place.mount_options), "%s", options);
}

static struct backing_options options(void)
{
	return (struct backing_options){ .dirfd = AT_FDCWD, .size = 64 << 10, .provision = PROVISION_CREATE, .allow_unlocked = true,
					 .survive = SURVIVE_HOST };
}

static int setup(void **state)
{
	(void)state;
	dir = scratch_dir();
	snprintf(path, sizeof(path), "%s/f", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	scratch_remove(dir);
	return 0;
}

static void refused(const struct backing_options *opt, const char *why)
{
	struct errbuf e = { .code = 0 };
	struct backing *b;

	assert_int_equal(backing_activate(path, opt, &b, NULL, &e), -1);
	if (!strstr(e.text, why))
		fail_msg("\"%s\" is not in: %s", why, e.text);
}

static void accepted(const struct backing_options *opt)
{
	struct errbuf e = { .code = 0 };
	struct backing *b;

	if (backing_activate(path, opt, &b, NULL, &e) < 0)
		fail_msg("%s", e.text);
	backing_close(b);
}

static void places(void **state)
{
	struct backing_options opt = options();

	(void)state;
	set_place(BACKEND_TMPFS, "tmpfs", "rw");
	refused(&opt, "nothing on tmpfs outlives the machine");
	set_place(BACKEND_EXT4, "ext4", "rw,nobarrier");
	refused(&opt, "nobarrier");
	set_place(BACKEND_XFS, "xfs", "rw,nobarrier");
	refused(&opt, "nobarrier");
	set_place(BACKEND_EXT4, "ext4", "rw");
	opt.check = CHECK_NONE;
	refused(&opt, "without checks");
	opt.seal = PAGE_SEAL_AES_256_GCM;
	refused(&opt, "ephemeral key");
	opt.seal = PAGE_SEAL_NONE;
	opt.survive = SURVIVE_PROCESS;
	accepted(&opt);
	opt = options();
	accepted(&opt);
	/* It need not be made anew for that. */
	set_place(BACKEND_SMB, "smb3.1.1", "rw,hard,cache=none,nostrictsync");
	refused(&opt, "nostrictsync");
}

/* The file, in use by a machine of this name that is gone.  A backing file has its header in two places. */
static void leave(const char *host)
{
	struct backing_options opt = options();
	struct errbuf e = { .code = 0 };
	struct backing *b;
	struct table *t;
	struct trailer h;
	off_t size;
	int fd;

	set_place(BACKEND_EXT4, "ext4", "rw");
	opt.provision = PROVISION_RENEW;
	assert_int_equal(backing_activate(path, &opt, &b, NULL, &e), 0);
	assert_int_equal(backing_begin(b, &t, &e), 0);
	table_free(t);
	backing_close(b);
	fd = open(path, O_RDWR);
	size = lseek(fd, 0, SEEK_END);
	assert_int_equal(trailer_read(fd, path, (uint64_t)size, &h, &e), 1);
	snprintf(h.owner_host, sizeof(h.owner_host), "%s", host);
	snprintf(h.owner_boot, sizeof(h.owner_boot), "another boot");
	assert_int_equal(trailer_write_both(fd, path, &h, &e), 0);
	close(fd);
}

/* A machine takes up what another, or itself, has left.  why: NULL, or the reason that it is refused for. */
static void begins(enum backend_kind kind, const char *name, const char *host, const char *why)
{
	struct backing_options opt = options();
	struct errbuf e = { .code = 0 };
	struct backing *b;
	struct table *t;
	uint64_t activation;

	leave(host);
	set_place(kind, name, "rw,hard,vers=x,cache=none,local_lock=none,serverino");
	opt.provision = PROVISION_NEVER;
	if (backing_activate(path, &opt, &b, NULL, &e) < 0) {
		if (!why || !strstr(e.text, why))
			fail_msg("%s: %s", name, e.text);
		return;
	}
	assert_null(why);
	assert_true(backing_was_resumed(b));
	activation = backing_activation(b);
	assert_int_equal(backing_begin(b, &t, &e), 0);
	assert_int_equal(backing_activation(b), activation);
	table_free(t);
	backing_close(b);
}

/* By force, from a machine that may be alive: no page and no generation of it. */
static void forced(enum backend_kind kind, const char *name)
{
	struct backing_options opt = options();
	struct errbuf e = { .code = 0 };
	struct backing *b;
	struct table *t;
	uint64_t activation;

	leave("other");
	set_place(kind, name, "rw,hard,vers=x,cache=none,local_lock=none,serverino");
	opt.provision = PROVISION_NEVER;
	opt.force = true;
	assert_int_equal(backing_activate(path, &opt, &b, NULL, &e), 0);
	assert_false(backing_was_resumed(b));
	activation = backing_activation(b);
	assert_int_equal(backing_begin(b, &t, &e), 0);
	assert_true(backing_activation(b) > activation);
	assert_int_equal(table_page(t, 0).state, PAGE_LOST);
	table_free(t);
	backing_close(b);
}

static void machines(void **state)
{
	char here[64];

	(void)state;
	gethostname(here, sizeof(here));
	begins(BACKEND_NFS, "nfs4.2", "other", NULL);
	begins(BACKEND_NFS, "nfs3", "other", "has not given it back");
	begins(BACKEND_NFS, "nfs3", here, NULL);
	begins(BACKEND_EXT4, "ext4", "other", NULL);
	begins(BACKEND_SMB, "smb3.1.1", "other", "has not given it back");
	begins(BACKEND_SMB, "smb3.1.1", here, NULL);
	forced(BACKEND_NFS, "nfs4.2");
	forced(BACKEND_NFS, "nfs3");
	forced(BACKEND_SMB, "smb3.1.1");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(places, setup, teardown),
		cmocka_unit_test_setup_teardown(machines, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
