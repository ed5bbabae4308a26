/* SPDX-License-Identifier: BSD-3-Clause */
/* What a client sends once it may use an export.  The first byte is the number of steps, one byte each (see step()): pieces of the stream arrive,
 * requests at the store are completed, the socket is full or takes something, tasks run short, the connection is lost, the worker dies and another goes
 * on.  The rest is the client's stream.  It is parsed once more here, as the protocol document says it, and each request must come to the store (or
 * be refused) with just what was sent, once, and be answered once.
 */
#include "config.h"

#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/sessionworld.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define PAGE 4096u
#define REQUESTS_MAX 2048u
#define OUT_MAX (64u << 20)

/* A request as it lies in the stream. */
struct sent {
	uint64_t pos;
	uint16_t flags, type;
	uint64_t cookie, offset;
	uint32_t length;
	uint32_t refusal; /* that is to be answered; 0: it goes to the store */
	bool whole;	  /* all of it is there */
	bool begun, answered;
	uint32_t error; /* that the store gave */
	bool replied;
};

static struct sent requests[REQUESTS_MAX];
static unsigned nrequests;
static bool farewell; /* the stream ends in a proper goodbye, at: */
static uint64_t end_pos; /* behind the last thing that counts */
static bool garbage;	 /* and there is what no request begins with */
static const uint8_t *stream;
static size_t stream_bytes, arrived;
static bool ended_early; /* by a step */
static unsigned char out[OUT_MAX];
static size_t out_bytes;

/* ---- the document ---- */

static uint32_t refusal(const struct sent *q)
{
	bool writes = q->type == NBD_CMD_WRITE || q->type == NBD_CMD_WRITE_ZEROES;
	uint16_t flags = NBD_CMD_FLAG_FUA | (q->type == NBD_CMD_WRITE_ZEROES ? NBD_CMD_FLAG_NO_HOLE | NBD_CMD_FLAG_FAST_ZERO : 0);

	if (q->type != NBD_CMD_READ && q->type != NBD_CMD_WRITE && q->type != NBD_CMD_DISC && q->type != NBD_CMD_FLUSH &&
	    q->type != NBD_CMD_TRIM && q->type != NBD_CMD_WRITE_ZEROES)
		return NBD_EINVAL;
	if (q->flags & ~flags)
		return NBD_EINVAL;
	if (q->type == NBD_CMD_DISC)
		return 0;
	if (q->type == NBD_CMD_FLUSH)
		return q->offset == 0 && q->length == 0 ? 0 : NBD_EINVAL;
	if (q->offset + q->length < q->offset || q->offset + q->length > WORLD_SIZE)
		return writes ? NBD_ENOSPC : NBD_EINVAL;
	if (q->offset % PAGE || q->length % PAGE || q->length == 0)
		return NBD_EINVAL;
	if ((q->type == NBD_CMD_READ || q->type == NBD_CMD_WRITE) && q->length > 256 << 10)
		return NBD_EINVAL;
	return 0;
}

static void read_stream(void)
{
	uint64_t at = 0;

	nrequests = 0;
	farewell = garbage = false;
	while (nrequests < REQUESTS_MAX && stream_bytes - at >= sizeof(struct nbd_request)) {
		struct sent *q = &requests[nrequests];
		struct nbd_request h;

		memcpy(&h, stream + at, sizeof(h));
		if (be32toh(h.magic) != NBD_REQUEST_MAGIC) {
			garbage = true;
			break;
		}
		*q = (struct sent){ .pos = at, .flags = be16toh(h.flags), .type = be16toh(h.type), .cookie = h.cookie,
				    .offset = be64toh(h.offset), .length = be32toh(h.length) };
		q->refusal = refusal(q);
		if (q->type == NBD_CMD_DISC && !q->refusal) {
			farewell = true;
			break;
		}
		nrequests++;
		at += sizeof(h);
		if (q->type == NBD_CMD_WRITE) {
			q->whole = stream_bytes - at >= q->length;
			if (!q->whole)
				break;
			at += q->length;
		}
		q->whole = true;
	}
	end_pos = at;
	if (nrequests == REQUESTS_MAX) /* what is behind is cut off */
		stream_bytes = at;
}

