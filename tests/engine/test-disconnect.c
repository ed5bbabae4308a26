/* SPDX-License-Identifier: BSD-3-Clause */
/* What a client asked for before it disconnected is done, also what still waits for a page when its connection has ended; what a client asked for that
 * went without a word is not waited for, nor does a session wait for anything once its connection was lost.
 */
#include "config.h"

#include "tests/engine/moverworld.h"

#include "common/nbdproto.h"
#include "server/engine/mover_priv.h"
#include "store/page.h"

#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAGES = 16, PAGE = 3, A_WHILE_MS = 500 /* in which a session that does not wait would have ended: nothing is asserted of it */ };

static void wake(struct rw *rw)
{
	(void)rw;
}

/* Somebody else's write of the page is at the backend. */
static void begin_write(struct world *w, struct rw *rw, unsigned char *data)
{
	memset(data, 0, PAGE_BYTES);
	data[1] = 0x77;
	rw_init(rw, w->one[0].store, RW_WRITE, PAGE * PAGE_BYTES, PAGE_BYTES, data, wake);
	assert_int_equal(rw_begin(rw), RW_IO);
}

static void end_write(struct rw *rw)
{
	assert_int_equal(pwrite(rw->fd, rw->iov[0].iov_base, PAGE_BYTES, rw->position), PAGE_BYTES);
	assert_int_equal(rw_complete(rw, PAGE_BYTES), RW_DONE);
}

static bool ends_within(struct visitor *v, int ms)
{
	struct timespec t;

	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += ms / 1000;
	t.tv_nsec += ms % 1000 * 1000000L;
	if (t.tv_nsec >= 1000000000L) {
		t.tv_sec++;
		t.tv_nsec -= 1000000000L;
	}
	if (sem_timedwait(&v->ended, &t) < 0)
		return false;
	sem_post(&v->ended); /* for visitor_leave() */
	return true;
}

/* Returns whether the visitor's own write is there at the end. */
static bool written(bool disconnects)
{
	unsigned char data[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES))), now[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
	struct visitor v;
	struct world w;
	struct rw rw;
	bool ended;

	world_make(&w);
	world_add(&w, 0, scratch_file((uint64_t)PAGES * PAGE_BYTES), PAGES, false);
	visitor_come(&w, &v, 0);
	begin_write(&w, &rw, data);
	visitor_write(&v, PAGE, 0);
	visitor_ask(&v, NBD_CMD_READ, PAGE_BYTES, 1);
	assert_true(visitor_replies(&v, PAGE_BYTES, 1)); /* so the write has come too, and waits */
	if (disconnects)
		visitor_ask(&v, NBD_CMD_DISC, 0, 1);
	shutdown(v.pair.peers, SHUT_RDWR);
	ended = ends_within(&v, disconnects ? A_WHILE_MS : 60000);
	if (!disconnects)
		assert_true(ended);
	end_write(&rw);
	visitor_leave(&w, &v);
	assert_int_equal(store_rw(w.one[0].store, NULL, RW_READ, PAGE * PAGE_BYTES, PAGE_BYTES, now, NULL), 0);
	world_take_away(&w, 0);
	world_end(&w);
	return now[1] != 0x77;
}

static void what_was_asked_for_before_is_done(void **state)
{
	(void)state;
	assert_true(written(true));
}

static void who_is_gone_is_not_waited_for(void **state)
{
	(void)state;
	assert_false(written(false));
}

/* More than a session may have buffers for, so that the last of them, of another page, and the goodbye are not looked at before the end has come. */
static void also_what_waits_for_buffers_is_done(void **state)
{
	unsigned char data[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES))), now[PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));
	struct visitor v;
	struct world w;
	struct rw rw;
	unsigned most;

	(void)state;
	world_make(&w);
	world_add(&w, 0, scratch_file((uint64_t)PAGES * PAGE_BYTES), PAGES, false);
	most = buffers_session_max(w.one[0].share);
	visitor_come(&w, &v, 0);
	begin_write(&w, &rw, data);
	for (unsigned i = 0; i < most; i++)
		visitor_write(&v, PAGE, 0);
	visitor_write(&v, PAGE + 1, 0);
	visitor_ask(&v, NBD_CMD_DISC, 0, 1);
	shutdown(v.pair.peers, SHUT_RDWR);
	ends_within(&v, A_WHILE_MS);
	end_write(&rw);
	visitor_leave(&w, &v);
	assert_int_equal(store_rw(w.one[0].store, NULL, RW_READ, (PAGE + 1) * PAGE_BYTES, PAGE_BYTES, now, NULL), 0);
	assert_int_equal(now[ODD_BYTE], PAGE + 2);
	world_take_away(&w, 0);
	world_end(&w);
}

static void who_is_lost_does_not_wait(void **state)
{
	const struct linger reset = { .l_onoff = 1 };
	struct visitor v;
	struct world w;
	struct errbuf e;

	(void)state;
	world_make(&w);
	world_add(&w, 0, scratch_file((uint64_t)PAGES * PAGE_BYTES), PAGES, false);
	visitor_connect(&v);
	assert_int_equal(setsockopt(v.pair.peers, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
	close(v.pair.peers);
	while (send(v.pair.ours, "", 1, MSG_NOSIGNAL) >= 0)
		usleep(1000);
	store_await(w.one[0].store, 1); /* of a predecessor's: others are to be done again first */
	sessmem_begin(v.m, 0, 0, "GO", 2);
	v.live = mover_add_session(w.mover, &(struct mover_session_options){ .export = w.one[0].x, .sock = v.pair.ours, .memory = v.m,
									     .owner = &v.ended }, &e);
	assert_non_null(v.live);
	sem_wait(&v.ended);
	mover_forget_session(w.mover, v.live);
	assert_int_equal(v.live->m->starved, 0);
	store_await(w.one[0].store, -1);
	close(v.pair.ours);
	sessmem_unmap(v.m);
	close(v.memory);
	sem_destroy(&v.ended);
	world_take_away(&w, 0);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_asked_for_before_is_done),
		cmocka_unit_test(also_what_waits_for_buffers_is_done),
		cmocka_unit_test(who_is_gone_is_not_waited_for),
		cmocka_unit_test(who_is_lost_does_not_wait),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
