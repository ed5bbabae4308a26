/* SPDX-License-Identifier: BSD-3-Clause */
/* A write that a dead worker had not answered, though its pages had arrived, is done again before any other session of the export reads or writes
 * them: a later write that is answered stays.
 */
#include "config.h"

#include "tests/engine/moverworld.h"

#include "common/nbdproto.h"
#include "server/engine/mover_priv.h"
#include "store/page.h"

#include <endian.h>
#include <poll.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGES 256u
#define FIRST 64u /* page that the first write begins at */
#define MOST 64u  /* pages of a request: two bites of the store */

#define PATIENCE_MS 60000
#define A_WHILE_MS 500 /* in which a session that does not wait would have answered; that one answers in it is not asserted */

static struct world w;
static struct visitor first, second;

/* ---- as if all tasks were taken, and as if time had passed ---- */

static _Atomic bool no_tasks; /* for what the first session is to do again */
static _Atomic int64_t ahead_ms;

bool __real_resume_redo(struct live *s, bool changes);
bool __wrap_resume_redo(struct live *s, bool changes);
bool __wrap_resume_redo(struct live *s, bool changes)
{
	return !(no_tasks && s->mem == first.m) && __real_resume_redo(s, changes);
}

int64_t __real_mover_now_ms(void);
int64_t __wrap_mover_now_ms(void);
int64_t __wrap_mover_now_ms(void)
{
	return __real_mover_now_ms() + ahead_ms;
}

static int make(void **state)
{
	(void)state;
	world_make(&w);
	world_add(&w, 0, scratch_file(PAGES * PAGE_BYTES), PAGES, false);
	visitor_connect(&first);
	visitor_connect(&second);
	return 0;
}

static int unmake(void **state)
{
	(void)state;
	visitor_leave(&w, &first);
	visitor_leave(&w, &second);
	world_take_away(&w, 0);
	world_end(&w);
	return 0;
}

/* ---- a client ---- */

static void send_all(int sock, const void *p, size_t n)
{
	const unsigned char *c = p;

	while (n > 0) {
		struct pollfd ready = { .fd = sock, .events = POLLOUT };
		ssize_t r;

		assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
		r = send(sock, c, n, MSG_NOSIGNAL);
		assert_true(r > 0);
		c += r;
		n -= (size_t)r;
	}
}

static void receive_all(int sock, void *p, size_t n)
{
	unsigned char *c = p;

	while (n > 0) {
		struct pollfd ready = { .fd = sock, .events = POLLIN };
		ssize_t r;

		assert_int_equal(poll(&ready, 1, PATIENCE_MS), 1);
		r = recv(sock, c, n, 0);
		assert_true(r > 0);
		c += r;
		n -= (size_t)r;
	}
}

static struct nbd_request request(uint16_t command, uint32_t page, uint32_t pages)
{
	return (struct nbd_request){ .magic = htobe32(NBD_REQUEST_MAGIC), .type = htobe16(command), .cookie = page,
				     .offset = htobe64((uint64_t)page * PAGE_BYTES), .length = htobe32(pages * PAGE_BYTES) };
}

static unsigned char data[MOST * PAGE_BYTES];

/* Pages that are neither all of one value nor like those of another version. */
static void fill(unsigned version, uint32_t pages)
{
	for (size_t i = 0; i < pages * PAGE_BYTES; i++)
		data[i] = (unsigned char)(version + i % 251);
}

static void send_write(const struct visitor *c, uint32_t page, uint32_t pages, unsigned version)
{
	struct nbd_request h = request(NBD_CMD_WRITE, page, pages);

	fill(version, pages);
	send_all(c->pair.peers, &h, sizeof(h));
	send_all(c->pair.peers, data, pages * PAGE_BYTES);
}

static void expect_reply(const struct visitor *c, uint32_t page)
{
	struct nbd_simple_reply r;

	receive_all(c->pair.peers, &r, sizeof(r));
	assert_int_equal(be32toh(r.magic), NBD_SIMPLE_REPLY_MAGIC);
	assert_int_equal(r.error, 0);
	assert_int_equal(r.cookie, page);
}

static unsigned version_of(const struct visitor *c, uint32_t page)
{
	struct nbd_request h = request(NBD_CMD_READ, page, 1);

	send_all(c->pair.peers, &h, sizeof(h));
	expect_reply(c, page);
	receive_all(c->pair.peers, data, PAGE_BYTES);
	return data[0];
}

/* ---- what a dead worker left ---- */

