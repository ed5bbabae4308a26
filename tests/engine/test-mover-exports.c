/* SPDX-License-Identifier: BSD-3-Clause */
/* Several exports of one mover: what is asked of one, or happens to its file, is nothing that another waits for. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/nbdproto.h"
#include "server/engine/mover.h"
#include "store/page.h"
#include "tests/engine/tcppair.h"
#include "tests/store/support.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
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
	(void)why;
	sem_post(owner);
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

/* ---- sessions ---- */

struct session {
	struct tcp_pair pair;
	int memory;
	struct sess_mem *m;
	struct live *live;
	sem_t ended;
};

static void begin(struct world *w, struct session *s, uint32_t i)
{
	struct tcp_account account;
	char preamble[2];
	struct errbuf e;

	assert_int_equal(tcp_pair(&(struct tcp_kind){ .name = "IPv4" }, &s->pair), 0);
	assert_int_equal(fcntl(s->pair.ours, F_SETFL, 0), 0);
	assert_int_equal(fcntl(s->pair.peers, F_SETFL, 0), 0);
	s->memory = sessmem_make(&e);
	s->m = sessmem_map(s->memory, true, &e);
	assert_non_null(s->m);
	assert_int_equal(tcp_account(s->pair.ours, &account, &e), 0);
	sessmem_begin(s->m, account.received, account.queued, "GO", 2);
	sem_init(&s->ended, 0, 0);
	s->live = mover_add_session(w->mover, &(struct mover_session_options){ .export = w->one[i].x, .sock = s->pair.ours, .memory = s->m,
									       .owner = &s->ended }, &e);
	assert_non_null(s->live);
	assert_int_equal(recv(s->pair.peers, preamble, 2, MSG_WAITALL), 2);
}

static void leave(struct world *w, struct session *s)
{
	close(s->pair.peers);
	sem_wait(&s->ended);
	mover_forget_session(w->mover, s->live);
	close(s->pair.ours);
	sessmem_unmap(s->m);
	close(s->memory);
	sem_destroy(&s->ended);
}

static void ask(struct session *s, uint16_t command, uint32_t length, unsigned times)
{
	struct nbd_request r[32];

	assert_true(times <= 32);
	for (unsigned i = 0; i < times; i++)
		r[i] = (struct nbd_request){ .magic = htobe32(NBD_REQUEST_MAGIC), .type = htobe16(command), .length = htobe32(length) };
	assert_int_equal(send(s->pair.peers, r, times * sizeof(r[0]), 0), times * sizeof(r[0]));
}

static void replies(struct session *s, uint32_t data, unsigned times)
{
	struct nbd_simple_reply r;
	unsigned char page[PAGE_BYTES];

	for (unsigned i = 0; i < times; i++) {
		assert_int_equal(recv(s->pair.peers, &r, sizeof(r), MSG_WAITALL), sizeof(r));
		assert_int_equal(be32toh(r.error), 0);
		if (data)
			assert_int_equal(recv(s->pair.peers, page, data, MSG_WAITALL), data);
	}
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

static void a_receive_that_fails_for_want_of_memory_is_repeated(void **state)
{
	static const int codes[] = { -ENOMEM, -ENOBUFS, -EINTR, -EAGAIN };
	struct session reads;
	struct world w;

	(void)state;
	make(&w);
	add(&w, 0, FILE_PAGES, false);
	begin(&w, &reads, 0);
	for (unsigned i = 0; i < sizeof(codes) / sizeof(codes[0]); i++) {
		atomic_store(&receive_fails, codes[i]);
		ask(&reads, NBD_CMD_READ, PAGE_BYTES, 1);
		replies(&reads, PAGE_BYTES, 1);
		assert_int_equal(receive_fails, 0);
	}
	leave(&w, &reads);
	take_away(&w, 0);
	end(&w);
}

/* ---- requests that are much work ---- */

enum { LARGE_PAGES = 1 << 20, DISCARDS = 32 };

/* One client discards all that a request can, many times over: 4 GiB each, half a second of work or more.  Another reads. */
static void large_discards_keep_nobody_waiting(void **state)
{
	unsigned char answer[DISCARDS * sizeof(struct nbd_simple_reply)];
	struct session discards, reads;
	struct world w;

	(void)state;
	make(&w);
	add(&w, 0, LARGE_PAGES, false);
	add(&w, 1, FILE_PAGES, false);
	begin(&w, &discards, 0);
	begin(&w, &reads, 1);
	ask(&discards, NBD_CMD_TRIM, (LARGE_PAGES - 1) * PAGE_BYTES, DISCARDS);
	for (int i = 0; i < 5; i++) {
		ask(&reads, NBD_CMD_READ, PAGE_BYTES, 1);
		replies(&reads, PAGE_BYTES, 1);
	}
	assert_true(recv(discards.pair.peers, answer, sizeof(answer), MSG_DONTWAIT | MSG_PEEK) < (ssize_t)sizeof(answer) / 2);
	replies(&discards, 0, DISCARDS);

	/* They wait for nothing when their client leaves. */
	ask(&discards, NBD_CMD_TRIM, (LARGE_PAGES - 1) * PAGE_BYTES, DISCARDS);
	leave(&w, &discards);
	leave(&w, &reads);
	take_away(&w, 0);
	take_away(&w, 1);
	end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_server_is_not_asked_what_it_holds),
		cmocka_unit_test(the_mover_is_not_the_last_to_have_a_network_file),
		cmocka_unit_test(a_receive_that_fails_for_want_of_memory_is_repeated),
		cmocka_unit_test(large_discards_keep_nobody_waiting),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