static struct sent *find(uint64_t pos)
{
	for (unsigned i = 0; i < nrequests; i++)
		if (requests[i].pos == pos)
			return &requests[i];
	return NULL;
}

/* ---- the store and the socket ---- */

static unsigned char read_byte(const struct sent *q, size_t i)
{
	return (unsigned char)(q->pos * 7 + i + i / PAGE);
}

static void begins(uint32_t slot, const struct sess_request *r, const unsigned char *data)
{
	struct sent *q = find(r->pos);

	promise(q, "a request begins at %llu, where there is none", (unsigned long long)r->pos);
	promise(!q->refusal && !r->error, "a request is done that was to be refused (%u)", q->refusal);
	promise(q->whole && arrived >= q->pos + sizeof(struct nbd_request) + (q->type == NBD_CMD_WRITE ? q->length : 0),
		"a request is done before it is there");
	promise(!q->begun, "a request is done twice");
	promise(r->command == q->type && r->flags == q->flags && r->cookie == q->cookie && r->offset == q->offset && r->length == q->length,
		"another request is done than was sent");
	promise((data != NULL) == (q->type == NBD_CMD_READ || q->type == NBD_CMD_WRITE), "data where there is none");
	if (q->type == NBD_CMD_WRITE)
		promise(memcmp(data, stream + q->pos + sizeof(struct nbd_request), q->length) == 0, "other data is written than was sent");
	q->begun = true;
}

static void sent_bytes(const unsigned char *data, size_t bytes)
{
	promise(bytes <= OUT_MAX - out_bytes, "more is answered than was asked for");
	memcpy(out + out_bytes, data, bytes);
	out_bytes += bytes;
}

static void complete(unsigned n, uint32_t error)
{
	uint32_t slot = world_slot(n);
	struct sent *q = find(world_mem->request[slot].pos);
	unsigned char *data = world_data(slot);

	if (q->type == NBD_CMD_READ && !error)
		for (size_t i = 0; i < q->length; i++)
			data[i] = read_byte(q, i);
	q->error = error;
	q->answered = !world_session.ending;
	world_complete(n, error);
}

/* ---- what happens ---- */

static void arrive(size_t bytes)
{
	size_t wanted = world_wanted();

	if (bytes > wanted)
		bytes = wanted;
	if (bytes > stream_bytes - arrived)
		bytes = stream_bytes - arrived;
	if (bytes == 0)
		return;
	arrived += bytes;
	world_receive(stream + arrived - bytes, (ssize_t)bytes);
}

static void lose(int how)
{
	ended_early = true;
	if (how == 0)
		live_end(&world_session, "the daemon ended it");
	else if (how == 1 && world_wanted())
		world_receive(NULL, -ECONNRESET);
	else
		world_lost = true;
}

static void die(size_t bytes)
{
	size_t wanted = world_wanted();

	if (world_session.ending)
		return;
	if (bytes > wanted)
		bytes = wanted;
	if (bytes > stream_bytes - arrived)
		bytes = stream_bytes - arrived;
	/* What was not answered is done again. */
	for (unsigned i = 0; i < nrequests; i++)
		if (!requests[i].answered)
			requests[i].begun = false;
	arrived += bytes;
	world_die(stream + arrived - bytes, bytes);
}

static void work(void)
{
	while (!world_work())
		die(0);
}

static void step(uint8_t s)
{
	static const size_t sizes[32] = { 1,   2,   3,	 4,   5,    8,	  13,	15,   16,   27,	  28,	29,   55,    56,    57,	    100,
					  200, 500, 1000, 4095, 4096, 4097, 4124, 8000, 8192, 8220, 16384, 20000, 65536, 131072, 200000, 1 << 20 };
	unsigned what = s & 7, how = s >> 3;

	switch (what) {
	case 0:
	case 1:
		arrive(sizes[how]);
		break;
	case 2:
	case 3:
		if (world_running())
			complete(how % world_running(), what == 2 ? 0 : NBD_EIO);
		break;
	case 4:
		world_room += sizes[how];
		if (world_waits_for_room())
			world_has_room();
		break;
	case 5:
		world_allow(how);
		break;
	case 6:
		if (how < 24)
			die(how % 2 ? sizes[how] : 0);
		else
			world_dies_sending = true;
		break;
	case 7:
		if (how < 3 && !world_ended)
			lose((int)how);
		break;
	}
}

