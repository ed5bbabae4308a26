/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/engine/moverworld.h"

#include "common/nbdproto.h"
#include "store/page.h"

#include <endian.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

enum { COMMON = 256 };

static void ended(void *arg, void *owner, bool left, const char *why)
{
	(void)arg;
	(void)left;
	(void)why;
	sem_post(owner);
}

void world_add(struct world *w, uint32_t i, int fd, uint64_t pages, bool blocks)
{
	struct one *o = &w->one[i];
	struct errbuf e;

	o->fd = fd;
	o->table = unit_table(pages, PAGE_FRESH);
	o->share = buffers_join(w->buffers, i, &e);
	o->store = store_create(&(struct store_options){ .name = "unit", .fd = o->fd, .table = o->table, .kind = BACKEND_EXT4 }, &e);
	assert_true(o->share && o->store);
	o->x = mover_add_export(w->mover, &(struct mover_export_options){ .fd = o->fd, .store = o->store, .share = o->share, .direct = true,
									  .blocks = blocks }, &e);
	if (!o->x)
		fail_msg("%s", e.text);
}

void world_take_away(struct world *w, uint32_t i)
{
	struct one *o = &w->one[i];

	mover_remove_export(w->mover, o->x);
	store_free(o->store);
	buffers_leave(o->share);
	table_free(o->table);
	close(o->fd);
}

void world_make(struct world *w)
{
	struct errbuf e;

	w->pool = memfd_create("pool", MFD_CLOEXEC);
	assert_int_equal(ftruncate(w->pool, (off_t)buffers_bytes(COMMON, WORLD_EXPORTS)), 0);
	w->buffers = buffers_create(w->pool, COMMON, true, &e);
	assert_non_null(w->buffers);
	w->mover = mover_create(&(struct mover_options){ .buffers = w->buffers, .sessions = 4, .exports = WORLD_EXPORTS, .ended = ended }, &e);
	if (!w->mover)
		fail_msg("%s", e.text);
}

void world_end(struct world *w)
{
	mover_free(w->mover);
	buffers_free(w->buffers);
	close(w->pool);
}

void visitor_connect(struct visitor *v)
{
	struct errbuf e;

	assert_int_equal(tcp_pair(&(struct tcp_kind){ .name = "IPv4" }, &v->pair), 0);
	assert_int_equal(fcntl(v->pair.ours, F_SETFL, 0), 0);
	assert_int_equal(fcntl(v->pair.peers, F_SETFL, 0), 0);
	v->memory = sessmem_make(&e);
	v->m = sessmem_map(v->memory, true, &e);
	assert_non_null(v->m);
	sem_init(&v->ended, 0, 0);
}

void visitor_come(struct world *w, struct visitor *v, uint32_t i)
{
	struct tcp_account account;
	char preamble[2];
	struct errbuf e;

	visitor_connect(v);
	assert_int_equal(tcp_account(v->pair.ours, &account, &e), 0);
	sessmem_begin(v->m, account.received, account.queued, "GO", 2);
	v->live = mover_add_session(w->mover, &(struct mover_session_options){ .export = w->one[i].x, .sock = v->pair.ours, .memory = v->m,
									       .owner = &v->ended }, &e);
	assert_non_null(v->live);
	assert_int_equal(recv(v->pair.peers, preamble, 2, MSG_WAITALL), 2);
}

void visitor_leave(struct world *w, struct visitor *v)
{
	close(v->pair.peers);
	sem_wait(&v->ended);
	mover_forget_session(w->mover, v->live);
	close(v->pair.ours);
	sessmem_unmap(v->m);
	close(v->memory);
	sem_destroy(&v->ended);
}

void visitor_ask(struct visitor *v, uint16_t command, uint32_t length, unsigned times)
{
	struct nbd_request r[32];

	assert_true(times <= 32);
	for (unsigned i = 0; i < times; i++)
		r[i] = (struct nbd_request){ .magic = htobe32(NBD_REQUEST_MAGIC), .type = htobe16(command), .length = htobe32(length) };
	assert_int_equal(send(v->pair.peers, r, times * sizeof(r[0]), 0), times * sizeof(r[0]));
}

void visitor_write(struct visitor *v, uint32_t page, uint16_t flags)
{
	struct {
		struct nbd_request r;
		unsigned char data[PAGE_BYTES];
	} m = { .r = { .magic = htobe32(NBD_REQUEST_MAGIC), .type = htobe16(NBD_CMD_WRITE), .flags = htobe16(flags),
		       .offset = htobe64((uint64_t)page * PAGE_BYTES), .length = htobe32(PAGE_BYTES) } };

	m.data[ODD_BYTE] = (unsigned char)(1 + page);
	assert_int_equal(send(v->pair.peers, &m, sizeof(m), 0), sizeof(m));
}

bool visitor_replies(struct visitor *v, uint32_t data, unsigned times)
{
	struct nbd_simple_reply r;
	unsigned char page[PAGE_BYTES];

	for (unsigned i = 0; i < times; i++) {
		if (recv(v->pair.peers, &r, sizeof(r), MSG_WAITALL) != sizeof(r))
			return false;
		assert_int_equal(be32toh(r.error), 0);
		if (data)
			assert_int_equal(recv(v->pair.peers, page, data, MSG_WAITALL), data);
	}
	return true;
}
