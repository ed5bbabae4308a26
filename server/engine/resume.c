/* SPDX-License-Identifier: BSD-3-Clause */
/* A session of a predecessor's: from what the socket counts and what lies in the session's memory (sessmem.h) to the state in which the
 * predecessor was killed.
 *
 * What the memory says is looked at before it is believed, so that a scribbled one ends a session and not the worker.
 */
#include "config.h"

#include "server/engine/mover_priv.h"

#include "store/page.h"

#include <errno.h>
#include <string.h>

#define DEATHS_MAX 3 /* that a request is in hand at */

static int unfit(struct errbuf *e, const char *what)
{
	return err_set(e, EPROTO, "the memory of its session is not consistent (%s)", what);
}

static bool in_use(const struct sess_request *r)
{
	return atomic_load_explicit(&r->use, memory_order_relaxed) != 0;
}

static uint32_t data_pages(const struct sess_request *r)
{
	return r->length / PAGE_BYTES;
}

static int check_header(const struct sess_mem *m, struct errbuf *e)
{
	uint64_t head = atomic_load(&m->head), tail = atomic_load(&m->tail);

	if (m->magic != SESSMEM_MAGIC || m->layout != SESSMEM_LAYOUT)
		return err_set(e, EPROTO, "the memory of its session has a layout that this version does not know");
	if (!atomic_load(&m->begun))
		return unfit(e, "it was not begun");
	if (m->preamble_bytes > SESSMEM_PREAMBLE || head > tail || tail - head > SESSMEM_REQUESTS)
		return unfit(e, "its counts");
	return 0;
}

/* The replies that the socket has not taken whole follow each other, each of a slot in use of its own.  Marks these in queued[]. */
static int check_replies(struct live *s, bool queued[], struct errbuf *e)
{
	struct sess_mem *m = s->mem;
	uint64_t head = atomic_load(&m->head), tail = atomic_load(&m->tail), at = 0;
	/* The first begins here at the latest, so no position in what follows can have wrapped around. */
	uint64_t latest = s->sent > m->preamble_bytes ? s->sent : m->preamble_bytes;

	for (uint64_t i = head; i < tail; i++) {
		const struct sess_reply *reply = &m->reply[i % SESSMEM_REQUESTS];
		const struct sess_request *r = &m->request[reply->slot % SESSMEM_REQUESTS];
		uint32_t bytes = sizeof(struct nbd_simple_reply) +
				 (!reply->error && r->command == NBD_CMD_READ ? r->length : 0);

		if (reply->slot >= SESSMEM_REQUESTS || (i > head ? reply->start != at : reply->start > latest))
			return unfit(e, "its replies");
		at = reply->start + reply->bytes;
		if (at <= s->sent)
			continue; /* its slot may be free already */
		if (!in_use(r) || queued[reply->slot] || reply->bytes != bytes)
			return unfit(e, "a reply");
		queued[reply->slot] = true;
	}
	if (s->sent > sessmem_tx_end(m))
		return unfit(e, "more was sent than there was");
	return 0;
}

/* A slot that is not in use after all.  Its buffer is nobody's, so nobody will claim it. */
static void free_slot(struct live *s, struct sess_request *r)
{
	if (r->buffer != SESSMEM_NO_BUFFER)
		buffers_unhold(s->x->share, r->buffer, data_pages(r));
	atomic_store(&r->use, 0);
}

/* Replies that the socket has: their slots are free, whatever became of that. */
static void drop_sent(struct live *s, const bool queued[])
{
	struct sess_mem *m = s->mem;
	uint64_t head = atomic_load(&m->head), tail = atomic_load(&m->tail);

	for (; head < tail; head++) {
		const struct sess_reply *reply = &m->reply[head % SESSMEM_REQUESTS];

		if (queued[reply->slot])
			break;
		if (in_use(&m->request[reply->slot]))
			free_slot(s, &m->request[reply->slot]);
	}
	atomic_store(&m->head, head);
}

/* A request that counts: is it one that could have been taken, and is all of it there?  Claims its buffer. */
static int check_request(struct live *s, uint32_t slot, bool queued, struct errbuf *e)
{
	struct sess_request *r = &s->mem->request[slot];
	uint64_t end = r->pos + sizeof(struct nbd_request) + live_payload(r), parsed = atomic_load(&s->mem->parsed);
	bool has_data = !r->error && (r->command == NBD_CMD_READ || r->command == NBD_CMD_WRITE);

	if (r->error != live_refusal(s, r) || (r->command == NBD_CMD_DISC && !r->error) || atomic_load(&r->done) > r->length ||
	    has_data != (r->buffer != SESSMEM_NO_BUFFER))
		return unfit(e, "a request");
	if (end > parsed) {
		if (queued || s->payload_slot >= 0 || r->pos + sizeof(struct nbd_request) > parsed)
			return unfit(e, "a request whose data has not come");
		s->payload_slot = (int)slot;
	}
	if (has_data) {
		if (!buffers_claim(s->x->share, r->buffer, data_pages(r)))
			return unfit(e, "a buffer");
		s->pages += data_pages(r);
	}
	s->again[slot] = !queued && end <= parsed;
	s->owed[slot] = s->again[slot] && !r->error && r->command != NBD_CMD_READ && r->command != NBD_CMD_FLUSH;
	return 0;
}

