/* SPDX-License-Identifier: BSD-3-Clause */
/* A client that loses patience: see usage(). Each repeat has pages of its own, so that what lands late is found at the end. */
#include "config.h"

#include <errno.h>
#include <libnbd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE 4096u
#define REQUESTS 20u /* more than a connection has threads: the last ones stay in the socket while the first hang */

static const char *uri;
static char back[1024]; /* the same with the generation that the first connection had: who does not say it takes nobody's place */
static unsigned char *data;

static void __attribute__((noreturn)) die(const char *what)
{
	const char *why = nbd_get_error();

	printf("takeover: %s: %s\n", what, why ? why : strerror(errno));
	exit(2);
}

static void wait_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L }, NULL);
}

static void run(const char *command)
{
	if (*command && system(command) != 0) {
		printf("takeover: %s failed\n", command);
		exit(2);
	}
}

/* The parameters of the name begin with the first '?' of it, which is written %3F. */
static void note_generation(struct nbd_handle *nbd)
{
	char *told = nbd_get_export_description(nbd);
	const char *g = told ? strstr(told, "gen=") : NULL, *at = strstr(uri, "%3F");
	unsigned long long activation, lease;

	if (!g || !at || sscanf(g, "gen=%llu&lease=%llu", &activation, &lease) != 2)
		die("the server tells no generation, or the URI has no parameters");
	snprintf(back, sizeof(back), "%.*s%%3Fgen=%llu%%26lease=%llu%%26%s", (int)(at - uri), uri, activation, lease, at + 3);
	free(told);
	uri = back;
}

/* Also while the export is being settled. */
static struct nbd_handle *attach(void)
{
	for (int tries = 0;; tries++) {
		struct nbd_handle *nbd = nbd_create();

		if (!nbd)
			die("memory");
		if (uri != back && nbd_set_full_info(nbd, true) < 0)
			die("full information");
		if (nbd_connect_uri(nbd, uri) == 0) {
			if (uri != back)
				note_generation(nbd);
			return nbd;
		}
		if (tries == 300)
			die("connect");
		nbd_close(nbd);
		wait_ms(200);
	}
}

/* No page is all one value, which would not reach the file. */
static void fill(unsigned char *page, uint64_t number, unsigned content)
{
	memset(page, (int)content, PAGE);
	memcpy(page + 100, &number, sizeof(number));
}

static int64_t start(struct nbd_handle *nbd, uint64_t page, unsigned content, unsigned char *buffer)
{
	int64_t cookie;

	fill(buffer, page, content);
	cookie = nbd_aio_pwrite(nbd, buffer, PAGE, page * PAGE, NBD_NULL_COMPLETION, 0);
	if (cookie < 0)
		die("write");
	return cookie;
}

static bool is_done(struct nbd_handle *nbd, int64_t cookie)
{
	int r = nbd_aio_command_completed(nbd, (uint64_t)cookie);

	if (r < 0)
		die("a write was answered with an error");
	return r > 0;
}

/* Lets the connection work for so long; what was answered is marked. */
static void serve(struct nbd_handle *nbd, int64_t cookies[REQUESTS], bool done[REQUESTS], long ms)
{
	struct timespec t;
	int64_t end;

	clock_gettime(CLOCK_MONOTONIC, &t);
	end = t.tv_sec * 1000 + t.tv_nsec / 1000000 + ms;
	for (;;) {
		int64_t now;

		clock_gettime(CLOCK_MONOTONIC, &t);
		now = t.tv_sec * 1000 + t.tv_nsec / 1000000;
		for (unsigned i = 0; i < REQUESTS; i++)
			done[i] |= !done[i] && is_done(nbd, cookies[i]);
		if (now >= end)
			return;
		nbd_poll(nbd, (int)(end - now));
	}
}

/* For each page: what was not answered is written again, and when that is done, newer content, whatever the other pages do. */
static void write_newer(struct nbd_handle *nbd, uint64_t first, const bool answered[REQUESTS], unsigned content)
{
	unsigned step[REQUESTS], left = REQUESTS; /* 1: written again, 2: newer content, 3: done */
	int64_t cookies[REQUESTS];

	/* From the last one back: the server has not even read those from the old socket. */
	for (unsigned i = REQUESTS; i-- > 0;) {
		step[i] = answered[i] ? 2 : 1;
		cookies[i] = start(nbd, first + i, content + step[i] - 1, data + i * PAGE);
	}
	while (left > 0) {
		if (nbd_poll(nbd, -1) < 0)
			die("the new connection");
		for (unsigned i = 0; i < REQUESTS; i++) {
			if (step[i] == 3 || !is_done(nbd, cookies[i]))
				continue;
			if (++step[i] == 3)
				left--;
			else
				cookies[i] = start(nbd, first + i, content + 1, data + i * PAGE);
		}
	}
}

static void __attribute__((noreturn)) usage(void)
{
	fputs("usage: takeover URI FIRST-PAGE REPEATS PATIENCE-MS SLOW FAST SETTLE-MS\n"
	      "Runs the command SLOW, which makes the backend slow, and writes 20 pages; after the patience runs FAST, connects again to the same URI,\n"
	      "which is to take the first connection's place, writes again what was not answered, and then newer content. Waits SETTLE-MS at\n"
	      "the end and reads all pages. Exit codes: 0, 1 a page holds something else than what was written last, 2 another failure.\n", stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	unsigned repeats, stale = 0, again = 0;
	unsigned char want[PAGE];
	struct nbd_handle *nbd;
	uint64_t base;

	if (argc != 8)
		usage();
	uri = argv[1];
	base = strtoull(argv[2], NULL, 10);
	repeats = (unsigned)strtoul(argv[3], NULL, 10);
	data = malloc(2 * REQUESTS * PAGE);
	if (!data)
		die("memory");
	for (unsigned n = 0; n < repeats; n++) {
		unsigned char *old_data = data + REQUESTS * PAGE;
		uint64_t first = base + n * REQUESTS;
		bool answered[REQUESTS] = { false };
		int64_t cookies[REQUESTS];
		struct nbd_handle *old = attach();

		run(argv[5]);
		for (unsigned i = 0; i < REQUESTS; i++)
			cookies[i] = start(old, first + i, 1, old_data + i * PAGE);
		serve(old, cookies, answered, strtol(argv[4], NULL, 10));
		for (unsigned i = 0; i < REQUESTS; i++)
			again += !answered[i];
		run(argv[6]);
		nbd = attach();
		write_newer(nbd, first, answered, 1);
		nbd_close(nbd);
		nbd_close(old);
	}
	wait_ms(strtol(argv[7], NULL, 10));
	nbd = attach();
	for (uint64_t page = base; page < base + repeats * (uint64_t)REQUESTS; page++) {
		if (nbd_pread(nbd, data, PAGE, page * PAGE, 0) < 0)
			die("read");
		fill(want, page, 2);
		stale += memcmp(data, want, PAGE) != 0;
	}
	nbd_shutdown(nbd, 0);
	nbd_close(nbd);
	printf("takeover: repeats=%u resent=%u stale=%u\n", repeats, again, stale);
	return stale ? 1 : 0;
}
