/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/fuzz/sessionworld.h"

#include "tests/fuzz/fuzz.h"

#include <errno.h>
#include <setjmp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define SOCK 4242
#define COMMON_PAGES (4 * BUFFERS_BLOCK_PAGES)
#define ENTRIES 16u

struct live world_session;
struct sess_mem *world_mem;
size_t world_room;
bool world_dies_sending, world_lost, world_ended;

static jmp_buf death;

static struct world_calls calls;
static struct mover mover;
static struct mover_export export;
static struct buffers *buffers;
static struct buffers_head *head; /* as the daemon has it */
static unsigned blocks; /* that the share can have at most */

static struct io_uring_sqe entries[ENTRIES];
static unsigned nentries;
static struct iovec target[2]; /* of the receive in flight */
static unsigned ntarget;
static bool polling;
static bool was_shut;
static uint32_t running[SESSMEM_REQUESTS];
static unsigned nrunning;
static unsigned tasks; /* at once */
static int awaited;	   /* as the store counts what is to be done again */
static uint64_t received, sent; /* by the kernel's count */

/* ---- in place of what is not here ---- */

struct io_uring_sqe *ring_entry(struct ring *r)
{
	promise(r == &mover.ring && nentries < ENTRIES, "%u entries at once", nentries);
	memset(&entries[nentries], 0, sizeof(entries[0]));
	return &entries[nentries++];
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	size_t taken = 0;

	promise(fd == SOCK && !world_ended && flags == (MSG_DONTWAIT | MSG_NOSIGNAL), "a send to nowhere");
	promise(msg->msg_iovlen > 0 && msg->msg_iovlen <= 2 * REPLIES_AT_ONCE + 1, "%zu pieces", msg->msg_iovlen);
	if (world_lost || was_shut) {
		errno = EPIPE;
		return -1;
	}
	for (size_t i = 0; i < msg->msg_iovlen && world_room; i++) {
		size_t n = msg->msg_iov[i].iov_len;

		promise(n > 0, "a piece without bytes");
		if (n > world_room)
			n = world_room;
		calls.sent(msg->msg_iov[i].iov_base, n);
		world_room -= n;
		taken += n;
	}
	sent += taken;
	if (taken && world_dies_sending)
		longjmp(death, 1);
	if (taken)
		return (ssize_t)taken;
	errno = EAGAIN;
	return -1;
}

int __wrap_shutdown(int fd, int how);
int __wrap_shutdown(int fd, int how)
{
	promise(fd == SOCK && how == SHUT_RDWR, "another socket is shut down");
	was_shut = true;
	return 0;
}

void store_end_session(struct store *store, struct rw_session *session)
{
	promise(session == &world_session.ended, "another session ends");
	atomic_store(&session->ended, true);
}

void store_await(struct store *store, int n)
{
	awaited += n;
	promise(awaited >= 0, "more was done again than there was");
}

bool store_awaits(const struct store *store)
{
	(void)store;
	return awaited > 0;
}

int64_t mover_now_ms(void)
{
	return 1;
}

unsigned ring_queued(const struct ring *r)
{
	promise(r == &mover.ring, "another ring");
	return nentries;
}

/* They go on when the world turns. */
void ring_submit(struct ring *r)
{
	promise(r == &mover.ring && nentries > 0, "nothing to submit");
}

bool task_available(const struct mover_export *x)
{
	promise(x == &export, "another export");
	return nrunning < tasks;
}

void task_begin(struct live *s, uint32_t slot)
{
	promise(s == &world_session && !s->ending && slot < SESSMEM_REQUESTS && !s->doing[slot], "slot %u begins", slot);
	promise(task_available(s->x), "a request begins without a task");
	running[nrunning++] = slot;
	s->running++;
	s->doing[slot] = true;
	calls.begins(slot, &s->mem->request[slot], world_data(slot));
}

static void finish(unsigned n, uint32_t error)
{
	struct live *s = &world_session;
	uint32_t slot = running[n];

	memmove(&running[n], &running[n + 1], (--nrunning - n) * sizeof(running[0]));
	s->running--;
	mover.freed = true;
	s->doing[slot] = false;
	live_settle_owed(s, slot);
	if (s->ending)
		live_free_slot(s, slot);
	else
		live_answer(s, slot, error);
	live_maybe_ended(s);
}

/* Those in odd slots wait for something and give up; the others are at the backend. */
void task_cancel(struct live *s)
{
	for (unsigned n = 0; n < nrunning;)
		if (running[n] % 2)
			finish(n, NBD_EIO);
		else
			n++;
}

