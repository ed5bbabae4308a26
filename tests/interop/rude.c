/* SPDX-License-Identifier: BSD-3-Clause */
/* Cases of clients that break off, break the protocol, or do not read what they asked for. */
#include "config.h"

#include "tests/interop/wire.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define KIB (1u << 10)
#define ASKED 600u /* by never_reads: 75 MiB */

static void wrong_magic(void)
{
	struct conn c;
	char bytes[28];

	attach(&c, export_name);
	request_bytes(bytes, 0, CMD_READ, 1, 0, 4096);
	bytes[3] ^= 1;
	put(&c, bytes, sizeof(bytes));
	closed(&c, "a request without its magic");
	/* Also behind a good one, and in the middle of it all. */
	attach(&c, export_name);
	works(&c);
	put(&c, "GET / HTTP/1.1\r\nHost: swap\r\n\r\n", 30);
	closed(&c, "a request of another protocol");
	server_works();
}

static uint32_t disc_length(uint64_t cookie)
{
	return cookie >= 100 ? 4096 : 0;
}

/* DISC behind writes and reads: all that was asked for before is done and answered, then the connection ends. */
static void disc_in_flight(void)
{
	static char out[33 * 28 + 16 * 65536], buf[4096];
	struct conn c, d;

	attach(&d, export_name);
	for (uint64_t round = 1; round <= 10; round++) {
		size_t n = 0;
		uint64_t cookie;
		bool answered[16] = { false };
		unsigned answers = 0;

		attach(&c, export_name);
		for (uint64_t i = 0; i < 16; i++) {
			n += request_bytes(out + n, 0, CMD_WRITE, i, i * 65536, 65536);
			fill(out + n, 200 + round, i * 65536, 65536);
			n += 65536;
			n += request_bytes(out + n, 0, CMD_READ, 100 + i, 65536 * (16 + i), 4096);
		}
		n += request_bytes(out + n, 0, CMD_DISC, 99, 0, 0);
		put(&c, out, n);
		while (!is_closed(&c)) {
			uint32_t error = reply(&c, &cookie, buf, disc_length);

			check(error == 0 || (is_nbdkit && error == E_SHUTDOWN), "a request before DISC gives error %u", error);
			if (cookie < 16)
				answered[cookie] = error == 0;
			answers++;
		}
		hang_up(&c);
		check(answers == 32 || is_nbdkit, "%u of 32 requests before DISC were answered", answers);
		for (uint64_t i = 0; i < 16; i++)
			if (answered[i] || !is_nbdkit)
				read_seed(&d, 200 + round, i * 65536, 65536);
	}
	hang_up(&d);
}

/* A write of which not all data arrived was never asked for: the pages are as they were. */
static void gone_mid_write(void)
{
	static char out[28 + 128 * KIB];
	struct conn c, d;

	attach(&d, export_name);
	write_seed(&d, 80, 0, 128 * KIB);
	for (int round = 0; round < 60; round++) {
		size_t cut = 1 + mix((uint64_t)round) % (sizeof(out) - 1);

		if (round < 28)
			cut = (size_t)round; /* within the header */
		attach(&c, export_name);
		request_bytes(out, 0, CMD_WRITE, 1, 0, 128 * KIB);
		fill(out + 28, 81, 0, 128 * KIB);
		put(&c, out, cut);
		if (round % 2)
			hang_up(&c);
		else
			hang_up_reset(&c);
		works(&d);
		write_seed(&d, 80, 0, 8192); /* works() changed them */
	}
	read_seed(&d, 80, 0, 128 * KIB);
	hang_up(&d);
	server_works();
}

static void gone_mid_read(void)
{
	struct conn c, d;
	char some[1000];

	attach(&d, export_name);
	for (int round = 0; round < 40; round++) {
		attach(&c, export_name);
		for (uint64_t i = 0; i < 32; i++)
			request(&c, 0, CMD_READ, i, i * 128 * KIB, 128 * KIB);
		if (round % 3)
			get(&c, some, sizeof(some));
		if (round % 2)
			hang_up(&c);
		else
			hang_up_reset(&c);
		works(&d);
	}
	hang_up(&d);
	server_works();
}

/* The client says that it sends no more, with requests in flight: its connection ends, also without DISC. */
static void half_closed(void)
{
	struct conn c;

	for (int round = 0; round < 20; round++) {
		attach(&c, export_name);
		for (uint64_t i = 0; i < 16; i++)
			request(&c, 0, CMD_READ, i, i * 4096, 4096);
		shutdown(c.fd, SHUT_WR);
		closed(&c, "the end of what the client sends");
	}
	server_works();
}

