/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/engine/checkconn.h"

#include "common/nbdproto.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define SHOWN 20 /* requests in flight */
#define GOODBYE_MS 30000

double check_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static const char *type_name(uint16_t type)
{
	static const char *const names[] = { "read", "write", "disc", "flush", "trim", "cache", "write-zeroes" };

	return type < sizeof(names) / sizeof(names[0]) ? names[type] : "unknown";
}

static void show_request(const struct check_request *r, double now)
{
	printf("  %s%s of pages %u to %u, cookie %016" PRIx64 ", for %.3f s", type_name(r->type),
	       r->flags & NBD_CMD_FLAG_FUA ? " (FUA)" : "", r->first, r->first + r->pages - 1, r->cookie, now - r->since);
	if (r->type == NBD_CMD_WRITE)
		printf(", version %" PRIu64, r->version >> 8);
	putchar('\n');
}

void wrong(const struct check_conn *c, const char *fmt, ...)
{
	double now = check_now();
	unsigned shown = 0;
	va_list ap;

	fputs("nbdcheck: WRONG: ", stdout);
	if (c)
		printf("connection %u: ", c->number);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	if (c && c->in_flight) {
		printf("nbdcheck: %u requests are in flight there:\n", c->in_flight);
		for (unsigned i = 0; i < CHECK_DEPTH && shown < SHOWN; i++)
			if (c->request[i].used) {
				show_request(&c->request[i], now);
				shown++;
			}
	}
	exit(1);
}

/* ---- negotiation ---- */

static void read_whole(struct check_conn *c, void *to, size_t n)
{
	unsigned char *p = to;

	while (n > 0) {
		ssize_t r = recv(c->fd, p, n, MSG_WAITALL);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			wrong(c, "negotiation: %s", r < 0 ? strerror(errno) : "the server closed the connection");
		p += r;
		n -= (size_t)r;
	}
}

static void write_whole(struct check_conn *c, const void *from, size_t n)
{
	if (send(c->fd, from, n, MSG_NOSIGNAL) != (ssize_t)n)
		wrong(c, "negotiation: %s", strerror(errno));
}

static void ask_to_go(struct check_conn *c, const char *name)
{
	struct {
		uint32_t flags;
		struct nbd_option o;
		unsigned char data[4 + NBD_STRING_MAX + 2];
	} NBD_PACKED ask;
	uint32_t n = (uint32_t)strlen(name), be = htobe32(n);

	if (n > NBD_STRING_MAX)
		abort();
	ask.flags = htobe32(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES);
	ask.o = (struct nbd_option){ htobe64(NBD_OPTION_MAGIC), htobe32(NBD_OPT_GO), htobe32(4 + n + 2) };
	memcpy(ask.data, &be, 4);
	memcpy(ask.data + 4, name, n);
	memset(ask.data + 4 + n, 0, 2);
	write_whole(c, &ask, sizeof(ask.flags) + sizeof(ask.o) + 4 + n + 2);
}

