/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/interop/wire.h"

#include <endian.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define GREETING UINT64_C(0x4e42444d41474943)
#define IHAVEOPT UINT64_C(0x49484156454f5054)
#define OPTION_REPLY UINT64_C(0x0003e889045565a9)
#define REQUEST 0x25609513u
#define SIMPLE_REPLY 0x67446698u
#define STRUCTURED_REPLY 0x668e33efu

const char *address, *export_name;
bool is_nbdkit;

void fail(const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	fputs("wire: ", stderr);
	vfprintf(stderr, format, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

uint64_t mix(uint64_t n)
{
	n = (n ^ (n >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	n = (n ^ (n >> 27)) * UINT64_C(0x94d049bb133111eb);
	return n ^ (n >> 31);
}

/* ---- connections ---- */

static void dial_unix(struct conn *c, const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	check(strlen(path) < sizeof(a.sun_path), "%s: too long", path);
	memcpy(a.sun_path, path, strlen(path));
	c->fd = socket(AF_UNIX, SOCK_STREAM, 0);
	check(c->fd >= 0 && connect(c->fd, (struct sockaddr *)&a, sizeof(a)) == 0, "connect to %s: %s", path, strerror(errno));
}

static void dial_tcp(struct conn *c, const char *where)
{
	const char *colon = strrchr(where, ':');
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *ai;
	char host[256];
	int one = 1;

	check(colon && (size_t)(colon - where) < sizeof(host), "%s: no HOST:PORT", where);
	memcpy(host, where, (size_t)(colon - where));
	host[colon - where] = '\0';
	check(getaddrinfo(host, colon + 1, &hints, &ai) == 0, "%s: not found", where);
	c->fd = socket(ai->ai_family, SOCK_STREAM, 0);
	check(c->fd >= 0 && connect(c->fd, ai->ai_addr, ai->ai_addrlen) == 0, "connect to %s: %s", where, strerror(errno));
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	freeaddrinfo(ai);
}

void dial(struct conn *c)
{
	struct timeval limit = { .tv_sec = WIRE_SECONDS };

	memset(c, 0, sizeof(*c));
	if (strncmp(address, "unix:", 5) == 0)
		dial_unix(c, address + 5);
	else
		dial_tcp(c, address);
	setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(c->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

void hang_up(struct conn *c)
{
	close(c->fd);
	c->fd = -1;
}

void hang_up_reset(struct conn *c)
{
	struct linger now = { .l_onoff = 1 };

	setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof(now));
	hang_up(c);
}

void put(struct conn *c, const void *data, size_t length)
{
	const char *p = data;
	ssize_t n;

	for (; length > 0; p += n, length -= (size_t)n) {
		n = send(c->fd, p, length, MSG_NOSIGNAL);
		check(n >= 0, "send: %s", errno == EAGAIN ? "the server does not read" : strerror(errno));
	}
}

void get(struct conn *c, void *data, size_t length)
{
	char *p = data;
	ssize_t n;

	for (; length > 0; p += n, length -= (size_t)n) {
		n = recv(c->fd, p, length, 0);
		check(n != 0, "the server has closed the connection");
		check(n > 0, "receive: %s", errno == EAGAIN ? "the server does not answer" : strerror(errno));
	}
}

bool is_closed(struct conn *c)
{
	char byte;
	ssize_t n = recv(c->fd, &byte, 1, MSG_PEEK);

	check(n >= 0 || errno == ECONNRESET || errno == EPIPE, "the server neither answers nor closes the connection");
	return n <= 0;
}

void closed(struct conn *c, const char *after)
{
	char buf[4096];
	ssize_t n;

	while ((n = recv(c->fd, buf, sizeof(buf), 0)) > 0)
		continue;
	check(n == 0 || errno == ECONNRESET || errno == EPIPE, "the connection is not closed after %s", after);
	hang_up(c);
}

bool quiet(struct conn *c, int ms)
{
	struct pollfd p = { .fd = c->fd, .events = POLLIN };

	return poll(&p, 1, ms) == 0;
}

/* ---- negotiation ---- */

uint16_t greet(struct conn *c, uint32_t client_flags)
{
	struct {
		uint64_t magic, version;
		uint16_t flags;
	} __attribute__((packed)) hello;

	get(c, &hello, sizeof(hello));
	check(be64toh(hello.magic) == GREETING && be64toh(hello.version) == IHAVEOPT, "not the greeting of a newstyle server");
	check(be16toh(hello.flags) & 1, "not fixed newstyle");
	client_flags = htobe32(client_flags);
	put(c, &client_flags, sizeof(client_flags));
	return be16toh(hello.flags);
}

size_t option_bytes(void *out, uint32_t option, const void *data, uint32_t length)
{
	struct {
		uint64_t magic;
		uint32_t option, length;
	} h = { htobe64(IHAVEOPT), htobe32(option), htobe32(length) };

	memcpy(out, &h, sizeof(h));
	if (data)
		memcpy((char *)out + sizeof(h), data, length);
	return sizeof(h) + (data ? length : 0);
}

void option(struct conn *c, uint32_t option, const void *data, uint32_t length)
{
	char *buf = malloc(16 + length);
	size_t n;

	check(buf, "no memory");
	n = option_bytes(buf, option, data, length);
	put(c, buf, n);
	free(buf);
}

void option_reply(struct conn *c, uint32_t option, struct option_reply *out)
{
	struct {
		uint64_t magic;
		uint32_t option, type, length;
	} __attribute__((packed)) h;
	char rest[4096];

	get(c, &h, sizeof(h));
	check(be64toh(h.magic) == OPTION_REPLY, "not the magic of an option's reply");
	out->option = be32toh(h.option);
	out->type = be32toh(h.type);
	out->length = be32toh(h.length);
	check(out->option == option, "a reply to option %u, which was %u", out->option, option);
	check(out->length <= 1 << 20, "a reply of %u bytes to an option", out->length);
	memset(out->data, 0, sizeof(out->data));
	if (out->length <= sizeof(out->data)) {
		get(c, out->data, out->length);
		return;
	}
	get(c, out->data, sizeof(out->data));
	for (size_t n = out->length - sizeof(out->data), part; n > 0; n -= part) {
		part = n < sizeof(rest) ? n : sizeof(rest);
		get(c, rest, part);
	}
}

size_t go_data(void *out, const char *name)
{
	static const uint16_t wanted[2] = { INFO_BLOCK_SIZE, INFO_DESCRIPTION };
	uint32_t length = htobe32((uint32_t)strlen(name));
	uint16_t count = htobe16(2);
	char *p = out;

	memcpy(p, &length, 4);
	memcpy(p += 4, name, strlen(name));
	memcpy(p += strlen(name), &count, 2);
	p += 2;
	for (int i = 0; i < 2; i++, p += 2) {
		uint16_t w = htobe16(wanted[i]);

		memcpy(p, &w, 2);
	}
	return (size_t)(p - (char *)out);
}

static uint64_t number(const unsigned char *p, int bytes)
{
	uint64_t n = 0;

	while (bytes-- > 0)
		n = n << 8 | *p++;
	return n;
}

uint32_t go(struct conn *c, uint32_t opt, const char *name)
{
	struct option_reply r;
	char *data = malloc(strlen(name) + 16);
	bool told = false;

	check(data, "no memory");
	option(c, opt, data, (uint32_t)go_data(data, name));
	free(data);
	for (;;) {
		option_reply(c, opt, &r);
		if (r.type != REP_INFO)
			break;
		switch (number(r.data, 2)) {
		case INFO_EXPORT:
			check(r.length == 12, "information on the export of %u bytes", r.length);
			c->size = number(r.data + 2, 8);
			c->flags = (uint32_t)number(r.data + 10, 2);
			told = true;
			break;
		case INFO_BLOCK_SIZE:
			check(r.length == 14, "information on block sizes of %u bytes", r.length);
			c->min = (uint32_t)number(r.data + 2, 4);
			c->preferred = (uint32_t)number(r.data + 6, 4);
			c->max = (uint32_t)number(r.data + 10, 4);
			break;
		}
	}
	check(r.type != REP_ACK || told, "acknowledged without the export's size and flags");
	check(r.type == REP_ACK || r.type >= REP_ERR(0), "neither acknowledged nor an error: %u", r.type);
	return r.type;
}

void attach(struct conn *c, const char *name)
{
	uint32_t r;

	dial(c);
	greet(c, 3);
	r = go(c, OPT_GO, name);
	check(r == REP_ACK, "%s is refused with error %u", name, r & 0x7fffffff);
}

/* ---- transmission ---- */

size_t request_bytes(void *out, uint16_t flags, uint16_t command, uint64_t cookie, uint64_t offset, uint32_t length)
{
	struct {
		uint32_t magic;
		uint16_t flags, command;
		uint64_t cookie, offset;
		uint32_t length;
	} __attribute__((packed)) h = { htobe32(REQUEST), htobe16(flags), htobe16(command), cookie, htobe64(offset), htobe32(length) };

	memcpy(out, &h, sizeof(h));
	return sizeof(h);
}

void request(struct conn *c, uint16_t flags, uint16_t command, uint64_t cookie, uint64_t offset, uint32_t length)
{
	char buf[28];

	put(c, buf, request_bytes(buf, flags, command, cookie, offset, length));
}

static uint32_t structured(struct conn *c, uint64_t *cookie, void *buf, uint32_t (*length_of)(uint64_t))
{
	unsigned char h[16], data[8192];
	uint32_t length, error = 0, type;
	bool first = true;

	/* The offsets are absolute; a case that uses this reads from 0. */
	for (;; first = false) {
		if (!first) {
			uint32_t magic;

			get(c, &magic, 4);
			check(be32toh(magic) == STRUCTURED_REPLY, "not a chunk's magic");
		}
		get(c, h, sizeof(h));
		type = (uint32_t)number(h + 2, 2);
		memcpy(cookie, h + 4, 8);
		length = (uint32_t)number(h + 12, 4);
		if (type == 1) { /* data at an offset */
			get(c, data, 8);
			check(number(data, 8) + length - 8 <= length_of(*cookie), "a chunk beyond what was asked for");
			get(c, (char *)buf + number(data, 8), length - 8);
		} else if (type == 2) { /* a hole */
			get(c, data, 12);
			check(number(data, 8) + number(data + 8, 4) <= length_of(*cookie), "a hole beyond what was asked for");
			memset((char *)buf + number(data, 8), 0, number(data + 8, 4));
		} else {
			check(length <= sizeof(data), "a chunk of %u bytes", length);
			get(c, data, length);
			if (type & 0x8000)
				error = (uint32_t)number(data, 4);
		}
		if (number(h, 2) & 1)
			return error;
	}
}

uint32_t reply(struct conn *c, uint64_t *cookie, void *buf, uint32_t (*length_of)(uint64_t))
{
	struct {
		uint32_t error;
		uint64_t cookie;
	} __attribute__((packed)) h;
	uint32_t magic;

	get(c, &magic, 4);
	magic = be32toh(magic);
	if (c->structured && magic == STRUCTURED_REPLY)
		return structured(c, cookie, buf, length_of);
	check(magic == SIMPLE_REPLY, "a reply's magic is 0x%08x", magic);
	get(c, &h, sizeof(h));
	*cookie = h.cookie;
	h.error = be32toh(h.error);
	if (h.error == 0 && length_of(*cookie) > 0)
		get(c, buf, length_of(*cookie));
	return h.error;
}

/* Of call(): its cookies carry nothing, so the length is here. */
static uint32_t read_length;

static uint32_t length_of_call(uint64_t cookie)
{
	return read_length;
}

static uint32_t await(struct conn *c, void *buf, uint32_t length)
{
	uint64_t cookie;
	uint32_t error;

	read_length = length;
	error = reply(c, &cookie, buf, length_of_call);
	check(cookie == c->cookie, "a reply with another cookie than the request's");
	return error;
}

uint32_t do_read(struct conn *c, void *buf, uint64_t offset, uint32_t length)
{
	request(c, 0, CMD_READ, c->cookie = mix(c->cookie + 1), offset, length);
	return await(c, buf, length);
}

uint32_t do_write(struct conn *c, uint16_t flags, const void *buf, uint64_t offset, uint32_t length)
{
	request(c, flags, CMD_WRITE, c->cookie = mix(c->cookie + 1), offset, length);
	put(c, buf, length);
	return await(c, NULL, 0);
}

uint32_t call(struct conn *c, uint16_t flags, uint16_t command, uint64_t offset, uint32_t length)
{
	request(c, flags, command, c->cookie = mix(c->cookie + 1), offset, length);
	return await(c, NULL, 0);
}

/* ---- content ---- */

void fill(void *buf, uint64_t seed, uint64_t offset, uint32_t length)
{
	unsigned char *p = buf;

	if (seed == 0) {
		memset(p, 0, length);
		return;
	}
	for (uint32_t i = 0; i < length; i++) {
		uint64_t at = offset + i;

		p[i] = (unsigned char)(mix(seed * UINT64_C(0x9e3779b97f4a7c15) + at / 8) >> (at % 8 * 8));
	}
}

bool is_seed(const void *buf, uint64_t seed, uint64_t offset, uint32_t length)
{
	void *want = malloc(length + 1);
	bool same;

	check(want, "no memory");
	fill(want, seed, offset, length);
	same = memcmp(want, buf, length) == 0;
	free(want);
	return same;
}

void write_seed(struct conn *c, uint64_t seed, uint64_t offset, uint32_t length)
{
	void *buf = malloc(length + 1);
	uint32_t error;

	check(buf, "no memory");
	fill(buf, seed, offset, length);
	error = do_write(c, 0, buf, offset, length);
	check(error == 0, "a write of %u at %llu: error %u", length, (unsigned long long)offset, error);
	free(buf);
}

void read_seed(struct conn *c, uint64_t seed, uint64_t offset, uint32_t length)
{
	void *buf = malloc(length + 1);
	uint32_t error;

	check(buf, "no memory");
	memset(buf, 0xee, length);
	error = do_read(c, buf, offset, length);
	check(error == 0, "a read of %u at %llu: error %u", length, (unsigned long long)offset, error);
	check(is_seed(buf, seed, offset, length), "a read of %u at %llu is not seed %llu", length, (unsigned long long)offset,
	      (unsigned long long)seed);
	free(buf);
}

void works(struct conn *c)
{
	uint64_t seed = mix(c->cookie) | 1;

	write_seed(c, seed, 0, 8192);
	read_seed(c, seed, 4096, 4096);
}

void server_works(void)
{
	struct conn c;

	attach(&c, export_name);
	works(&c);
	request(&c, 0, CMD_DISC, 0, 0, 0);
	closed(&c, "DISC");
}