/* Everything goes well from here on, until nothing happens any more. */
static void calm_down(void)
{
	bool more = true;

	world_allow(SESSMEM_REQUESTS);
	for (unsigned turns = 0; more && !world_ended; turns++) {
		promise(turns < 100000, "it never ends");
		world_room = OUT_MAX;
		work();
		more = false;
		if (world_waits_for_room()) {
			world_has_room();
			more = true;
		}
		if (world_running()) {
			complete(0, 0);
			more = true;
		}
		if ((world_session.ending || world_lost) && world_wanted()) {
			world_receive(NULL, world_lost ? -ECONNRESET : 0);
			more = true;
		} else if (world_wanted() && arrived < stream_bytes) {
			arrive(SIZE_MAX);
			more = true;
		}
	}
}

/* ---- promises ---- */

static bool is_reply_to(const struct sent *q, const struct nbd_simple_reply *h, const unsigned char *data, size_t left)
{
	uint32_t error = q->refusal ? q->refusal : q->error;

	if (q->replied || q->cookie != h->cookie || be32toh(h->error) != error || (!q->refusal && !q->answered))
		return false;
	if (error || q->type != NBD_CMD_READ)
		return true;
	if (left > q->length)
		left = q->length;
	for (size_t i = 0; i < left; i++)
		if (data[i] != read_byte(q, i))
			return false;
	return true;
}

/* Everything that the client got: each piece is one reply to one request, nothing between them; the last may be cut off. */
static void check_replies(void)
{
	size_t at = sizeof(WORLD_PREAMBLE);
	struct nbd_simple_reply h;

	promise(memcmp(out, WORLD_PREAMBLE, out_bytes < at ? out_bytes : at) == 0, "the preamble");
	while (at + sizeof(h) <= out_bytes) {
		struct sent *q = NULL;

		memcpy(&h, out + at, sizeof(h));
		promise(be32toh(h.magic) == NBD_SIMPLE_REPLY_MAGIC, "no reply at %zu", at);
		at += sizeof(h);
		for (unsigned i = 0; i < nrequests && !q; i++)
			if (is_reply_to(&requests[i], &h, out + at, out_bytes - at))
				q = &requests[i];
		promise(q, "a reply that answers nothing, or not with what it was (error %u)", be32toh(h.error));
		q->replied = true;
		if (!h.error && q->type == NBD_CMD_READ)
			at += q->length;
	}
}

/* The input set nothing against it. */
static void check_all_answered(void)
{
	for (unsigned i = 0; i < nrequests; i++)
		promise(requests[i].replied || !requests[i].whole, "request %u has no answer", i);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const struct world_calls calls = { .begins = begins, .sent = sent_bytes };
	size_t steps = size ? data[0] : 0;

	if (size < 1 + steps)
		return 0;
	stream = data + 1 + steps;
	stream_bytes = size - 1 - steps;
	arrived = out_bytes = 0;
	ended_early = false;
	read_stream();
	world_room = 0;
	world_begin(&calls);
	work();
	for (size_t i = 0; i < steps && !world_ended; i++) {
		step(data[1 + i]);
		if (!world_ended)
			work();
	}
	if (!world_ended)
		calm_down();
	if (!world_ended) {
		promise(!ended_early && !farewell && !garbage, "it goes on behind its end");
		promise(arrived == stream_bytes && world_wanted(), "it does not want the rest");
		check_replies();
		check_all_answered();
		world_receive(NULL, 0);
		calm_down();
	} else {
		check_replies();
		if (!ended_early)
			promise(farewell || garbage, "it ends without a reason: %s", world_session.why ? world_session.why : "none");
		if (farewell && !ended_early)
			check_all_answered();
	}
	world_end();
	return 0;
}

/* ---- seeds ---- */

static struct {
	unsigned char bytes[1 << 20];
	size_t count;
} made;

static void begin_seed(const char *steps)
{
	made.bytes[0] = (unsigned char)strlen(steps);
	memcpy(made.bytes + 1, steps, strlen(steps));
	made.count = 1 + strlen(steps);
}