/* A session with one write received, at the backend when its worker died: the pages arrived, its client has not been told. */
static void leave_write(struct visitor *c, uint32_t page, uint32_t pages, unsigned version)
{
	struct buffers_head *head = mmap(NULL, sizeof(*head), PROT_READ | PROT_WRITE, MAP_SHARED, w.pool, 0);
	struct buffers_share *share = w.one[0].share;
	struct sess_request *r = &c->m->request[0];
	struct nbd_request h;

	assert_true(head != MAP_FAILED);

	sessmem_begin(c->m, 0, 0, "", 0);
	for (unsigned i = 0; i < SESSMEM_REQUESTS; i++)
		c->m->request[i].buffer = SESSMEM_NO_BUFFER;
	send_write(c, page, pages, version);
	receive_all(c->pair.ours, &h, sizeof(h));
	r->buffer = 0;
	receive_all(c->pair.ours, (unsigned char *)buffers_at(share, r->buffer), pages * PAGE_BYTES);
	buffers_hold(head, r->buffer, pages, true);
	munmap(head, sizeof(*head));
	r->command = NBD_CMD_WRITE;
	r->cookie = h.cookie;
	r->offset = (uint64_t)page * PAGE_BYTES;
	r->length = pages * PAGE_BYTES;
	r->use = 1;
	c->m->parsed = sizeof(h) + r->length;
	assert_int_equal(store_rw(w.one[0].store, NULL, RW_WRITE, r->offset, r->length, buffers_at(share, r->buffer), NULL), 0);
}

static void leave_nothing(struct visitor *c)
{
	sessmem_begin(c->m, 0, 0, "", 0);
	for (unsigned i = 0; i < SESSMEM_REQUESTS; i++)
		c->m->request[i].buffer = SESSMEM_NO_BUFFER;
}

static void go_on(struct visitor *c)
{
	struct tcp_account account;
	struct errbuf e;

	assert_int_equal(tcp_account(c->pair.ours, &account, &e), 0);
	c->live = mover_add_session(w.mover, &(struct mover_session_options){ .export = w.one[0].x, .sock = c->pair.ours, .memory = c->m,
									    .owner = &c->ended, .account = &account }, &e);
	assert_non_null(c->live);
}

static void later_write_stays(uint32_t pages, uint32_t page)
{
	struct pollfd answer = { .events = POLLIN };

	leave_write(&first, FIRST, pages, 1);
	leave_nothing(&second);
	store_await(w.one[0].store, 1); /* sessions of the predecessor's are being handed down */
	go_on(&second);
	send_write(&second, page, 1, 2);
	answer.fd = second.pair.peers;
	poll(&answer, 1, A_WHILE_MS);
	go_on(&first);
	store_await(w.one[0].store, -1);
	mover_look_again(w.mover);
	expect_reply(&first, FIRST);
	expect_reply(&second, page);
	assert_int_equal(version_of(&second, page), 2);
	assert_int_equal(version_of(&first, page), 2);
}

static void later_write_stays_on_a_page(void **state)
{
	(void)state;
	later_write_stays(1, FIRST);
}

/* The store works it off in two bites: that in the second is free while the first is at the backend. */
static void later_write_stays_on_a_large_one(void **state)
{
	(void)state;
	later_write_stays(MOST, FIRST + MOST - 1);
}

/* For a write that is at the backend others wait only so long, for the store keeps what is later behind it; for one that has not begun, as long
 * as it takes.
 */
static void one_that_has_not_begun_is_waited_for(void **state)
{
	struct pollfd answer = { .events = POLLIN };

	(void)state;
	leave_write(&first, FIRST, 1, 1);
	leave_nothing(&second);
	no_tasks = true;
	go_on(&first);
	go_on(&second);
	send_write(&second, FIRST, 1, 2);
	answer.fd = second.pair.peers;
	assert_int_equal(poll(&answer, 1, A_WHILE_MS), 0);
	ahead_ms = 2 * AWAIT_MS;
	mover_look_again(w.mover);
	assert_int_equal(poll(&answer, 1, A_WHILE_MS), 0);
	no_tasks = false;
	mover_look_again(w.mover);
	expect_reply(&first, FIRST);
	expect_reply(&second, FIRST);
	assert_int_equal(version_of(&second, FIRST), 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(later_write_stays_on_a_page, make, unmake),
		cmocka_unit_test_setup_teardown(later_write_stays_on_a_large_one, make, unmake),
		cmocka_unit_test_setup_teardown(one_that_has_not_begun_is_waited_for, make, unmake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
