/* SPDX-License-Identifier: BSD-3-Clause */
/* A session in transmission phase: what its client sends becomes requests, what becomes of them is sent back.
 *
 * Nothing is taken from the socket that there is no room for, so a client that asks for more than its share waits in its own send buffer.
 */
#include "config.h"

#include "server/engine/mover_priv.h"

#include "store/page.h"

#include <endian.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#define REQUEST_MAX (BUFFERS_BLOCK_PAGES * PAGE_BYTES)
#define LARGE (4 * PAGE_BYTES) /* a payload that is worth being received without a copy */

static uint64_t parsed(const struct live *s)
{
	return atomic_load_explicit(&s->mem->parsed, memory_order_relaxed);
}

static void set_parsed(struct live *s, uint64_t pos)
{
	atomic_store_explicit(&s->mem->parsed, pos, memory_order_release);
}

void live_touch(struct live *s)
{
	if (s->dirty || s->told)
		return;
	s->dirty = true;
	s->next_dirty = s->m->dirty;
	s->m->dirty = s;
}

static void set_starved(struct live *s, bool starved)
{
	s->m->starved += starved - s->starved;
	s->starved = starved;
}

/* Takes a turn in the order of those that wait for buffers, or (0) gives it up. */
static void set_turn(struct live *s, uint64_t turn, bool read)
{
	struct mover *m = s->m;

	if (!s->turn != !turn)
		m->waiting += turn ? 1 : -1u;
	if (s->turn && !turn)
		m->freed = true; /* others may go on */
	s->turn = turn;
	s->turn_reads = read;
}

/* ---- end ---- */

void live_settle_owed(struct live *s, uint32_t slot)
{
	if (s->owed[slot])
		store_await(s->x->store, -1);
	s->owed[slot] = false;
}

void live_free_slot(struct live *s, uint32_t slot)
{
	struct sess_request *r = &s->mem->request[slot];

	live_settle_owed(s, slot);
	if (r->buffer != SESSMEM_NO_BUFFER) {
		buffers_give(s->x->share, r->buffer, r->length / PAGE_BYTES);
		s->pages -= r->length / PAGE_BYTES;
	}
	r->buffer = SESSMEM_NO_BUFFER;
	atomic_store_explicit(&r->use, 0, memory_order_release);
	s->free[s->nfree++] = (uint16_t)slot;
	s->m->freed = true;
}

/* What nobody has in hand is given back at once; the rest as the tasks end, and the receive: what has come since the last one is still
 * received, where it was wanted.
 */
static void free_idle_slots(struct live *s)
{
	for (uint32_t i = 0; i < SESSMEM_REQUESTS; i++)
		if (atomic_load_explicit(&s->mem->request[i].use, memory_order_relaxed) && !s->doing[i] &&
		    !(s->receiving && s->payload_slot == (int)i))
			live_free_slot(s, i);
}

void live_maybe_ended(struct live *s)
{
	if (!s->ending || s->told || s->running || s->receiving || s->polling || s->dirty)
		return;
	s->told = true;
	s->m->o.ended(s->m->o.arg, s->owner, s->leaving || s->gone, s->why);
}

void live_end(struct live *s, const char *why)
{
	if (s->ending)
		return;
	s->ending = true;
	s->why = why;
	set_starved(s, false);
	set_turn(s, 0, false);
	shutdown(s->sock, SHUT_RDWR); /* ends the receive and the poll */
	store_end_session(s->x->store, &s->ended);
	task_cancel(s);
	free_idle_slots(s);
	live_maybe_ended(s);
}

/* ---- receiving ---- */

/* Payload of which much is still to come is received where it is wanted; not if there is anything before it in the ring. */
static uint64_t direct_bytes(const struct live *s)
{
	const struct sess_request *r;
	uint64_t left;

	if (s->payload_slot < 0 || s->received != parsed(s))
		return 0;
	r = &s->mem->request[s->payload_slot];
	left = r->pos + sizeof(struct nbd_request) + live_payload(r) - s->received;
	return r->buffer != SESSMEM_NO_BUFFER && left >= LARGE ? left : 0;
}

/* Of a client that is leaving only its end is waited for. */
static void receive(struct live *s)
{
	uint64_t room = SESSMEM_RX_BYTES - (s->received - parsed(s)), direct;
	struct io_uring_sqe *sqe;
	unsigned n = 0;

	if (s->receiving || s->ending || s->gone || room == 0)
		return;
	direct = direct_bytes(s);
	if (direct) {
		struct sess_request *r = &s->mem->request[s->payload_slot];
		unsigned char *data = buffers_at(s->x->share, r->buffer);

		s->into[n++] = (struct iovec){ .iov_base = data + r->length - direct, .iov_len = direct };
	}
	/* The fewer bytes of a large payload come with its header, the fewer are copied. */
	if (s->large && room > LARGE)
		room = LARGE;
	/* Byte p of the stream goes to p modulo the size: where it lies is known before it has come. */
	s->into[n++] = (struct iovec){ .iov_base = s->mem->rx + (s->received + direct) % SESSMEM_RX_BYTES, .iov_len = room };
	atomic_store_explicit(&s->mem->direct_end, direct ? s->received + direct : 0, memory_order_release);
	s->message = (struct msghdr){ .msg_iov = s->into, .msg_iovlen = n };
	sqe = ring_entry(&s->m->ring);
	if (direct)
		io_uring_prep_recvmsg(sqe, (int)s->place, &s->message, 0);
	else
		io_uring_prep_recv(sqe, (int)s->place, s->into[0].iov_base, room, 0);
	sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, tagged(s, OF_RECEIVE));
	s->receiving = true;
}

