/* SPDX-License-Identifier: BSD-3-Clause */
/* Cases of the transmission phase: every request, at its limits and beyond them. */
#include "config.h"

#include "tests/interop/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define KIB (1u << 10)
#define MIB (1u << 20)

static void bye(struct conn *c)
{
	request(c, 0, CMD_DISC, 0, 0, 0);
	closed(c, "DISC");
}

static void expect(uint32_t got, uint32_t want, const char *what)
{
	check(got == want, "%s: error %u, not %u", what, got, want);
}

static void sizes(void)
{
	struct conn c;

	attach(&c, export_name);
	for (uint32_t n = 4096; n <= c.max && n <= 8 * MIB; n *= 2) {
		write_seed(&c, n, 4096, n);
		read_seed(&c, n, 4096, n);
	}
	write_seed(&c, 3, 3 * 4096, 7 * 4096);
	read_seed(&c, 3, 4 * 4096, 5 * 4096);
	write_seed(&c, 4, c.size - 4096, 4096);
	read_seed(&c, 4, c.size - 4096, 4096);
	bye(&c);
}

static void fua_and_flush(void)
{
	struct conn c, d;
	char buf[8192];

	attach(&c, export_name);
	fill(buf, 11, 0, sizeof(buf));
	expect(do_write(&c, F_FUA, buf, 0, sizeof(buf)), 0, "a write with FUA");
	attach(&d, export_name);
	read_seed(&d, 11, 0, 8192);
	expect(call(&c, 0, CMD_FLUSH, 0, 0), 0, "a flush");
	expect(call(&c, F_FUA, CMD_TRIM, 0, 4096), 0, "a trim with FUA");
	expect(call(&c, F_FUA, CMD_WRITE_ZEROES, 4096, 4096), 0, "zeroes with FUA");
	/* FUA on what writes nothing has no meaning; the document wants it accepted. */
	expect(call(&c, F_FUA, CMD_FLUSH, 0, 0) & ~(uint32_t)E_INVAL, 0, "a flush with FUA");
	read_seed(&d, 0, 0, 8192);
	bye(&c);
	bye(&d);
}

static void trim_and_zeroes(void)
{
	struct conn c;
	uint32_t r;

	attach(&c, export_name);
	for (int i = 0; i < 4; i++) {
		static const uint16_t flags[] = { 0, F_NO_HOLE, F_FAST_ZERO, F_FAST_ZERO | F_NO_HOLE };

		write_seed(&c, 20 + (uint64_t)i, 0, 128 * KIB);
		r = call(&c, flags[i], CMD_WRITE_ZEROES, 32 * KIB, 64 * KIB);
		if (flags[i] & F_FAST_ZERO && !(c.flags & T_FAST_ZERO)) {
			expect(r, E_INVAL, "FAST_ZERO, which is not offered");
			read_seed(&c, 20 + (uint64_t)i, 0, 128 * KIB);
			continue;
		}
		expect(r, 0, "zeroes");
		read_seed(&c, 20 + (uint64_t)i, 0, 32 * KIB);
		read_seed(&c, 0, 32 * KIB, 64 * KIB);
		read_seed(&c, 20 + (uint64_t)i, 96 * KIB, 32 * KIB);
	}
	write_seed(&c, 30, 0, 128 * KIB);
	expect(call(&c, 0, CMD_TRIM, 4096, 120 * KIB), 0, "a trim");
	read_seed(&c, 30, 0, 4096);
	read_seed(&c, 0, 4096, 120 * KIB);
	read_seed(&c, 30, 124 * KIB, 4096);
	/* In one request, whatever the largest one with data is. */
	expect(call(&c, 0, CMD_TRIM, 0, (uint32_t)(c.size > 0xfffff000 ? 0xfffff000 : c.size)), 0, "a trim of it all");
	read_seed(&c, 0, 0, 128 * KIB);
	write_seed(&c, 31, 0, 4096);
	expect(call(&c, 0, CMD_WRITE_ZEROES, 0, (uint32_t)(c.size > 0xfffff000 ? 0xfffff000 : c.size)), 0, "zeroes over it all");
	read_seed(&c, 0, 0, 128 * KIB);
	bye(&c);
}

static void cache(void)
{
	struct conn c;

	attach(&c, export_name);
	expect(call(&c, 0, CMD_CACHE, 0, 4096), c.flags & T_CACHE ? 0 : E_INVAL, "CACHE");
	works(&c);
	bye(&c);
}

