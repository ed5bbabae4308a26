/* SPDX-License-Identifier: BSD-3-Clause */
/* A write that a dead worker had not answered, though its pages had arrived, is done again before any other session of the export reads or writes
 * them: a later write that is answered stays.
 */
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
#include <poll.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define PAGES 256u
#define COMMON 256u
#define FIRST 64u /* page that the first write begins at */
#define MOST 64u  /* pages of a request: two bites of the store */

#define PATIENCE_MS 60000
#define A_WHILE_MS 500 /* in which a session that does not wait would have answered: nothing is asserted of it */

struct connection {
	int ours, client;
	int memory;
	struct sess_mem *mem;
	struct live *live;
};

static struct table *table;
static struct store *store;
static struct buffers *buffers;
static struct buffers_share *share;
static struct buffers_head *head;
static struct mover *mover;
static struct mover_export *export;
static int file, pool_fd;
static struct connection first, second;
static _Atomic unsigned over;

static void ended(void *arg, void *owner, const char *why)
{
	(void)arg;
	(void)owner;
	(void)why;
	over++;
}

static void connect_one(struct connection *c)
{
	struct tcp_pair pair;
	struct errbuf e;

	assert_int_equal(tcp_pair(&(struct tcp_kind){ .name = "IPv4" }, &pair), 0);
	*c = (struct connection){ .ours = pair.ours, .client = pair.peers, .memory = sessmem_make(&e) };
	c->mem = sessmem_map(c->memory, true, &e);
	assert_non_null(c->mem);
}

static void disconnect(struct connection *c)
{
	if (c->live)
		mover_forget_session(mover, c->live);
	sessmem_unmap(c->mem);
	close(c->memory);
	close(c->ours);
	close(c->client);
}

static int make(void **state)
{
	struct errbuf e;

	(void)state;
	over = 0;
	file = scratch_file(PAGES * PAGE_BYTES);
	table = unit_table(PAGES, PAGE_FRESH);
	store = store_create(&(struct store_options){ .name = "unit", .fd = file, .table = table, .kind = BACKEND_EXT4 }, &e);
	assert_non_null(store);
	pool_fd = memfd_create("pool", MFD_CLOEXEC);
	assert_int_equal(ftruncate(pool_fd, (off_t)buffers_bytes(COMMON, 1)), 0);
	head = mmap(NULL, sizeof(*head), PROT_READ | PROT_WRITE, MAP_SHARED, pool_fd, 0);
	assert_true(head != MAP_FAILED);
	buffers = buffers_create(pool_fd, COMMON, true, &e);
	assert_non_null(buffers);
	share = buffers_join(buffers, 0, &e);
	assert_non_null(share);
	mover = mover_create(&(struct mover_options){ .buffers = buffers, .sessions = 4, .exports = 4, .ended = ended }, &e);
	if (!mover && (e.code == ENOSYS || e.code == EPERM)) {
		print_message("no io_uring here\n");
		skip();
	}
	assert_non_null(mover);
	export = mover_add_export(mover, &(struct mover_export_options){ .fd = file, .store = store, .share = share, .direct = true }, &e);
	assert_non_null(export);
	connect_one(&first);
	connect_one(&second);
	return 0;
}

static int unmake(void **state)
{
	unsigned live = !!first.live + !!second.live;

	(void)state;
	shutdown(first.client, SHUT_RDWR);
	shutdown(second.client, SHUT_RDWR);
	while (over < live)
		usleep(1000);
	disconnect(&first);
	disconnect(&second);
	mover_remove_export(mover, export);
	mover_free(mover);
	buffers_leave(share);
	buffers_free(buffers);
	munmap(head, sizeof(*head));
	store_free(store);
	table_free(table);
	close(file);
	close(pool_fd);
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

static void send_write(const struct connection *c, uint32_t page, uint32_t pages, unsigned version)
{
	struct nbd_request h = request(NBD_CMD_WRITE, page, pages);

	fill(version, pages);
	send_all(c->client, &h, sizeof(h));
	send_all(c->client, data, pages * PAGE_BYTES);
}

static void expect_reply(const struct connection *c, uint32_t page)
{
	struct nbd_simple_reply r;

	receive_all(c->client, &r, sizeof(r));
	assert_int_equal(be32toh(r.magic), NBD_SIMPLE_REPLY_MAGIC);
	assert_int_equal(r.error, 0);
	assert_int_equal(r.cookie, page);
}

static unsigned version_of(const struct connection *c, uint32_t page)
{
	struct nbd_request h = request(NBD_CMD_READ, page, 1);

	send_all(c->client, &h, sizeof(h));
	expect_reply(c, page);
	receive_all(c->client, data, PAGE_BYTES);
	return data[0];
}

/* ---- what a dead worker left ---- */

/* A session with one write received, at the backend when its worker died: the pages arrived, its client has not been told. */
static void leave_write(struct connection *c, uint32_t page, uint32_t pages, unsigned version)
{
	struct sess_request *r = &c->mem->request[0];
	struct nbd_request h;

	sessmem_begin(c->mem, 0, 0, "", 0);
	for (unsigned i = 0; i < SESSMEM_REQUESTS; i++)
		c->mem->request[i].buffer = SESSMEM_NO_BUFFER;
	send_write(c, page, pages, version);
	receive_all(c->ours, &h, sizeof(h));
	r->buffer = 0;
	receive_all(c->ours, (unsigned char *)buffers_at(share, r->buffer), pages * PAGE_BYTES);
	buffers_hold(head, r->buffer, pages, true);
	r->command = NBD_CMD_WRITE;
	r->cookie = h.cookie;
	r->offset = (uint64_t)page * PAGE_BYTES;
	r->length = pages * PAGE_BYTES;
	r->use = 1;
	c->mem->parsed = sizeof(h) + r->length;
	assert_int_equal(store_rw(store, NULL, RW_WRITE, r->offset, r->length, buffers_at(share, r->buffer), NULL), 0);
}

static void leave_nothing(struct connection *c)
{
	sessmem_begin(c->mem, 0, 0, "", 0);
	for (unsigned i = 0; i < SESSMEM_REQUESTS; i++)
		c->mem->request[i].buffer = SESSMEM_NO_BUFFER;
}

static void go_on(struct connection *c)
{
	struct tcp_account account;
	struct errbuf e;

	assert_int_equal(tcp_account(c->ours, &account, &e), 0);
	c->live = mover_add_session(mover, &(struct mover_session_options){ .export = export, .sock = c->ours, .memory = c->mem,
									    .owner = c, .account = &account }, &e);
	assert_non_null(c->live);
}

static void later_write_stays(uint32_t pages, uint32_t page)
{
	struct pollfd answer = { .events = POLLIN };

	leave_write(&first, FIRST, pages, 1);
	leave_nothing(&second);
	store_await(store, 1); /* sessions of the predecessor's are being handed down */
	go_on(&second);
	send_write(&second, page, 1, 2);
	answer.fd = second.client;
	poll(&answer, 1, A_WHILE_MS);
	go_on(&first);
	store_await(store, -1);
	mover_look_again(mover);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(later_write_stays_on_a_page, make, unmake),
		cmocka_unit_test_setup_teardown(later_write_stays_on_a_large_one, make, unmake),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