static void ended(void *arg, void *owner, bool left, const char *why)
{
	(void)left;
	promise(arg == &mover && owner == &export && !world_ended, "somebody else is told of the end, or again");
	promise(nrunning == 0 && ntarget == 0 && !polling, "the end is told while something is under way");
	if (why)
		promise_text(why, 256);
	world_ended = true;
}

/* ---- what happens ---- */

/* Entries of the ring become what is in flight. */
static void take_entries(void)
{
	for (unsigned i = 0; i < nentries; i++) {
		const struct io_uring_sqe *e = &entries[i];
		const struct msghdr *msg = (const struct msghdr *)(uintptr_t)e->addr;
		size_t all = 0;

		promise(e->fd == (int)world_session.place && e->flags == IOSQE_FIXED_FILE, "an operation on another file");
		if (e->opcode == IORING_OP_POLL_ADD) {
			promise(!polling && e->user_data == (uintptr_t)tagged(&world_session, OF_POLL), "a second poll");
			polling = true;
			continue;
		}
		promise(e->opcode == IORING_OP_RECV || e->opcode == IORING_OP_RECVMSG, "operation %u", e->opcode);
		promise(ntarget == 0 && e->user_data == (uintptr_t)tagged(&world_session, OF_RECEIVE), "a second receive");
		if (e->opcode == IORING_OP_RECV) {
			target[0] = (struct iovec){ .iov_base = (void *)(uintptr_t)e->addr, .iov_len = e->len };
			ntarget = 1;
		} else {
			promise(msg->msg_iovlen > 0 && msg->msg_iovlen <= 2, "%zu targets", msg->msg_iovlen);
			ntarget = (unsigned)msg->msg_iovlen;
			memcpy(target, msg->msg_iov, ntarget * sizeof(target[0]));
		}
		for (unsigned k = 0; k < ntarget; k++)
			all += target[k].iov_len;
		promise(all > 0, "a receive of nothing");
	}
	nentries = 0;
}

bool world_work(void)
{
	if (setjmp(death))
		return false;
	for (;;) {
		struct live *s = mover.dirty;

		if (s) {
			promise(s == &world_session && !world_ended, "a session works that is none");
			mover.dirty = s->next_dirty;
			live_work(s);
		} else if (mover.starved && mover.freed) {
			mover.freed = false;
			live_touch(&world_session);
		} else {
			break;
		}
	}
	take_entries();
	return true;
}

size_t world_wanted(void)
{
	size_t all = 0;

	for (unsigned k = 0; k < ntarget; k++)
		all += target[k].iov_len;
	return all;
}

/* To where it said; beyond the end of that the sanitizer watches. */
static void scatter(const unsigned char *data, size_t bytes)
{
	for (unsigned k = 0; k < ntarget && bytes; k++) {
		size_t n = target[k].iov_len < bytes ? target[k].iov_len : bytes;

		memcpy(target[k].iov_base, data, n);
		data += n;
		bytes -= n;
	}
}

void world_receive(const unsigned char *data, ssize_t bytes)
{
	if (bytes > 0) {
		scatter(data, (size_t)bytes);
		received += (uint64_t)bytes;
	}
	ntarget = 0;
	live_received(&world_session, (int)bytes);
}

bool world_waits_for_room(void)
{
	return polling;
}

void world_has_room(void)
{
	polling = false;
	live_polled(&world_session);
}

unsigned world_running(void)
{
	return nrunning;
}

uint32_t world_slot(unsigned n)
{
	return running[n];
}

unsigned char *world_data(uint32_t slot)
{
	uint32_t buffer = world_mem->request[slot].buffer;

	return buffer == SESSMEM_NO_BUFFER ? NULL : buffers_at(export.share, buffer);
}

void world_complete(unsigned n, uint32_t error)
{
	finish(n, error);
}

/* ---- life ---- */

static unsigned free_blocks(void)
{
	uint32_t first[2 * COMMON_PAGES / BUFFERS_BLOCK_PAGES];
	unsigned n = 0;

	while (n < sizeof(first) / sizeof(first[0]) && buffers_take(export.share, true, BUFFERS_BLOCK_PAGES, &first[n]))
		n++;
	for (unsigned i = 0; i < n; i++)
		buffers_give(export.share, first[i], BUFFERS_BLOCK_PAGES);
	return n;
}