/* What was received into a buffer is dealt with. */
static void count_direct(struct live *s)
{
	uint64_t end = atomic_load_explicit(&s->mem->direct_end, memory_order_relaxed);

	if (end > parsed(s))
		set_parsed(s, end < s->received ? end : s->received);
}

/* Nothing was received, and nothing is wrong with the connection: the kernel was interrupted, or short of memory. */
static bool is_passing(int result)
{
	return result == -EINTR || result == -EAGAIN || result == -ENOMEM || result == -ENOBUFS;
}

static void *received_at(const struct live *s, uint64_t pos)
{
	return s->mem->rx + pos % SESSMEM_RX_BYTES;
}

/* Does what has been received and not been looked at yet, for want of buffers or slots, end with a goodbye? */
static bool disconnects(const struct live *s)
{
	uint64_t pos = parsed(s);

	if (s->payload_slot >= 0) {
		const struct sess_request *r = &s->mem->request[s->payload_slot];

		pos = r->pos + sizeof(struct nbd_request) + live_payload(r);
	}
	while (pos + sizeof(struct nbd_request) <= s->received) {
		const struct nbd_request *h = received_at(s, pos);

		if (be32toh(h->magic) != NBD_REQUEST_MAGIC)
			return false;
		if (be16toh(h->type) == NBD_CMD_DISC && !(be16toh(h->flags) & ~NBD_CMD_FLAG_FUA)) /* another is refused */
			return true;
		pos += sizeof(*h) + (be16toh(h->type) == NBD_CMD_WRITE ? be32toh(h->length) : 0);
	}
	return false;
}

void live_received(struct live *s, int result)
{
	s->receiving = false;
	if (result > 0)
		s->received += (uint64_t)result;
	count_direct(s);
	if (s->ending) {
		free_idle_slots(s);
		live_maybe_ended(s);
		return;
	}
	if ((result == 0 || (result < 0 && !is_passing(result))) && (s->leaving || disconnects(s))) {
		s->gone = true; /* what it asked for before it disconnected is still done */
		live_touch(s);
	} else if (result == 0)
		live_end(s, parsed(s) == s->received ? NULL : "its client closed the connection within a request");
	else if (result < 0 && !is_passing(result))
		live_end(s, "its connection was lost");
	else
		live_touch(s);
}

uint32_t live_refusal(const struct live *s, const struct sess_request *r)
{
	static const uint16_t flags[] = {
		[NBD_CMD_READ] = NBD_CMD_FLAG_FUA,  [NBD_CMD_WRITE] = NBD_CMD_FLAG_FUA,	  [NBD_CMD_DISC] = NBD_CMD_FLAG_FUA,
		[NBD_CMD_FLUSH] = NBD_CMD_FLAG_FUA, [NBD_CMD_TRIM] = NBD_CMD_FLAG_FUA,
		[NBD_CMD_WRITE_ZEROES] = NBD_CMD_FLAG_FUA | NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO,
	};
	bool moves = r->command == NBD_CMD_READ || r->command == NBD_CMD_WRITE;

	if (r->command > NBD_CMD_WRITE_ZEROES || r->command == NBD_CMD_CACHE || (r->flags & ~flags[r->command]))
		return NBD_EINVAL;
	if (r->command == NBD_CMD_FLUSH)
		return r->offset || r->length ? NBD_EINVAL : 0;
	if (r->command == NBD_CMD_DISC)
		return 0;
	if (r->offset > s->x->size || r->length > s->x->size - r->offset)
		return r->command == NBD_CMD_WRITE || r->command == NBD_CMD_WRITE_ZEROES ? NBD_ENOSPC : NBD_EINVAL;
	if (r->length == 0 || r->offset % PAGE_BYTES || r->length % PAGE_BYTES)
		return NBD_EINVAL;
	return moves && r->length > REQUEST_MAX ? NBD_EINVAL : 0;
}

/* Has another session of the export waited longer for buffers that this request could take?  Without this, small requests would take each as
 * it comes back, and a large one would wait for ever.  Reads do not wait for writes: they have buffers that no write may take.
 */
static bool behind(const struct live *s, bool read)
{
	const struct mover *m = s->m;

	for (unsigned i = 0; m->waiting && i < m->o.sessions; i++) {
		const struct live *o = &m->session[i];

		if (o->x == s->x && o->turn && (!s->turn || o->turn < s->turn) && (!read || o->turn_reads))
			return true;
	}
	return false;
}