void check_negotiate(struct check_conn *c, int fd, const char *name)
{
	struct nbd_greeting hello;
	struct nbd_option_reply reply;
	unsigned char data[NBD_STRING_MAX + 100];

	c->fd = fd;
	read_whole(c, &hello, sizeof(hello));
	if (be64toh(hello.magic) != NBD_MAGIC || be64toh(hello.version) != NBD_OPTION_MAGIC)
		wrong(c, "negotiation: this is no NBD server of the new style");
	ask_to_go(c, name);
	for (;;) {
		uint32_t n, type;

		read_whole(c, &reply, sizeof(reply));
		n = be32toh(reply.length);
		type = be32toh(reply.reply);
		if (be64toh(reply.magic) != NBD_OPTION_REPLY_MAGIC || be32toh(reply.option) != NBD_OPT_GO || n >= sizeof(data))
			wrong(c, "negotiation: what came is no answer to GO");
		read_whole(c, data, n);
		data[n] = 0;
		if (type & NBD_REP_FLAG_ERROR)
			wrong(c, "negotiation: refused (%u): %s", type & ~NBD_REP_FLAG_ERROR, data);
		if (type == NBD_REP_ACK)
			break;
		if (type == NBD_REP_INFO && n == sizeof(struct nbd_info_export) && data[0] == 0 && data[1] == NBD_INFO_EXPORT) {
			const struct nbd_info_export *info = (const void *)data;

			c->size = be64toh(info->size);
			c->flags = be16toh(info->flags);
		}
	}
	if (c->size == 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
		wrong(c, "negotiation: the export's size is not known");
	c->heard = check_now();
}

/* ---- requests ---- */

bool check_room(const struct check_conn *c, unsigned depth, size_t payload)
{
	return c->in_flight < depth && CHECK_OUT - c->out_to >= sizeof(struct nbd_request) + payload;
}

void check_put(struct check_conn *c, const struct check_request *r, unsigned char **data)
{
	bool writes = r->type == NBD_CMD_WRITE, flushes = r->type == NBD_CMD_FLUSH;
	uint32_t bytes = r->pages * PAGE_BYTES;
	struct check_request *q = c->request;
	struct nbd_request h;

	while (q->used)
		q++;
	*q = *r;
	q->used = true;
	q->since = check_now();
	/* Which, of which connection, and the how manieth. */
	q->cookie = (uint64_t)c->number << 56 | (uint64_t)c->made++ << 16 | (uint64_t)(q - c->request);
	if (c->in_flight++ == 0)
		c->heard = q->since;
	h = (struct nbd_request){
		.magic = htobe32(NBD_REQUEST_MAGIC), .flags = htobe16(r->flags), .type = htobe16(r->type), .cookie = htobe64(q->cookie),
		.offset = flushes ? 0 : htobe64((uint64_t)r->first * PAGE_BYTES), .length = flushes ? 0 : htobe32(bytes),
	};
	memcpy(c->out + c->out_to, &h, sizeof(h));
	c->out_to += sizeof(h);
	*data = c->out + c->out_to;
	if (writes)
		c->out_to += bytes;
}

size_t check_send(struct check_conn *c, size_t most)
{
	size_t n = c->out_to - c->out_from;
	ssize_t r;

	if (n > most)
		n = most;
	if (n == 0)
		return 0;
	r = send(c->fd, c->out + c->out_from, n, MSG_NOSIGNAL);
	if (r < 0 && errno != EAGAIN && errno != EINTR)
		wrong(c, "the connection was lost while sending: %s", strerror(errno));
	if (r <= 0)
		return 0;
	c->out_from += (size_t)r;
	if (c->out_from == c->out_to)
		c->out_from = c->out_to = 0;
	return (size_t)r;
}

/* ---- replies ---- */

static void finish(struct check_conn *c, struct check_request *r, const struct check_ops *ops)
{
	double took = check_now() - r->since;

	if (took > c->longest_request)
		c->longest_request = took;
	ops->answered(ops->arg, c, r);
	r->used = false;
	c->in_flight--;
	c->reading = NULL;
}

static void header(struct check_conn *c, const struct nbd_simple_reply *h, const struct check_ops *ops)
{
	uint64_t cookie = be64toh(h->cookie);
	struct check_request *r = &c->request[(cookie & 0xffff) % CHECK_DEPTH];

	if (be32toh(h->magic) != NBD_SIMPLE_REPLY_MAGIC)
		wrong(c, "what came is no reply: it begins with %08x, and %016" PRIx64 " in place of the cookie", be32toh(h->magic), cookie);
	if (!r->used || r->cookie != cookie)
		wrong(c, "a reply came with cookie %016" PRIx64 ", which %s", cookie,
		      cookie >> 56 == c->number && (uint32_t)(cookie >> 16) < c->made ? "was answered before" : "was never sent here");
	if (h->error) {
		printf("nbdcheck: the request that failed:\n");
		show_request(r, check_now());
		wrong(c, "error %u came back", be32toh(h->error));
	}
	if (r->type == NBD_CMD_READ) {
		c->reading = r;
		c->read_pages = 0;
	} else {
		finish(c, r, ops);
	}
}

/* One reply header, or one page.  Returns the bytes used, 0: more must come first. */
static size_t take(struct check_conn *c, const unsigned char *p, size_t n, const struct check_ops *ops)
{
	struct check_request *r = c->reading;

	if (!r) {
		if (n < sizeof(struct nbd_simple_reply))
			return 0;
		header(c, (const void *)p, ops);
		return sizeof(struct nbd_simple_reply);
	}
	if (n < PAGE_BYTES)
		return 0;
	ops->page(ops->arg, c, r, r->first + c->read_pages, p);
	if (++c->read_pages == r->pages)
		finish(c, r, ops);
	return PAGE_BYTES;
}

void check_receive(struct check_conn *c, const struct check_ops *ops)
{
	ssize_t r = recv(c->fd, c->in + c->in_bytes, sizeof(c->in) - c->in_bytes, 0);
	size_t used = 0, n;
	double now = check_now();

	if (r < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (r < 0)
		wrong(c, "the connection was lost: %s", strerror(errno));
	if (r == 0)
		wrong(c, "the server closed the connection");
	if (c->in_flight && now - c->heard > c->longest_pause)
		c->longest_pause = now - c->heard;
	c->heard = now;
	c->in_bytes += (size_t)r;
	while ((n = take(c, c->in + used, c->in_bytes - used, ops)) > 0)
		used += n;
	memmove(c->in, c->in + used, c->in_bytes - used);
	c->in_bytes -= used;
}

void check_goodbye(struct check_conn *c)
{
	struct nbd_request h = { .magic = htobe32(NBD_REQUEST_MAGIC), .type = htobe16(NBD_CMD_DISC) };
	struct pollfd p = { .fd = c->fd, .events = POLLIN };
	ssize_t r;

	if (c->in_bytes)
		wrong(c, "%zu bytes came that belong to nothing", c->in_bytes);
	memcpy(c->out, &h, sizeof(h));
	c->out_to = sizeof(h);
	if (check_send(c, sizeof(h)) != sizeof(h))
		wrong(c, "the connection takes no goodbye");
	if (poll(&p, 1, GOODBYE_MS) != 1)
		wrong(c, "the server did not close the connection after the client's goodbye");
	r = recv(c->fd, c->in, sizeof(c->in), 0);
	if (r > 0)
		wrong(c, "%zd bytes came after all requests were answered", r);
	close(c->fd);
}
