/* SPDX-License-Identifier: BSD-3-Clause */
/* What still arrives for a session that is being ended never lands in a buffer that another has by then. */
#include "config.h"

#include "tests/engine/moverworld.h"

#include "common/nbdproto.h"
#include "server/engine/mover_priv.h"
#include "store/page.h"

#include <endian.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

/* A request of BUFFERS_BLOCK_PAGES takes all of the reserve that writes may have, two more all that an export may have beyond it. */
enum { OTHERS = 2, LATE_PAGES = 3, PAGES = 256, PAGE = 200, MINE = 0x11, LATE = 0x5a };

static struct world w;
static struct visitor goes, stays, others[OTHERS];
static sem_t waits; /* the write of who stays has come, and waits for a buffer */

static void send_pages(struct visitor *v, unsigned n, unsigned char value)
{
	unsigned char data[PAGE_BYTES];

	memset(data, value, sizeof(data));
	data[0] = (unsigned char)~value; /* not all of one value */
	for (unsigned i = 0; i < n; i++)
		assert_int_equal(send(v->pair.peers, data, sizeof(data), 0), sizeof(data));
}

static void send_header(struct visitor *v, uint32_t page, uint32_t pages)
{
	struct nbd_request r = { .magic = htobe32(NBD_REQUEST_MAGIC), .type = htobe16(NBD_CMD_WRITE),
				 .offset = htobe64((uint64_t)page * PAGE_BYTES), .length = htobe32(pages * PAGE_BYTES) };

	assert_int_equal(send(v->pair.peers, &r, sizeof(r), 0), sizeof(r));
}

/* Until its buffer is what is received into. */
static void begin_large_write(struct visitor *v)
{
	send_header(v, 0, BUFFERS_BLOCK_PAGES);
	while (atomic_load(&v->m->direct_end) <= atomic_load(&v->m->parsed))
		usleep(1000);
}

/* On the mover's thread: from here to the mover's next wait nothing more is received. */
void __wrap_live_end(struct live *s, const char *why);
extern void __real_live_end(struct live *s, const char *why);

void __wrap_live_end(struct live *s, const char *why)
{
	if (s == goes.live)
		send_pages(&goes, LATE_PAGES, LATE);
	__real_live_end(s, why);
}

void __wrap_live_received(struct live *s, int result);
extern void __real_live_received(struct live *s, int result);

void __wrap_live_received(struct live *s, int result)
{
	__real_live_received(s, result);
	if (s == stays.live && !s->ending && s->received - atomic_load(&s->mem->parsed) == sizeof(struct nbd_request) + LATE_PAGES * PAGE_BYTES)
		sem_post(&waits);
}

static void it_goes_to_nobody_else(void **state)
{
	unsigned char now[(LATE_PAGES + 1) * PAGE_BYTES] __attribute__((aligned(PAGE_BYTES)));

	(void)state;
	sem_init(&waits, 0, 0);
	world_make(&w);
	world_add(&w, 0, scratch_file((uint64_t)PAGES * PAGE_BYTES), PAGES, false);
	visitor_come(&w, &goes, 0);
	visitor_come(&w, &stays, 0);
	for (unsigned i = 0; i < OTHERS; i++)
		visitor_come(&w, &others[i], 0);
	begin_large_write(&goes);
	for (unsigned i = 0; i < OTHERS; i++)
		begin_large_write(&others[i]);
	visitor_ask(&stays, NBD_CMD_READ, PAGE_BYTES, 1);
	assert_true(visitor_replies(&stays, PAGE_BYTES, 1)); /* so the mover has waited since, and with it all receives are under way */

	send_header(&stays, PAGE, LATE_PAGES + 1);
	send_pages(&stays, LATE_PAGES, MINE);
	sem_wait(&waits);
	mover_end_session(w.mover, goes.live);
	sem_wait(&goes.ended);
	sem_post(&goes.ended); /* for visitor_leave() */
	send_pages(&stays, 1, MINE);
	assert_true(visitor_replies(&stays, 0, 1));
	assert_int_equal(store_rw(w.one[0].store, NULL, RW_READ, (uint64_t)PAGE * PAGE_BYTES, sizeof(now), now, NULL), 0);
	for (size_t i = 0; i < sizeof(now); i++)
		if (now[i] != (i % PAGE_BYTES ? MINE : (unsigned char)~MINE))
			fail_msg("byte %zu of what was written is 0x%02x", i, now[i]);

	visitor_leave(&w, &goes);
	visitor_leave(&w, &stays);
	for (unsigned i = 0; i < OTHERS; i++)
		visitor_leave(&w, &others[i]);
	world_take_away(&w, 0);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_goes_to_nobody_else),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