/* Buffers for the next request's data.  False: not now. */
static bool take_buffers(struct live *s, bool read, uint32_t pages, uint32_t *buffer)
{
	if (s->pages + pages > buffers_session_max(s->x->share)) {
		set_turn(s, 0, false); /* it waits for itself alone */
		return false;
	}
	if (behind(s, read) || !buffers_take(s->x->share, read, pages, buffer)) {
		set_turn(s, s->turn ? s->turn : ++s->m->turns, read);
		return false;
	}
	set_turn(s, 0, false);
	s->pages += pages;
	return true;
}

/* The header at the beginning of what is not parsed becomes a request.  False: it cannot just now, or never. */
static bool take_header(struct live *s)
{
	uint64_t pos = parsed(s);
	const struct nbd_request *h = received_at(s, pos);
	struct sess_request *r;
	uint32_t slot;

	if (be32toh(h->magic) != NBD_REQUEST_MAGIC) {
		live_end(s, "it sent what is no NBD request");
		return false;
	}
	if (s->nfree == 0 || !task_available(s->x))
		return false;
	slot = s->free[s->nfree - 1];
	r = &s->mem->request[slot];
	r->command = be16toh(h->type);
	r->flags = be16toh(h->flags);
	r->cookie = h->cookie;
	r->offset = be64toh(h->offset);
	r->length = be32toh(h->length);
	r->pos = pos;
	r->buffer = SESSMEM_NO_BUFFER;
	r->deaths = 0;
	atomic_store_explicit(&r->done, 0, memory_order_relaxed);
	r->error = live_refusal(s, r);
	if (r->command == NBD_CMD_DISC && !r->error) {
		s->leaving = true; /* what it has asked for before is still answered */
		return false;
	}
	if (!r->error && (r->command == NBD_CMD_READ || r->command == NBD_CMD_WRITE) &&
	    !take_buffers(s, r->command == NBD_CMD_READ, r->length / PAGE_BYTES, &r->buffer))
		return false;
	s->nfree--;
	atomic_store_explicit(&r->use, 1, memory_order_release);
	set_parsed(s, pos + sizeof(*h));
	s->payload_slot = (int)slot;
	s->large = live_payload(r) >= 2 * LARGE;
	return true;
}

void live_execute(struct live *s, uint32_t slot)
{
	const struct sess_request *r = &s->mem->request[slot];

	if (r->error)
		live_answer(s, slot, r->error);
	else
		task_begin(s, slot);
}

/* What has arrived of the payload goes to its buffer (or nowhere, when the request is refused).  False: more is to come, or no task
 * is free now.
 */
static bool take_payload(struct live *s)
{
	struct sess_request *r = &s->mem->request[s->payload_slot];
	uint64_t pos = parsed(s), have = pos - r->pos - sizeof(struct nbd_request), want = live_payload(r) - have;
	uint32_t slot;

	if (want > s->received - pos)
		want = s->received - pos;
	if (r->buffer != SESSMEM_NO_BUFFER)
		memcpy((unsigned char *)buffers_at(s->x->share, r->buffer) + have, received_at(s, pos), want);
	set_parsed(s, pos + want);
	if (have + want < live_payload(r))
		return false;
	if (!r->error && !task_available(s->x)) {
		set_starved(s, true); /* others have taken those that there were when the header came */
		return false;
	}
	slot = (uint32_t)s->payload_slot;
	s->payload_slot = -1;
	live_execute(s, slot);
	return true;
}

/* Of many requests that came at once the first are submitted while the others are parsed, or the disk would wait for all of them: each time as many
 * are queued as are submitted already, so that doorbells stay few.
 */
static void submit_early(struct live *s)
{
	struct mover *m = s->m;
	unsigned queued = ring_queued(&m->ring);

	if (queued > m->in_ring / 2 && s->received - parsed(s) >= sizeof(struct nbd_request))
		ring_submit(&m->ring);
}

static void parse(struct live *s)
{
	while (!s->ending && !s->leaving) {
		if (s->payload_slot < 0) {
			if (s->received - parsed(s) < sizeof(struct nbd_request))
				return;
			if (!take_header(s)) {
				set_starved(s, !s->ending && !s->leaving);
				return;
			}
		}
		if (!take_payload(s))
			return;
		submit_early(s);
	}
}

void live_work(struct live *s)
{
	s->dirty = false;
	if (s->ending) {
		live_maybe_ended(s);
		return;
	}
	live_send(s);
	if (s->ending)
		return; /* nor is it to wait for anything: nobody would look after it again */
	set_starved(s, false);
	if (!resume_redo(s, true) || resume_must_wait(s) || !resume_redo(s, false))
		set_starved(s, true);
	else
		parse(s);
	live_send(s); /* of what needed no I/O */
	if (s->leaving && !s->running && s->sent == sessmem_tx_end(s->mem))
		live_end(s, NULL);
	receive(s);
}