static void unaligned(void)
{
	static const struct {
		uint64_t offset;
		uint32_t length;
	} bad[] = { { 512, 4096 }, { 0, 512 }, { 4095, 1 }, { 1, 4096 }, { 4096, 4095 }, { 2048, 2048 }, { 0, 6144 } };
	struct conn c;
	char buf[8192];

	attach(&c, export_name);
	write_seed(&c, 40, 0, 16384);
	memset(buf, 1, sizeof(buf));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		expect(do_write(&c, 0, buf, bad[i].offset, bad[i].length), E_INVAL, "an unaligned write");
		expect(do_read(&c, buf, bad[i].offset, bad[i].length), E_INVAL, "an unaligned read");
		expect(call(&c, 0, CMD_TRIM, bad[i].offset, bad[i].length), E_INVAL, "an unaligned trim");
		expect(call(&c, 0, CMD_WRITE_ZEROES, bad[i].offset, bad[i].length), E_INVAL, "unaligned zeroes");
	}
	read_seed(&c, 40, 0, 16384);
	bye(&c);
}

static void beyond_the_end(void)
{
	struct conn c;
	static char buf[64 * KIB];

	attach(&c, export_name);
	write_seed(&c, 41, c.size - 64 * KIB, 64 * KIB);
	const uint64_t bad[] = { c.size, c.size - 4096, c.size + MIB, UINT64_C(1) << 62, -(uint64_t)4096, -(uint64_t)8192 };

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		expect(do_read(&c, buf, bad[i], 8192), E_INVAL, "a read beyond the end");
		expect(do_write(&c, 0, buf, bad[i], 8192), E_NOSPC, "a write beyond the end");
		expect(call(&c, 0, CMD_WRITE_ZEROES, bad[i], 8192), E_NOSPC, "zeroes beyond the end");
		expect(call(&c, 0, CMD_TRIM, bad[i], 8192), E_INVAL, "a trim beyond the end");
		expect(call(&c, 0, CMD_TRIM, bad[i], 0xfffff000), E_INVAL, "a large trim beyond the end");
	}
	read_seed(&c, 41, c.size - 64 * KIB, 64 * KIB);
	bye(&c);
}

/* Larger than the server says it takes: refused (or done all the same), with the connection kept in step, or closed; what is allowed still
 * works.
 */
static void oversized(void)
{
	static const uint64_t lengths[] = { 1, 8 * MIB, 33 * MIB, 64 * MIB, 65 * MIB, 0x7ffff000, 0xfffff000 };
	static char part[1 << 20];

	for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++)
		for (int write = 0; write < 2; write++) {
			struct conn c;
			uint64_t cookie, length = lengths[i], sent = 0;
			uint32_t r;

			attach(&c, export_name);
			if (length == 1)
				length = (uint64_t)c.max + 4096;
			if (length <= c.max) {
				bye(&c);
				continue;
			}
			request(&c, 0, write ? CMD_WRITE : CMD_READ, 9, 0, (uint32_t)length);
			/* Payload as long as the server takes it, within reason. */
			while (write && sent < length && sent < 80 * MIB) {
				ssize_t n = send(c.fd, part, length - sent < sizeof(part) ? length - sent : sizeof(part), MSG_NOSIGNAL);

				if (n <= 0)
					break;
				sent += (uint64_t)n;
			}
			if (write && sent < length) { /* more than anyone sends: it is to be closed, with or without a word */
				shutdown(c.fd, SHUT_WR);
				closed(&c, "a write that is too large");
			} else if (is_closed(&c)) {
				check(write, "a read that is too large closes the connection");
				hang_up(&c);
			} else {
				get(&c, part, 16);
				memcpy(&cookie, part + 8, 8);
				r = (uint32_t)(unsigned char)part[7];
				check(cookie == 9 && memcmp(part, "\x67\x44\x66\x98\0\0\0", 7) == 0, "not a reply to it");
				/* (EOVERFLOW is kept for reads with DF, and ENOMEM should not be) */
				check(r == 0 || r == E_INVAL || (r == E_NOSPC && length > c.size), "%llu bytes give error %u",
				      (unsigned long long)length, r);
				printf("%s of %llu bytes: error %u\n", write ? "a write" : "a read", (unsigned long long)length, r);
				for (uint64_t n = 0; r == 0 && !write && n < length; n += 4096)
					get(&c, part, 4096);
				works(&c);
				bye(&c);
			}
			server_works();
		}
}

static void at_the_end(void)
{
	struct conn c;

	attach(&c, export_name);
	write_seed(&c, 50, c.size - 128 * KIB, 128 * KIB);
	read_seed(&c, 50, c.size - 128 * KIB, 128 * KIB);
	for (uint32_t n = 4096; n <= 128 * KIB; n += 4096)
		read_seed(&c, 50, c.size - n, n);
	bye(&c);
}