/* As they were before: the daemon lets go of them when it knows that the session is over.  Given to others before, they would be two sessions'
 * in its eyes, and be let go of for the one while the other's are still in the hands of this worker, which may be dead by then.
 */
static void give_back(struct live *s, uint32_t slots)
{
	for (uint32_t i = 0; i < slots; i++) {
		struct sess_request *r = &s->mem->request[i];

		if (in_use(r) && r->buffer != SESSMEM_NO_BUFFER)
			buffers_unclaim(s->x->share, r->buffer, data_pages(r));
	}
}

static int take_over_requests(struct live *s, const bool queued[], struct errbuf *e)
{
	uint64_t parsed = atomic_load(&s->mem->parsed);

	for (uint32_t i = 0; i < SESSMEM_REQUESTS; i++) {
		struct sess_request *r = &s->mem->request[i];

		if (in_use(r) && r->pos >= parsed && !queued[i])
			free_slot(s, r); /* not committed: it is parsed again */
		if (!in_use(r)) {
			s->free[s->nfree++] = (uint16_t)i;
		} else if (check_request(s, i, queued[i], e) < 0) {
			give_back(s, i);
			return -1;
		}
	}
	return 0;
}

/* A request may be what its workers die of: not for ever. */
static int count_deaths(struct live *s, struct errbuf *e)
{
	for (uint32_t i = 0; i < SESSMEM_REQUESTS; i++)
		if (s->again[i] && ++s->mem->request[i].deaths >= DEATHS_MAX)
			return err_set(e, ECANCELED, "its request of %u bytes at %llu was in hand when a worker died, %d times",
				       s->mem->request[i].length, (unsigned long long)s->mem->request[i].offset, DEATHS_MAX);
	return 0;
}

/* What has been received into a buffer counts as dealt with. */
static int count_direct(struct live *s, struct errbuf *e)
{
	struct sess_mem *m = s->mem;
	uint64_t parsed = atomic_load(&m->parsed), end = atomic_load(&m->direct_end);

	if (end <= parsed)
		return 0;
	for (uint32_t i = 0; i < SESSMEM_REQUESTS; i++) {
		const struct sess_request *r = &m->request[i];

		if (in_use(r) && r->pos < parsed && r->buffer != SESSMEM_NO_BUFFER &&
		    r->pos + sizeof(struct nbd_request) + live_payload(r) == end) {
			atomic_store(&m->parsed, end < s->received ? end : s->received);
			return 0;
		}
	}
	return unfit(e, "where data was received");
}

int resume(struct live *s, const struct tcp_account *account, bool blame, struct errbuf *e)
{
	struct sess_mem *m = s->mem;
	bool queued[SESSMEM_REQUESTS] = { false };

	if (check_header(m, e) < 0)
		return -1;
	s->received = account->received - m->rx_base;
	s->sent = account->queued - m->tx_base;
	if (account->received < m->rx_base || account->queued < m->tx_base || s->received < atomic_load(&m->parsed))
		return unfit(e, "what the socket counts");
	if (count_direct(s, e) < 0)
		return -1;
	if (s->received - atomic_load(&m->parsed) > SESSMEM_RX_BYTES)
		return unfit(e, "what the socket counts");
	if (check_replies(s, queued, e) < 0)
		return -1;
	drop_sent(s, queued);
	if (take_over_requests(s, queued, e) < 0)
		return -1;
	if (blame && count_deaths(s, e) < 0) {
		give_back(s, SESSMEM_REQUESTS);
		return -1;
	}
	for (uint32_t i = 0; i < SESSMEM_REQUESTS; i++)
		if (s->owed[i])
			store_await(s->x->store, 1);
	return 0;
}

bool resume_redo(struct live *s, bool changes)
{
	for (uint32_t *i = &s->redo[changes]; *i < SESSMEM_REQUESTS && !s->ending; ++*i) {
		if (!s->again[*i] || (changes && !s->owed[*i]))
			continue;
		if (!task_available(s->x))
			return false;
		s->again[*i] = false;
		live_execute(s, *i);
	}
	return true;
}

/* Is there anything to be done again that has not even come to the store, where it would keep others in order? */
static bool has_not_begun(const struct mover_export *x)
{
	const struct mover *m = x->m;

	for (unsigned i = 0; i < m->o.sessions; i++) {
		const struct live *s = &m->session[i];

		if (s->x == x && !s->ending && s->redo[true] < SESSMEM_REQUESTS)
			return true;
	}
	return false;
}

bool resume_must_wait(struct live *s)
{
	int64_t now;

	if (!store_awaits(s->x->store)) {
		s->waits_since_ms = 0;
		return false;
	}
	now = mover_now_ms();
	if (!s->waits_since_ms)
		s->waits_since_ms = now;
	return now - s->waits_since_ms < AWAIT_MS || has_not_begun(s->x);
}
