/* SPDX-License-Identifier: BSD-3-Clause */
/* Random load on an NBD server, verified:  nbdload URI CONNECTIONS DEPTH PHASE...
 *
 * A phase is N: N reads, writes, trims, zeros and flushes, of 4 to 128 KiB (half of them 4 KiB) are spread over the connections, with DEPTH in
 * flight on each; some writes are to be durable (FUA).  Every request in flight has an area of pages of its own, so that what a page must hold is known: the model is
 * one number per page, 0 for zeros.  Or it is NxP, the same with all of P
 * pages; or "pause": says "paused" and waits for a line on stdin.  Ends with 0, or with 1 and a sentence on stderr.
 */
#include "config.h"

#include <errno.h>
#include <libnbd.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAGE 4096u
#define SLOT_PAGES 64u
#define REQUEST_PAGES 32u

struct slot {
	struct nbd_handle *h;
	uint64_t first;		     /* page */
	uint64_t model[SLOT_PAGES]; /* what each page holds */
	int64_t cookie;		     /* of the request in flight, 0: none */
	unsigned page, pages;
	int op;
	uint64_t stamp;
	unsigned char buf[REQUEST_PAGES * PAGE];
};

static uint64_t seed = 88172645463325252u;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void fail(const char *what) __attribute__((noreturn));
static void fail(const char *what)
{
	fprintf(stderr, "nbdload: %s: %s\n", what, nbd_get_error() ? nbd_get_error() : "");
	exit(1);
}

static void fill(unsigned char *page, uint64_t stamp, uint64_t number)
{
	for (unsigned i = 0; i < PAGE / 8; i++) {
		uint64_t word = stamp ? stamp * 0x9e3779b97f4a7c15u + number * 1000003u + i : 0;

		memcpy(page + 8 * i, &word, 8);
	}
}

static void verify(const struct slot *s)
{
	unsigned char want[PAGE];

	for (unsigned i = 0; i < s->pages; i++) {
		fill(want, s->model[s->page + i], s->first + s->page + i);
		if (memcmp(want, s->buf + i * PAGE, PAGE) != 0) {
			fprintf(stderr, "nbdload: page %llu does not hold what was written there last\n",
				(unsigned long long)(s->first + s->page + i));
			exit(1);
		}
	}
}

static void finish(struct slot *s)
{
	if (s->op == 0)
		verify(s);
	else
		for (unsigned i = 0; i < s->pages; i++)
			s->model[s->page + i] = s->op == 1 ? s->stamp : 0;
	s->cookie = 0;
}

static void start(struct slot *s, unsigned pages)
{
	uint64_t offset, length;

	s->pages = pages ? pages : rnd() & 1 ? 1 : 1 + (unsigned)(rnd() % REQUEST_PAGES);
	s->page = (unsigned)(rnd() % (SLOT_PAGES - s->pages + 1));
	s->op = (int)(rnd() % 100);
	s->op = s->op < 40 ? 0 : s->op < 80 ? 1 : s->op < 89 ? 2 : s->op < 98 ? 3 : 4;
	offset = (s->first + s->page) * PAGE;
	length = (uint64_t)s->pages * PAGE;
	switch (s->op) {
	case 0:
		s->cookie = nbd_aio_pread(s->h, s->buf, length, offset, NBD_NULL_COMPLETION, 0);
		break;
	case 1:
		s->stamp = rnd() | 1;
		for (unsigned i = 0; i < s->pages; i++)
			fill(s->buf + i * PAGE, s->stamp, s->first + s->page + i);
		s->cookie = nbd_aio_pwrite(s->h, s->buf, length, offset, NBD_NULL_COMPLETION,
					   s->stamp % 64 == 1 ? LIBNBD_CMD_FLAG_FUA : 0);
		break;
	case 2:
		s->cookie = nbd_aio_trim(s->h, length, offset, NBD_NULL_COMPLETION, 0);
		break;
	case 3:
		s->cookie = nbd_aio_zero(s->h, length, offset, NBD_NULL_COMPLETION, 0);
		break;
	default:
		s->pages = 0;
		s->cookie = nbd_aio_flush(s->h, NBD_NULL_COMPLETION, 0);
	}
	if (s->cookie < 0)
		fail("request");
}

/* Works off what has been answered on one connection; returns how many. */
static unsigned reap(struct slot *slots, unsigned n)
{
	unsigned done = 0;

	for (unsigned i = 0; i < n; i++) {
		int r;

		if (!slots[i].cookie)
			continue;
		r = nbd_aio_command_completed(slots[i].h, (uint64_t)slots[i].cookie);
		if (r < 0)
			fail("answer");
		if (r) {
			finish(&slots[i]);
			done++;
		}
	}
	return done;
}

static void work(struct nbd_handle **h, unsigned connections, struct slot *slots, unsigned depth, uint64_t left,
		 unsigned pages)
{
	uint64_t flying = 0;

	while (left > 0 || flying > 0)
		for (unsigned c = 0; c < connections; c++) {
			struct slot *mine = &slots[c * depth];

			for (unsigned d = 0; d < depth && left > 0; d++)
				if (!mine[d].cookie) {
					start(&mine[d], pages);
					left--;
					flying++;
				}
			if (nbd_poll(h[c], 0) < 0)
				fail("poll");
			flying -= reap(mine, depth);
		}
}

static void wait_for_line(void)
{
	char line[64];

	puts("paused");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(1);
}

int main(int argc, char **argv)
{
	unsigned connections = argc > 2 ? (unsigned)atoi(argv[2]) : 0, depth = argc > 3 ? (unsigned)atoi(argv[3]) : 0;
	struct nbd_handle *h[64];
	struct slot *slots;

	if (connections < 1 || connections > 64 || depth < 1) {
		fprintf(stderr, "usage: nbdload URI CONNECTIONS DEPTH PHASE...\n");
		return 2;
	}
	slots = calloc((size_t)connections * depth, sizeof(*slots));
	for (unsigned c = 0; c < connections; c++) {
		h[c] = nbd_create();
		if (!slots || !h[c] || nbd_connect_uri(h[c], argv[1]) < 0)
			fail("connect");
		for (unsigned d = 0; d < depth; d++) {
			slots[c * depth + d].h = h[c];
			slots[c * depth + d].first = (uint64_t)(c * depth + d) * SLOT_PAGES;
		}
	}
	if (nbd_get_size(h[0]) < (int64_t)connections * depth * SLOT_PAGES * PAGE) {
		fprintf(stderr, "nbdload: the export is too small for this\n");
		return 2;
	}
	/* What the pages hold before is not known: zeros first. */
	if (nbd_zero(h[0], (uint64_t)connections * depth * SLOT_PAGES * PAGE, 0, 0) < 0)
		fail("zero");
	for (int i = 4; i < argc; i++) {
		char *x = strchr(argv[i], 'x');

		if (strcmp(argv[i], "pause") == 0)
			wait_for_line();
		else
			work(h, connections, slots, depth, strtoull(argv[i], NULL, 10), x ? (unsigned)atoi(x + 1) : 0);
	}
	for (unsigned c = 0; c < connections; c++) {
		nbd_shutdown(h[c], 0);
		nbd_close(h[c]);
	}
	return 0;
}