static void make(void)
{
	int pool = memfd_create("pool", MFD_CLOEXEC), fd;
	struct errbuf e;

	fd = sessmem_make(&e);
	if (pool < 0 || ftruncate(pool, (off_t)buffers_bytes(COMMON_PAGES, 1)) < 0 || fd < 0 || !(world_mem = sessmem_map(fd, true, &e)) ||
	    !(buffers = buffers_create(pool, COMMON_PAGES, true, &e)) || !(export.share = buffers_join(buffers, 0, &e)))
		abort();
	head = mmap(NULL, sizeof(*head), PROT_READ | PROT_WRITE, MAP_SHARED, pool, 0);
	if (head == MAP_FAILED)
		abort();
	blocks = free_blocks();
}

/* As the mover sets out with one. */
static void init_session(void)
{
	struct live *s = &world_session;

	memset(s, 0, sizeof(*s));
	*s = (struct live){ .m = &mover, .x = &export, .mem = world_mem, .sock = SOCK, .place = 3, .owner = &export, .payload_slot = -1 };
	mover.dirty = NULL;
	mover.starved = 0;
	mover.freed = false;
	nentries = ntarget = nrunning = 0;
	awaited = 0;
	polling = was_shut = false;
}

void world_allow(unsigned n)
{
	mover.freed = mover.freed || n > tasks;
	tasks = n;
}

void world_begin(const struct world_calls *c)
{
	struct live *s = &world_session;

	calls = *c;
	if (!world_mem)
		make();
	memset(world_mem, 0, offsetof(struct sess_mem, rx));
	export.m = &mover;
	export.size = WORLD_SIZE;
	mover.o.ended = ended;
	mover.o.arg = &mover;
	world_ended = world_lost = world_dies_sending = false;
	received = 18;
	sent = 300;
	sessmem_begin(world_mem, received, sent, WORLD_PREAMBLE, sizeof(WORLD_PREAMBLE));
	init_session();
	world_allow(SESSMEM_REQUESTS);
	for (uint32_t i = SESSMEM_REQUESTS; i-- > 0;) {
		world_mem->request[i].buffer = SESSMEM_NO_BUFFER;
		s->free[s->nfree++] = (uint16_t)i;
	}
	live_touch(s);
}

/* The successor's buffers are all free. */
static void forget_worker(void)
{
	for (uint32_t i = 0; i < SESSMEM_REQUESTS; i++) {
		const struct sess_request *r = &world_mem->request[i];

		if (atomic_load(&r->use) && r->buffer != SESSMEM_NO_BUFFER)
			buffers_give(export.share, r->buffer, r->length / 4096);
	}
	promise(free_blocks() == blocks, "%u of %u blocks are free after the death", free_blocks(), blocks);
	init_session();
	world_dies_sending = false;
}

static int go_on(struct errbuf *e)
{
	struct tcp_account account = { .received = received, .queued = sent };

	if (resume(&world_session, &account, false, e) < 0)
		return -1;
	live_touch(&world_session);
	return 0;
}

void world_die(const unsigned char *next, size_t had)
{
	struct errbuf e;

	scatter(next, had);
	received += had;
	forget_worker();
	promise(go_on(&e) == 0, "%s", e.text);
}

bool world_die_scribbled(size_t at, const unsigned char *bytes, size_t n)
{
	struct errbuf e;

	forget_worker();
	at %= offsetof(struct sess_mem, rx) - n;
	memcpy((unsigned char *)world_mem + at, bytes, n);
	if (go_on(&e) == 0) {
		promise(world_mem->preamble_bytes <= SESSMEM_PREAMBLE, "a preamble of %u bytes", world_mem->preamble_bytes);
		return true;
	}
	promise_text(e.text, sizeof(e.text));
	memset(head, 0, sizeof(*head)); /* what is held the daemon lets go of */
	promise(free_blocks() == blocks, "a session that is refused keeps buffers");
	return false;
}

void world_end(void)
{
	promise(world_ended, "the owner is not told of the end");
	promise(was_shut, "its socket is not shut down");
	promise(!world_session.dirty && mover.starved == 0, "something is left to be done");
	/* Replies that nobody gets have their slots and buffers still, if they were not given back with the session. */
	for (uint32_t i = 0; i < SESSMEM_REQUESTS; i++)
		promise(!atomic_load(&world_mem->request[i].use), "slot %u is in use", i);
	promise(free_blocks() == blocks, "%u of %u blocks are free", free_blocks(), blocks);
	promise(world_session.pages == 0, "%u pages are counted", world_session.pages);
	promise(awaited == 0, "%d requests are awaited for ever", awaited);
}
