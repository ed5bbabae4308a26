/* SPDX-License-Identifier: BSD-3-Clause */
/* What of a session must outlive the worker: one memfd per session, made by the daemon, mapped by the worker that serves it, handed
 * to the worker's successor with the socket.
 *
 * Both directions are byte streams that begin, at position 0, behind the negotiation: what is received from then on, and what
 * is sent from the answer to GO on (the preamble).  The socket itself knows how much of either has passed (tcpaccount.h), so nothing here
 * says it: after a death
 *
 *   received   what the socket counts, less rx_base.  Byte p of the stream lies, or lay, in rx[p % SESSMEM_RX_BYTES], but those between parsed
 *              and direct_end lie in the buffer of the request whose payload they are (a large one's are received there at once)
 *   queued     what the socket counts, less tx_base
 *
 * and all that the rings and slots add is what was made of the bytes:
 *
 *   parsed     this many received bytes are dealt with: headers are in request slots, payload is in the slots' buffers.  Storing it is what
 *              commits a new request: a slot in use whose pos is not below parsed does not count (its header is parsed again).  The slot
 *              with pos + header <= parsed < pos + header + payload is the one that payload arrives for.
 *   replies    [head, tail) in the order in which they are sent.  A request is answered when its reply is in the queue.  The reply of
 *              entry i lies at stream position start, a 16-byte header and, for a read without error, the data in the slot's buffer.
 *   requests   in use and not answered: in flight.  They are done again, from `done` on.  A write whose pages had arrived, but of which `done` does
 *              not say so, is done a second time: so of an export's sessions all writes and discards are done again before anything
 *              else of them begins, or the second time could undo another session's later write.
 *
 * Order of stores, each a release: direct_end, then the receive is submitted | slot's fields, use, parsed | reply's fields, tail | use = 0 (freed), head.
 *
 * One thread of one process changes it: the engine's loop.
 */
#ifndef NBDSWAP_SESSMEM_H
#define NBDSWAP_SESSMEM_H

#include "common/errbuf.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SESSMEM_MAGIC UINT32_C(0x4e535353) /* "NSSS" */
#define SESSMEM_LAYOUT 1u

#define SESSMEM_RX_BYTES (128u << 10) /* a power of two, whole pages */
#define SESSMEM_REQUESTS 256u	      /* twice the depth of the kernel's nbd */
#define SESSMEM_PREAMBLE 2048u

#define SESSMEM_NO_BUFFER UINT32_MAX

struct sess_request { /* 64 bytes */
	_Atomic uint32_t use; /* 0: free */
	uint16_t command, flags; /* as NBD has them, host order */
	uint64_t cookie;	 /* as received: never looked into */
	uint64_t offset;
	uint32_t length;
	uint32_t error;	 /* NBD's, known before any I/O (a refused request); 0: none */
	uint64_t pos;	 /* of its header in the received stream */
	uint32_t buffer; /* first page of its data in the buffers' memory (buffers.h), or SESSMEM_NO_BUFFER */
	_Atomic uint32_t done; /* bytes from its beginning that are done with for good: a redo begins behind them */
	uint32_t deaths; /* of workers that had it in hand and did not die by SIGKILL */
	uint32_t reserved[3];
};
_Static_assert(sizeof(struct sess_request) == 64, "a cache line");

struct sess_reply {
	uint64_t start; /* position of its first byte in the sent stream */
	uint32_t slot;	/* of its request */
	uint32_t error; /* NBD's */
	uint32_t bytes; /* header and data */
	uint32_t reserved;
};

struct sess_mem {
	uint32_t magic, layout;
	uint64_t rx_base, tx_base; /* the socket's counts at position 0 of the streams */
	_Atomic uint32_t begun;	   /* all that is above and the preamble are there */
	uint32_t preamble_bytes;
	_Atomic uint64_t parsed;
	_Atomic uint64_t direct_end; /* not above parsed: nothing is received into a buffer */
	_Atomic uint64_t head, tail; /* of replies; entry i is reply[i % SESSMEM_REQUESTS] */
	unsigned char preamble[SESSMEM_PREAMBLE];
	struct sess_reply reply[SESSMEM_REQUESTS];
	_Alignas(64) struct sess_request request[SESSMEM_REQUESTS];
	_Alignas(4096) unsigned char rx[SESSMEM_RX_BYTES]; /* mapped twice, one behind the other: no piece of the stream is in two parts */
};

/* The size of the memfd, and that of the mapping (with the second view of rx). */
#define SESSMEM_BYTES sizeof(struct sess_mem)
#define SESSMEM_MAPPED (SESSMEM_BYTES + SESSMEM_RX_BYTES)

/* Makes one (the daemon): all zero, sealed against change of its size, close-on-exec.  Returns the descriptor, -1 with *e. */
int sessmem_make(struct errbuf *e);

/* Maps one, locked and touched.  fd stays the caller's.  NULL with *e: wrong size, no memory. */
struct sess_mem *sessmem_map(int fd, bool allow_unlocked, struct errbuf *e);
void sessmem_unmap(struct sess_mem *m); /* NULL is fine */

/* Fills in a new one; the preamble (at most SESSMEM_PREAMBLE bytes) is copied. */
void sessmem_begin(struct sess_mem *m, uint64_t rx_base, uint64_t tx_base, const void *preamble, uint32_t bytes);

/* Where the next reply begins in the sent stream. */
static inline uint64_t sessmem_tx_end(const struct sess_mem *m)
{
	uint64_t tail = atomic_load_explicit(&m->tail, memory_order_relaxed);
	const struct sess_reply *last = &m->reply[(tail - 1) % SESSMEM_REQUESTS];

	return tail ? last->start + last->bytes : m->preamble_bytes;
}

#endif
