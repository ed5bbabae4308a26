/* SPDX-License-Identifier: BSD-3-Clause */
/* Replies of a session: their queue, in its memory, and how they are sent, many in one call. */
#include "config.h"

#include "server/engine/mover_priv.h"

#include <endian.h>
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>

void live_answer(struct live *s, uint32_t slot, uint32_t error)
{
	struct sess_mem *m = s->mem;
	struct sess_request *r = &m->request[slot];
	uint64_t tail = atomic_load_explicit(&m->tail, memory_order_relaxed);
	uint64_t start = sessmem_tx_end(m);
	struct sess_reply *reply = &m->reply[tail % SESSMEM_REQUESTS];

	*reply = (struct sess_reply){ .start = start, .slot = slot, .error = error, .bytes = sizeof(struct nbd_simple_reply) };
	if (!error && r->command == NBD_CMD_READ)
		reply->bytes += r->length;
	atomic_store_explicit(&m->tail, tail + 1, memory_order_release);
	live_touch(s);
}

/* What the socket has taken whole is done with. */
static void drop_sent(struct live *s)
{
	struct sess_mem *m = s->mem;
	uint64_t head = atomic_load_explicit(&m->head, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&m->tail, memory_order_relaxed);

	while (head < tail) {
		const struct sess_reply *reply = &m->reply[head % SESSMEM_REQUESTS];

		if (reply->start + reply->bytes > s->sent)
			return;
		live_free_slot(s, reply->slot);
		atomic_store_explicit(&m->head, ++head, memory_order_release);
	}
}

static void add_piece(struct live *s, int *n, void *base, size_t bytes, uint64_t *skip)
{
	if (*skip >= bytes) {
		*skip -= bytes;
		return;
	}
	s->iov[(*n)++] = (struct iovec){ .iov_base = (unsigned char *)base + *skip, .iov_len = bytes - *skip };
	*skip = 0;
}

/* What comes next in the stream, as far as one call can send it.  Returns the number of pieces. */
static int gather(struct live *s)
{
	struct sess_mem *m = s->mem;
	uint64_t head = atomic_load_explicit(&m->head, memory_order_relaxed);
	uint64_t tail = atomic_load_explicit(&m->tail, memory_order_relaxed), skip;
	int n = 0;

	if (s->sent < m->preamble_bytes) {
		skip = s->sent;
		add_piece(s, &n, m->preamble, m->preamble_bytes, &skip);
	}
	for (unsigned i = 0; i < REPLIES_AT_ONCE && head < tail; i++, head++) {
		const struct sess_reply *reply = &m->reply[head % SESSMEM_REQUESTS];
		const struct sess_request *r = &m->request[reply->slot];

		s->header[i] = (struct nbd_simple_reply){ .magic = htobe32(NBD_SIMPLE_REPLY_MAGIC), .error = htobe32(reply->error),
							  .cookie = r->cookie };
		skip = s->sent > reply->start ? s->sent - reply->start : 0;
		add_piece(s, &n, &s->header[i], sizeof(s->header[i]), &skip);
		if (reply->bytes > sizeof(s->header[i]))
			add_piece(s, &n, buffers_at(s->x->share, r->buffer), reply->bytes - sizeof(s->header[i]), &skip);
	}
	return n;
}

static void wait_for_room(struct live *s)
{
	struct io_uring_sqe *sqe = ring_entry(&s->m->ring);

	io_uring_prep_poll_add(sqe, (int)s->place, POLLOUT);
	sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, tagged(s, OF_POLL));
	s->polling = true;
}

void live_send(struct live *s)
{
	while (!s->ending && !s->polling && s->sent < sessmem_tx_end(s->mem)) {
		struct msghdr msg = { .msg_iov = s->iov, .msg_iovlen = (size_t)gather(s) };
		ssize_t n = sendmsg(s->sock, &msg, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n >= 0) {
			s->sent += (uint64_t)n;
			drop_sent(s);
			if (s->starved)
				live_touch(s); /* there is room again */
		} else if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM) {
			wait_for_room(s); /* in the socket, or of the kernel's own memory */
		} else if (errno != EINTR && (s->leaving || s->gone)) {
			s->sent = sessmem_tx_end(s->mem); /* it does not wait for replies */
			drop_sent(s);
		} else if (errno != EINTR) {
			live_end(s, "its connection was lost");
		}
	}
}

void live_polled(struct live *s)
{
	s->polling = false;
	if (s->ending)
		live_maybe_ended(s);
	else
		live_touch(s);
}
