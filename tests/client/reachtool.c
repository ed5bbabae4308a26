/* SPDX-License-Identifier: BSD-3-Clause */
/* For tests: reach() as the watch calls it, with what it allocates counted, and the socket then used as the
 * kernel would.
 *
 *	reachtool [--generation G/L] [--size BYTES] [--hold] REQUEST MILLISECONDS ADDRESS:PORT...
 *
 * Prints one line: "reached N ..." with what the server told, or "failed ERRNO: text"; both end in the number of
 * allocations.  Where it was reached, pages are written and read back on the bare socket ("pages right");
 * --hold: it is kept until the standard input ends.
 */
#include "config.h"

#include "client/reach.h"

#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static volatile unsigned counted;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNTS 0 /* they have a malloc of their own */
#else
#define COUNTS 1
#include "tests/countmalloc.h"

static void count(void)
{
	counted++;
}
#endif

#define PAGE 4096
#define REQUESTS 16

static void die(const char *what)
{
	printf("reachtool: %s\n", what);
	exit(1);
}

/* ---- the transmission phase ---- */

static void send_all(int fd, const void *data, size_t bytes)
{
	for (size_t at = 0; at < bytes;) {
		ssize_t n = send(fd, (const char *)data + at, bytes - at, MSG_NOSIGNAL);

		if (n <= 0)
			die("a request is not taken");
		at += (size_t)n;
	}
}

static void receive_all(int fd, void *to, size_t bytes)
{
	if (recv(fd, to, bytes, MSG_WAITALL) != (ssize_t)bytes)
		die("a reply does not come");
}

static void fill(unsigned char *page, uint64_t offset)
{
	for (unsigned i = 0; i < PAGE; i++)
		page[i] = (unsigned char)(offset / PAGE * 31 + i * 7 + i / 256);
}

static void request(int fd, uint16_t type, uint64_t cookie, uint64_t offset, uint32_t length)
{
	struct nbd_request r = { .magic = htobe32(NBD_REQUEST_MAGIC),
				 .type = htobe16(type),
				 .cookie = htobe64(cookie),
				 .offset = htobe64(offset),
				 .length = htobe32(length) };

	send_all(fd, &r, sizeof(r));
}

static uint64_t reply(int fd)
{
	struct nbd_simple_reply r;

	receive_all(fd, &r, sizeof(r));
	if (be32toh(r.magic) != NBD_SIMPLE_REPLY_MAGIC)
		die("no reply where one should begin");
	if (r.error)
		die("a request is answered with an error");
	return be64toh(r.cookie);
}

static uint64_t page_offset(uint64_t size, uint64_t i)
{
	return size / PAGE / REQUESTS * i * PAGE;
}

/* Several at once, so that replies lie behind each other. */
static void use_pages(int fd, uint64_t size)
{
	static unsigned char page[PAGE], expected[PAGE];

	for (uint64_t i = 0; i < REQUESTS; i++) {
		request(fd, NBD_CMD_WRITE, i, page_offset(size, i), PAGE);
		fill(page, page_offset(size, i));
		send_all(fd, page, PAGE);
	}
	for (uint64_t i = 0; i < REQUESTS; i++)
		reply(fd);
	for (uint64_t i = 0; i < REQUESTS; i++)
		request(fd, NBD_CMD_READ, i, page_offset(size, i), PAGE);
	for (uint64_t i = 0; i < REQUESTS; i++) {
		uint64_t cookie = reply(fd);

		if (cookie >= REQUESTS)
			die("a reply to a request that was not sent");
		receive_all(fd, page, PAGE);
		fill(expected, page_offset(size, cookie));
		if (memcmp(page, expected, PAGE) != 0)
			die("a page came back wrong");
	}
}

/* ---- the program ---- */

static void parse_address(char *text, union reach_address *out)
{
	char *colon = strrchr(text, ':');

	if (!colon)
		die("an address is ADDRESS:PORT");
	*colon = '\0';
	if (text[0] == '[') {
		text[strcspn(text, "]")] = '\0';
		out->v6.sin6_family = AF_INET6;
		out->v6.sin6_port = htons((uint16_t)atoi(colon + 1));
		if (inet_pton(AF_INET6, text + 1, &out->v6.sin6_addr) != 1)
			die("no address of IPv6");
		return;
	}
	out->v4.sin_family = AF_INET;
	out->v4.sin_port = htons((uint16_t)atoi(colon + 1));
	if (inet_pton(AF_INET, text, &out->v4.sin_addr) != 1)
		die("no address of IPv4");
}

static void see_that_it_counts(void)
{
	void *volatile p;

	counted = 0;
	p = malloc(1);
	free(p);
	if (COUNTS && counted != 1)
		die("allocations are not counted");
}

static void print_reached(const struct reach *r, unsigned allocations)
{
	const struct nego_export *x = &r->export;
	char generation[GENERATION_TEXT] = "not told";

	if (x->generation_told)
		generation_format(&x->generation, generation);
	printf("reached %zu size %" PRIu64 " flags 0x%x blocks %" PRIu32 "/%" PRIu32 "/%" PRIu32
	       " name \"%s\" description \"%s\""
	       " generation %s, allocations %u\n",
	       r->reached, x->size, x->flags, x->block_min, x->block_preferred, x->block_max, x->name,
	       x->description, generation, allocations);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static const struct option options[] = { { "generation", required_argument, NULL, 'g' },
						 { "size", required_argument, NULL, 's' },
						 { "hold", no_argument, NULL, 'h' },
						 { NULL, 0, NULL, 0 } };
	static union reach_address addresses[REACH_ADDRESSES_MAX];
	static struct export_expected expected;
	static struct reach r;
	struct reach_wishes w = {
		.addresses = addresses, .connect_ms = 5000, .user_timeout_ms = 10000, .keepalive_s = 5
	};
	struct timespec ts;
	struct errbuf e = { .code = 0 };
	unsigned allocations;
	bool hold = false;
	int c, fd;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1)
		switch (c) {
		case 'g':
			if (sscanf(optarg, "%" SCNu64 "/%" SCNu64, &expected.generation.activation,
				   &expected.generation.lease) != 2)
				die("a generation is G/L");
			expected.has_generation = true;
			break;
		case 's':
			expected.size = strtoull(optarg, NULL, 10);
			w.expected = &expected;
			break;
		case 'h':
			hold = true;
			break;
		default:
			return 2;
		}
	if (argc - optind < 3 || argc - optind - 2 > REACH_ADDRESSES_MAX)
		die("REQUEST MILLISECONDS ADDRESS:PORT...");
	w.request = argv[optind];
	for (int i = optind + 2; i < argc; i++)
		parse_address(argv[i], &addresses[w.count++]);
	see_that_it_counts();
	clock_gettime(CLOCK_MONOTONIC, &ts);
	w.deadline_ns = (int64_t)ts.tv_sec * 1000000000 + ts.tv_nsec + atoll(argv[optind + 1]) * 1000000;

	counted = 0;
	fd = reach(&r, &w, &e);
	allocations = counted;
	if (fd < 0) {
		printf("failed %s: %s, allocations %u\n", strerrorname_np(e.code), e.text, allocations);
		return 1;
	}
	print_reached(&r, allocations);
	use_pages(fd, r.export.size);
	puts("pages right");
	fflush(stdout);
	while (hold && getchar() != EOF)
		;
	request(fd, NBD_CMD_DISC, 0, 0, 0);
	close(fd);
	return 0;
}