/* The document leaves to the server what they do, but not that they are answered. */
static void zero_length(void)
{
	struct conn c;
	char buf[1];

	attach(&c, export_name);
	write_seed(&c, 51, 0, 4096);
	for (int i = 0; i < 3; i++) {
		uint64_t at = i == 0 ? 0 : i == 1 ? c.size : 4096;
		uint32_t r[4] = { do_read(&c, buf, at, 0), do_write(&c, 0, buf, at, 0), call(&c, 0, CMD_TRIM, at, 0),
				  call(&c, 0, CMD_WRITE_ZEROES, at, 0) };

		for (int k = 0; k < 4; k++)
			check(r[k] == 0 || r[k] == E_INVAL || r[k] == E_NOSPC, "a request of no length gives error %u", r[k]);
	}
	read_seed(&c, 51, 0, 4096);
	works(&c);
	bye(&c);
}

static void unknown_commands(void)
{
	static const uint16_t commands[] = { CMD_RESIZE, 9, 100, 0x7fff, 0xffff };
	struct conn c;

	attach(&c, export_name);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		expect(call(&c, 0, commands[i], 0, 4096), E_INVAL, "a command that nobody knows");
		expect(call(&c, 0, commands[i], 0, 0xffffffff), E_INVAL, "a command that nobody knows, with a length");
	}
	expect(call(&c, 0, CMD_BLOCK_STATUS, 0, 4096), E_INVAL, "BLOCK_STATUS without a context");
	works(&c);
	bye(&c);
}

static void unknown_flags(void)
{
	struct conn c;
	static char buf[4096];

	attach(&c, export_name);
	write_seed(&c, 52, 0, 4096);
	expect(do_read(&c, buf, 0, 4096), 0, "a read");
	expect(do_write(&c, 0x8000, buf, 0, 4096), E_INVAL, "a write with a flag that nobody knows");
	expect(do_read(&c, buf, 0, 4096), 0, "a read");
	expect(call(&c, 0x4000, CMD_TRIM, 0, 4096), E_INVAL, "a trim with a flag that nobody knows");
	expect(call(&c, F_NO_HOLE, CMD_TRIM, 0, 4096), E_INVAL, "a trim with NO_HOLE");
	expect(call(&c, 0x2000, CMD_FLUSH, 0, 0), E_INVAL, "a flush with a flag that nobody knows");
	request(&c, 0x1000, CMD_READ, c.cookie = 7, 0, 4096);
	get(&c, buf, 16);
	expect((unsigned char)buf[7], E_INVAL, "a read with a flag that nobody knows");
	read_seed(&c, 52, 0, 4096);
	bye(&c);
}

/* A cookie says which page it is for, mixed so that every byte of it counts. */
#define PIPELINED 2000u
static uint64_t cookies[PIPELINED];

static uint32_t page_of(uint64_t cookie)
{
	for (uint32_t i = 0; i < PIPELINED; i++)
		if (cookies[i] == cookie)
			return i;
	fail("a reply has a cookie that no request had, or one that was answered already");
}

static uint32_t pipelined_length(uint64_t cookie)
{
	return page_of(cookie) % 2 ? 4096 : 0;
}

/* Many in flight, without a look at the replies for as long as the sockets take it: each is answered once, with its own cookie and data. */
static void pipelined(void)
{
	static char out[PIPELINED / 2 * (28 + 28 + 4096)], buf[4096];
	struct conn c;
	size_t n = 0, sent = 0;
	uint32_t answered = 0, order = 0, last = 0;

	attach(&c, export_name);
	/* Odd pages are read, as they were written before; even ones are written. */
	for (uint32_t i = 0; i < PIPELINED; i += 32)
		write_seed(&c, 60, i * (uint64_t)4096, (PIPELINED - i < 32 ? PIPELINED - i : 32) * 4096);
	for (uint32_t i = 0; i < PIPELINED; i++) {
		cookies[i] = mix(0x1234567 + i);
		n += request_bytes(out + n, 0, i % 2 ? CMD_READ : CMD_WRITE, cookies[i], i * (uint64_t)4096, 4096);
		if (i % 2 == 0) {
			fill(out + n, 61, i * (uint64_t)4096, 4096);
			n += 4096;
		}
	}
	while (answered < PIPELINED) {
		ssize_t k = sent < n ? send(c.fd, out + sent, n - sent, MSG_NOSIGNAL | MSG_DONTWAIT) : 0;
		uint64_t cookie;
		uint32_t page;

		sent += k > 0 ? (size_t)k : 0;
		if (sent < n && quiet(&c, 20))
			continue;
		check(reply(&c, &cookie, buf, pipelined_length) == 0, "a request fails");
		page = page_of(cookie);
		check(page % 2 == 0 || is_seed(buf, 60, page * (uint64_t)4096, 4096), "page %u has other content", page);
		cookies[page] = 0;
		order += page < last;
		last = page;
		answered++;
	}
	check(quiet(&c, 100), "there is more than was asked for");
	for (uint32_t i = 0; i < PIPELINED; i += 2)
		read_seed(&c, 61, i * (uint64_t)4096, 4096);
	printf("%u of %u replies came out of order\n", order, PIPELINED);
	bye(&c);
}

