/* SPDX-License-Identifier: BSD-3-Clause */
/* Several exports of one mover: what is asked of one, or happens to its file, is nothing that another waits for. */
#include "config.h"

#include "tests/engine/moverworld.h"

#include "common/nbdproto.h"
#include "store/page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FILE_PAGES = 17 /* no other file here is as large */ };

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
	world_make(&w);
	watching = true;
	world_add(&w, 0, scratch_file((uint64_t)FILE_PAGES * PAGE_BYTES), FILE_PAGES, true);
	watching = false;
	assert_int_equal(asked, 0);
	world_take_away(&w, 0);
	world_end(&w);
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
	world_make(&w);
	world_add(&w, 0, scratch_file((uint64_t)FILE_PAGES * PAGE_BYTES), FILE_PAGES, true);
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
	world_take_away(&w, 0);
	world_end(&w);
}

/* ---- a kernel that is short of memory ---- */

static _Atomic int receive_fails; /* once, with this */

void __wrap_live_received(struct live *s, int result);
extern void __real_live_received(struct live *s, int result);

void __wrap_live_received(struct live *s, int result)
{
	int code = atomic_exchange(&receive_fails, 0);

	if (code)
		__real_live_received(s, code);
	__real_live_received(s, result);
}

static _Atomic int send_fails;

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
extern ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	int code = atomic_exchange(&send_fails, 0);

	if (!code)
		return __real_sendmsg(fd, msg, flags);
	errno = code;
	return -1;
}

static void what_fails_for_want_of_memory_is_repeated(void **state)
{
	static const int codes[] = { -ENOMEM, -ENOBUFS, -EINTR, -EAGAIN };
	struct visitor reads;
	struct world w;

	(void)state;
	world_make(&w);
	world_add(&w, 0, scratch_file((uint64_t)FILE_PAGES * PAGE_BYTES), FILE_PAGES, false);
	visitor_come(&w, &reads, 0);
	for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		atomic_store(&receive_fails, codes[i]);
		atomic_store(&send_fails, -codes[i]);
		visitor_ask(&reads, NBD_CMD_READ, PAGE_BYTES, 1);
		assert_true(visitor_replies(&reads, PAGE_BYTES, 1));
		assert_int_equal(receive_fails, 0);
		assert_int_equal(send_fails, 0);
	}
	visitor_leave(&w, &reads);
	world_take_away(&w, 0);
	world_end(&w);
}

/* ---- requests that are much work ---- */

enum { LARGE_PAGES = 1 << 20, DISCARDS = 32 };

/* One client discards all that a request can, many times over: 4 GiB each, half a second of work or more.  Another reads. */
static void large_discards_keep_nobody_waiting(void **state)
{
	unsigned char answer[DISCARDS * sizeof(struct nbd_simple_reply)];
	struct visitor discards, reads;
	struct world w;

	(void)state;
	world_make(&w);
	world_add(&w, 0, scratch_file((uint64_t)LARGE_PAGES * PAGE_BYTES), LARGE_PAGES, false);
	world_add(&w, 1, scratch_file((uint64_t)FILE_PAGES * PAGE_BYTES), FILE_PAGES, false);
	visitor_come(&w, &discards, 0);
	visitor_come(&w, &reads, 1);
	visitor_ask(&discards, NBD_CMD_TRIM, (LARGE_PAGES - 1) * PAGE_BYTES, DISCARDS);
	for (int i = 0; i < 5; i++) {
		visitor_ask(&reads, NBD_CMD_READ, PAGE_BYTES, 1);
		assert_true(visitor_replies(&reads, PAGE_BYTES, 1));
	}
	assert_true(recv(discards.pair.peers, answer, sizeof(answer), MSG_DONTWAIT | MSG_PEEK) < (ssize_t)sizeof(answer) / 2);
	assert_true(visitor_replies(&discards, 0, DISCARDS));

	/* They wait for nothing when their client leaves. */
	visitor_ask(&discards, NBD_CMD_TRIM, (LARGE_PAGES - 1) * PAGE_BYTES, DISCARDS);
	visitor_leave(&w, &discards);
	visitor_leave(&w, &reads);
	world_take_away(&w, 0);
	world_take_away(&w, 1);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_is_not_asked_what_it_holds),
		cmocka_unit_test(the_mover_is_not_the_last_to_have_a_network_file),
		cmocka_unit_test(what_fails_for_want_of_memory_is_repeated),
		cmocka_unit_test(large_discards_keep_nobody_waiting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
