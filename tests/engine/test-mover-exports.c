/* SPDX-License-Identifier: BSD-3-Clause */
/* Several exports of one mover: what is asked of one, or happens to its file, is nothing that another waits for. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/engine/mover.h"
#include "store/page.h"
#include "tests/store/support.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { COMMON = 256, EXPORTS = 2, FILE_PAGES = 17 /* no other file here is as large */ };

struct world {
	int pool;
	struct buffers *buffers;
	struct mover *mover;
	struct one {
		int fd;
		struct table *table;
		struct store *store;
		struct buffers_share *share;
		struct mover_export *x;
	} one[EXPORTS];
};

static void ended(void *arg, void *owner, const char *why)
{
	(void)arg;
	(void)owner;
	fail_msg("a session ended: %s", why ? why : "by its client");
}

static void add(struct world *w, uint32_t i, uint64_t pages, bool blocks)
{
	struct one *o = &w->one[i];
	struct errbuf e;

	o->fd = scratch_file(pages * PAGE_BYTES);
	o->table = unit_table(pages, PAGE_FRESH);
	o->share = buffers_join(w->buffers, i, &e);
	o->store = store_create(&(struct store_options){ .name = "unit", .fd = o->fd, .table = o->table, .kind = BACKEND_EXT4 }, &e);
	assert_true(o->share && o->store);
	o->x = mover_add_export(w->mover, &(struct mover_export_options){ .fd = o->fd, .store = o->store, .share = o->share, .direct = true,
									  .blocks = blocks }, &e);
	if (!o->x)
		fail_msg("%s", e.text);
}

static void take_away(struct world *w, uint32_t i)
{
	struct one *o = &w->one[i];

	mover_remove_export(w->mover, o->x);
	store_free(o->store);
	buffers_leave(o->share);
	table_free(o->table);
	close(o->fd);
}

static void make(struct world *w)
{
	struct errbuf e;

	w->pool = memfd_create("pool", MFD_CLOEXEC);
	assert_int_equal(ftruncate(w->pool, (off_t)buffers_bytes(COMMON, EXPORTS)), 0);
	w->buffers = buffers_create(w->pool, COMMON, true, &e);
	assert_non_null(w->buffers);
	w->mover = mover_create(&(struct mover_options){ .buffers = w->buffers, .sessions = 4, .exports = EXPORTS, .ended = ended }, &e);
	if (!w->mover)
		fail_msg("%s", e.text);
}

static void end(struct world *w)
{
	mover_free(w->mover);
	buffers_free(w->buffers);
	close(w->pool);
}

/* ---- files whose server may be away ---- */

static bool watching;
static unsigned asked;

int __wrap_fstat(int fd, struct stat *st);
extern int __real_fstat(int fd, struct stat *st);

int __wrap_fstat(int fd, struct stat *st)
{
	int r = __real_fstat(fd, st);

	asked += watching && r == 0 && S_ISREG(st->st_mode) && st->st_nlink == 0 && st->st_size == FILE_PAGES * PAGE_BYTES;
	return r;
}

/* fstat(2) of a file on NFS waits for the server. */
static void a_server_is_not_asked_what_it_holds(void **state)
{
	struct world w;

	(void)state;
	make(&w);
	watching = true;
	add(&w, 0, FILE_PAGES, true);
	watching = false;
	assert_int_equal(asked, 0);
	take_away(&w, 0);
	end(&w);
}

static short lock_seen(int fd)
{
	struct flock probe = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	assert_int_equal(fcntl(fd, F_OFD_GETLK, &probe), 0);
	return probe.l_type;
}

/* Who gives up the last reference to a file gives back its lock, which on NFS waits for the server.  That must not be the mover: a file
 * that was opened anew goes with the last descriptor of its old description.
 */
static void the_mover_is_not_the_last_to_have_a_network_file(void **state)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	struct world w;
	char name[64];
	int fd, other, anew;

	(void)state;
	make(&w);
	add(&w, 0, FILE_PAGES, true);
	fd = w.one[0].fd;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", fd);
	other = open(name, O_RDWR | O_CLOEXEC);
	anew = open(name, O_RDWR | O_CLOEXEC);
	assert_true(other >= 0 && anew >= 0);
	assert_int_equal(fcntl(fd, F_OFD_SETLK, &lock), 0);
	assert_int_equal(lock_seen(other), F_WRLCK);
	assert_int_equal(dup3(anew, fd, O_CLOEXEC), fd);
	assert_int_equal(lock_seen(other), F_UNLCK);
	mover_refresh_export(w.mover, w.one[0].x);
	close(other);
	close(anew);
	take_away(&w, 0);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_is_not_asked_what_it_holds),
		cmocka_unit_test(the_mover_is_not_the_last_to_have_a_network_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