static uint32_t nothing(uint64_t cookie)
{
	return 0;
}

/* Several writes to the same pages at once: afterwards each page is that of one of them as a whole. */
static void overlapping(void)
{
	static char out[64 * (28 + 8 * 4096)], buf[16 * 4096];
	struct conn c;
	uint64_t cookie;

	attach(&c, export_name);
	for (int round = 0; round < 20; round++) {
		size_t n = 0;

		for (uint32_t i = 0; i < 64; i++) {
			uint64_t at = (i % 8) * 4096;

			n += request_bytes(out + n, 0, CMD_WRITE, i, at, 8 * 4096);
			fill(out + n, 100 + i, at, 8 * 4096);
			n += 8 * 4096;
		}
		put(&c, out, n);
		for (uint32_t i = 0; i < 64; i++)
			expect(reply(&c, &cookie, buf, nothing), 0, "a write");
		expect(do_read(&c, buf, 0, 15 * 4096), 0, "a read");
		for (uint32_t page = 0; page < 15; page++) {
			uint32_t i = 0;

			while (i < 64 && !is_seed(buf + page * 4096, 100 + i, page * (uint64_t)4096, 4096))
				i++;
			check(i < 64, "page %u is of no single write", page);
		}
	}
	bye(&c);
}

static void connections(void)
{
	struct conn c[4];

	for (int i = 0; i < 4; i++)
		attach(&c[i], export_name);
	check(c[0].flags & T_MULTI_CONN, "several connections are not offered");
	for (uint64_t round = 1; round <= 200; round++) {
		struct conn *w = &c[round % 4], *r = &c[(round + 1 + round / 4) % 4];

		write_seed(w, round, 64 * KIB, 32 * KIB);
		expect(call(w, 0, CMD_FLUSH, 0, 0), 0, "a flush");
		read_seed(r, round, 64 * KIB, 32 * KIB);
		expect(call(w, 0, CMD_TRIM, 64 * KIB, 4096), 0, "a trim");
		read_seed(r, 0, 64 * KIB, 4096);
	}
	for (int i = 0; i < 4; i++)
		bye(&c[i]);
}

static void in_pieces(void)
{
	static char out[2 * (28 + 8192)];
	struct conn c;
	uint64_t cookie;
	size_t n = 0, at = 0;

	attach(&c, export_name);
	for (uint64_t i = 0; i < 2; i++) {
		n += request_bytes(out + n, 0, CMD_WRITE, i, i * 8192, 8192);
		fill(out + n, 70, i * 8192, 8192);
		n += 8192;
	}
	while (at < n) {
		size_t piece = at % (28 + 8192) < 40 ? 1 : 1 + mix(at) % 700;

		if (piece > n - at)
			piece = n - at;
		put(&c, out + at, piece);
		at += piece;
	}
	for (int i = 0; i < 2; i++)
		expect(reply(&c, &cookie, out, nothing), 0, "a write");
	read_seed(&c, 70, 0, 16384);
	bye(&c);
}

const struct wire_case request_cases[] = {
	{ "reads-and-writes-of-every-size", sizes },
	{ "fua-and-flush", fua_and_flush },
	{ "trim-and-write-zeroes", trim_and_zeroes },
	{ "cache-refused", cache },
	{ "unaligned-refused", unaligned },
	{ "beyond-the-end-refused", beyond_the_end },
	{ "oversized-refused", oversized },
	{ "reads-at-the-end", at_the_end },
	{ "requests-of-no-length-answered", zero_length },
	{ "unknown-commands-invalid", unknown_commands },
	{ "unknown-command-flags-invalid", unknown_flags },
	{ "many-in-flight", pipelined },
	{ "overlapping-writes", overlapping },
	{ "several-connections-see-each-other", connections },
	{ "requests-in-pieces", in_pieces },
	{ NULL, NULL },
};