static void request(uint16_t type, uint16_t flags, uint64_t offset, uint32_t length)
{
	static uint64_t cookie = 0x1122334455667788;
	struct nbd_request h = { .magic = htobe32(NBD_REQUEST_MAGIC), .flags = htobe16(flags), .type = htobe16(type), .cookie = cookie++,
				 .offset = htobe64(offset), .length = htobe32(length) };

	memcpy(made.bytes + made.count, &h, sizeof(h));
	made.count += sizeof(h);
	if (type == NBD_CMD_WRITE) {
		for (uint32_t i = 0; i < length; i++)
			made.bytes[made.count + i] = (unsigned char)(i * 31 + i / 251 + offset / PAGE);
		made.count += length;
	}
}

void make_seeds(const char *dir)
{
	begin_seed("");
	for (uint16_t type = 0; type < 9; type++)
		request(type == NBD_CMD_DISC ? NBD_CMD_READ : type, 0, 8 * PAGE, type == NBD_CMD_FLUSH ? 0 : 2 * PAGE);
	request(NBD_CMD_DISC, 0, 0, 0);
	seed(dir, "each", made.bytes, made.count);

	begin_seed("\x08\x60\xb0\x02\xa4\xb6\xc0\xbe\x12\xe8\x0d\xf8\x13\xf4");
	for (unsigned i = 0; i < 6; i++) {
		request(NBD_CMD_WRITE, i % 2, i * 4 * PAGE, (1 + i) * PAGE);
		request(NBD_CMD_READ, 0, i * 4 * PAGE, 3 * PAGE);
	}
	request(NBD_CMD_FLUSH, 0, 0, 0);
	seed(dir, "deaths", made.bytes, made.count);

	begin_seed("\xe0\xe8\xd8\x36\xe0\xf0\xf8\xfc\xee");
	request(NBD_CMD_WRITE, 0, 0, 256 << 10);
	request(NBD_CMD_WRITE, 0, 256 << 10, 128 << 10);
	request(NBD_CMD_READ, 0, 0, 256 << 10);
	request(NBD_CMD_TRIM, 0, 0, 1 << 20);
	request(NBD_CMD_WRITE_ZEROES, NBD_CMD_FLAG_NO_HOLE, 0, 1 << 20);
	seed(dir, "large", made.bytes, made.count);

	/* Everything comes while there are no tasks; and a part of it, of which a worker dies meanwhile. */
	begin_seed("\xfc\x05\xf8\xf8\xf8\xf8");
	for (unsigned i = 0; i < 60; i++)
		request(NBD_CMD_WRITE, 0, i * 4 * PAGE, 2 * PAGE);
	seed(dir, "starved", made.bytes, made.count);
	begin_seed("\xa0\x05\xb8\x06\xb8\x0e\xc0\x05\xb8\x0d\xf8");
	for (unsigned i = 0; i < 9; i++)
		request(NBD_CMD_WRITE, 0, i * 4 * PAGE, (i + 1) * 3 * PAGE);
	seed(dir, "starved-at-death", made.bytes, made.count);

	/* The socket is full one byte before the end of a reply. */
	begin_seed("\x44\x04\xf8\x3c\x02\xf4\x02\xe6\xfc");
	request(NBD_CMD_CACHE, 0, 0, PAGE);
	request(NBD_CMD_READ, 0, 0, PAGE);
	request(NBD_CMD_READ, 0, PAGE, PAGE);
	seed(dir, "last-byte", made.bytes, made.count);

	begin_seed("\xf8\x25\xf8\xf8\x02\x24\x17");
	request(NBD_CMD_READ, 0, -(uint64_t)PAGE, PAGE);
	request(NBD_CMD_TRIM, 0, -(uint64_t)PAGE, 2 * PAGE);
	request(NBD_CMD_WRITE, 0, WORLD_SIZE - PAGE, 2 * PAGE);
	request(NBD_CMD_WRITE, 0, 1, PAGE);
	request(NBD_CMD_READ, 0, 0, 0);
	request(NBD_CMD_READ, 8, 0, PAGE);
	request(NBD_CMD_WRITE, 0, 0, 257 << 10);
	request(NBD_CMD_FLUSH, 0, 1, 1);
	request(NBD_CMD_DISC, 2, 0, 0);
	seed(dir, "refused", made.bytes, made.count);
}