static void garbage_after_disc(void)
{
	struct conn c;
	char out[28 + 4096];

	attach(&c, export_name);
	write_seed(&c, 82, 0, 4096);
	memset(out, 0xff, sizeof(out));
	request_bytes(out, 0, CMD_DISC, 0, 0, 0);
	put(&c, out, 28);
	request_bytes(out, 0, CMD_WRITE, 1, 0, 4096);
	if (send(c.fd, out, sizeof(out), MSG_NOSIGNAL) < 0)
		check(errno == EPIPE || errno == ECONNRESET, "send: %s", strerror(errno));
	closed(&c, "DISC");
	attach(&c, export_name);
	read_seed(&c, 82, 0, 4096); /* what comes behind DISC is no request */
	hang_up(&c);
}

static void storm(void)
{
	struct conn c;

	for (int round = 0; round < 300; round++) {
		attach(&c, export_name);
		if (round % 3 == 0)
			request(&c, 0, CMD_READ, 1, 0, 128 * KIB);
		if (round % 2)
			hang_up(&c);
		else
			hang_up_reset(&c);
	}
	server_works();
}

/* Of never_reads: request i reads 128 KiB, its cookie says which. */
static uint32_t large(uint64_t cookie)
{
	return 128 * KIB;
}

/* How much there is to be received, once it grows no more: the server has stopped. */
static int stands_at(const struct conn *c)
{
	int now = -1, before;

	do {
		before = now;
		usleep(500000);
		check(ioctl(c->fd, FIONREAD, &now) == 0, "FIONREAD: %s", strerror(errno));
	} while (now != before);
	return now;
}

/* Asks for more than all buffers between it and the server take and reads nothing of it, says "stuck", and waits for a line on stdin.  Then
 * all answers come, and are right.
 */
static void never_reads(void)
{
	static char buf[128 * KIB], line[16], seen[ASKED], out[ASKED * 28];
	struct conn c;
	uint64_t cookie;
	size_t n = 0, sent = 0;
	int waiting;

	attach(&c, export_name);
	for (uint64_t i = 0; i < 32; i++)
		write_seed(&c, 90, i * 128 * KIB, 128 * KIB);
	for (uint64_t i = 0; i < ASKED; i++)
		n += request_bytes(out + n, 0, CMD_READ, i, i % 32 * 128 * KIB, 128 * KIB);
	for (struct pollfd p = { .fd = c.fd, .events = POLLOUT }; sent < n && poll(&p, 1, 2000) > 0;) {
		ssize_t k = send(c.fd, out + sent, n - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		check(k >= 0 || errno == EAGAIN, "send: %s", strerror(errno));
		sent += k > 0 ? (size_t)k : 0;
	}
	waiting = stands_at(&c);
	check((size_t)waiting < ASKED * sizeof(buf) / 2, "the socket takes it all: nothing is stuck");
	printf("stuck with %d bytes to be received, %zu of %u requests sent\n", waiting, sent / 28, ASKED);
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		return;
	for (uint32_t i = 0; i < ASKED; i++) {
		ssize_t k = send(c.fd, out + sent, n - sent, MSG_NOSIGNAL | MSG_DONTWAIT);

		sent += k > 0 ? (size_t)k : 0;
		check(reply(&c, &cookie, buf, large) == 0, "a read fails");
		check(cookie < ASKED && !seen[cookie], "a cookie that was not asked for, or twice");
		seen[cookie] = 1;
		if (i % 8 == 0)
			check(is_seed(buf, 90, cookie % 32 * 128 * KIB, 128 * KIB), "not what was written");
	}
	check(quiet(&c, 100), "there is more than was asked for");
	works(&c);
	hang_up(&c);
}

const struct wire_case rude_cases[] = {
	{ "wrong-request-magic-is-closed", wrong_magic },
	{ "disc-with-requests-in-flight", disc_in_flight },
	{ "gone-in-a-write", gone_mid_write },
	{ "gone-in-a-read", gone_mid_read },
	{ "half-closed", half_closed },
	{ "nothing-counts-behind-disc", garbage_after_disc },
	{ "three-hundred-come-and-go", storm },
	{ "never-reads", never_reads },
	{ NULL, NULL },
};
