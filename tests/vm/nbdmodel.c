/* SPDX-License-Identifier: BSD-3-Clause */
/* An NBD client that knows what every page must hold, for tests in which the storage fails; see usage(). What it knows
 * lies in a file, so that a test can change the storage between two runs.
 *
 * A page carries its number and the version of its content in its first two words, and the rest follows from
 * them: a page that is old, another's or torn is not only found but named.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libnbd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define WORDS (PAGE / sizeof(uint64_t))
#define REQUEST_PAGES 32u
#define DEPTH 8
#define WRONG_SHOWN 5

enum { CODE_WRONG = 1, CODE_SYSTEM = 2 };

struct page_model {
	uint32_t version; /* of the last acknowledged write; 0: zeros */
	uint32_t failed;  /* of a write that was answered with an error since; 0: none */
	uint32_t open;	  /* 1 more than that of a write or trim (0) that is not answered, perhaps of a client that was killed; 0: none */
};

struct model {
	uint32_t last_version;
	uint32_t pages;
	struct page_model page[];
};

enum op { OP_READ, OP_WRITE, OP_TRIM };

struct request {
	int64_t cookie; /* 0: not in flight */
	enum op op;
	uint32_t first, pages, version;
	double start;
	unsigned char data[REQUEST_PAGES * PAGE];
};

static struct nbd_handle *nbd;
static struct model *model;
static struct request requests[DEPTH];

static struct {
	uint64_t requests, read_errors, write_errors; /* requests */
	uint64_t right, unreadable, lost, old, wrong; /* pages */
	double longest;
} count;

static void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("nbdmodel: ", stdout);
	vprintf(fmt, ap);
	putchar('\n');
	va_end(ap);
	exit(CODE_SYSTEM);
}

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static uint64_t
splitmix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static uint64_t
random_number(uint64_t below)
{
	static uint64_t state;

	if (state == 0)
		state = (uint64_t)model->last_version + 1;
	return splitmix(state++) % below;
}

static void
fill(uint64_t *word, uint64_t page, uint64_t version)
{
	uint64_t x = splitmix(page << 32 ^ version);

	if (version == 0) {
		memset(word, 0, PAGE);
		return;
	}
	word[0] = page;
	word[1] = version;
	for (size_t i = 2; i < WORDS; i++, x = x * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407))
		word[i] = x;
}

static bool
holds(const void *data, uint64_t page, uint64_t version)
{
	uint64_t want[WORDS];

	fill(want, page, version);
	return memcmp(data, want, PAGE) == 0;
}

static void
show_wrong(uint32_t page, const void *data)
{
	const struct page_model *m = &model->page[page];
	uint64_t head[2];

	if (count.wrong++ >= WRONG_SHOWN)
		return;
	memcpy(head, data, sizeof head);
	printf("nbdmodel: WRONG page %" PRIu32 ": acknowledged was version %" PRIu32 ", failed %" PRIu32 ", it holds ",
	       page, m->version, m->failed);
	if (holds(data, page, 0))
		puts("zeros");
	else if (head[1] != 0 && holds(data, head[0], head[1]))
		printf("version %" PRIu64 " of page %" PRIu64 "\n", head[1], head[0]);
	else
		printf("nothing that was ever written (%016" PRIx64 " %016" PRIx64 ")\n", head[0], head[1]);
}

/* A page whose last write failed is to be an error; its last acknowledged content is no lie, but counted apart. */
static void
judge(uint32_t page, const void *data)
{
	const struct page_model *m = &model->page[page];

	if (m->open && (holds(data, page, m->version) || holds(data, page, m->open - 1)))
		count.right++;
	else if (!holds(data, page, m->version))
		show_wrong(page, data);
	else if (m->failed)
		count.old++;
	else
		count.right++;
}

static bool
overlaps(uint32_t first, uint32_t pages)
{
	for (int i = 0; i < DEPTH; i++)
		if (requests[i].cookie && first < requests[i].first + requests[i].pages &&
		    requests[i].first < first + pages)
			return true;
	return false;
}

static void
start(struct request *r, enum op op, uint32_t first, uint32_t pages)
{
	uint64_t offset = (uint64_t)first * PAGE, length = (uint64_t)pages * PAGE;

	r->op = op;
	r->first = first;
	r->pages = pages;
	r->version = op == OP_WRITE ? ++model->last_version : 0;
	r->start = now();
	count.requests++;
	for (uint32_t i = 0; i < pages && op != OP_READ; i++)
		model->page[first + i].open = r->version + 1;
	switch (op) {
	case OP_READ:
		r->cookie = nbd_aio_pread(nbd, r->data, length, offset, NBD_NULL_COMPLETION, 0);
		break;
	case OP_WRITE:
		for (uint32_t i = 0; i < pages; i++)
			fill((uint64_t *)(void *)(r->data + (size_t)i * PAGE), first + i, r->version);
		r->cookie = nbd_aio_pwrite(nbd, r->data, length, offset, NBD_NULL_COMPLETION, 0);
		break;
	case OP_TRIM:
		r->cookie = nbd_aio_trim(nbd, length, offset, NBD_NULL_COMPLETION, 0);
		break;
	}
	if (r->cookie < 0)
		die("request: %s", nbd_get_error());
}

static void
finish(struct request *r, bool good)
{
	double took = now() - r->start;

	if (took > count.longest)
		count.longest = took;
	r->cookie = 0;
	if (!good)
		++*(r->op == OP_READ ? &count.read_errors : &count.write_errors);
	for (uint32_t i = 0; i < r->pages; i++) {
		struct page_model *m = &model->page[r->first + i];

		if (r->op == OP_READ) {
			if (good)
				judge(r->first + i, r->data + (size_t)i * PAGE);
			else if (r->pages == 1)
				++*(m->failed || m->open ? &count.lost : &count.unreadable);
			continue;
		}
		m->open = 0;
		if (good) {
			m->version = r->version;
			m->failed = 0;
		} else {
			m->failed = r->version;
		}
	}
}

/* Works off what has been answered. */
static void
reap(void)
{
	if (nbd_poll(nbd, -1) < 0)
		die("%s", nbd_get_error());
	for (int i = 0; i < DEPTH; i++) {
		int done = requests[i].cookie ? nbd_aio_command_completed(nbd, (uint64_t)requests[i].cookie) : 0;

		if (done != 0)
			finish(&requests[i], done > 0);
	}
	if (nbd_aio_is_dead(nbd) || nbd_aio_is_closed(nbd))
		die("the connection has ended");
}

static struct request *
free_request(void)
{
	for (;;) {
		for (int i = 0; i < DEPTH; i++)
			if (!requests[i].cookie)
				return &requests[i];
		reap();
	}
}

static void
wait_for_all(void)
{
	for (int i = 0; i < DEPTH; i++)
		while (requests[i].cookie)
			reap();
}

static void
all_pages(enum op op, uint32_t step)
{
	for (uint32_t page = 0; page < model->pages; page += step)
		start(free_request(), op, page, step < model->pages - page ? step : model->pages - page);
	wait_for_all();
}

static void
mix(uint64_t n)
{
	while (n-- > 0) {
		struct request *r = free_request();
		uint32_t pages = random_number(2) ? 1 : 1 + (uint32_t)random_number(REQUEST_PAGES), first;
		uint64_t dice = random_number(16);

		do
			first = (uint32_t)random_number(model->pages - pages + 1);
		while (overlaps(first, pages));
		start(r, dice == 0 ? OP_TRIM : dice < 8 ? OP_WRITE : OP_READ, first, pages);
	}
	wait_for_all();
}

static void
open_model(const char *path, uint32_t pages)
{
	size_t bytes = sizeof *model + pages * sizeof model->page[0];
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0 || ((size_t)st.st_size != bytes && ftruncate(fd, (off_t)bytes) < 0))
		die("%s: %s", path, strerror(errno));
	model = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (model == MAP_FAILED)
		die("%s: %s", path, strerror(errno));
	model->pages = pages;
	close(fd);
}

static void __attribute__((noreturn))
usage(void)
{
	fputs("usage: nbdmodel URI MODEL PAGES write | read | mix N\n"
	      "The first PAGES pages of an export: writes them all, reads them one by one, or sends N random reads, writes and\n"
	      "trims, 8 at a time, and compares with MODEL (made anew when missing: all pages are zeros). Errors are counted;\n"
	      "right, unreadable (error, but the last write was good), lost (error, and the last write had failed), old (last\n"
	      "write failed, the one before is read) and wrong are pages. Of a write that a client which was killed had under way either\n"
	      "content is right. Exit codes: 0, 1 something wrong was read, 2 another\n"
	      "failure, such as the end of the connection.\n",
	      stderr);
	exit(CODE_SYSTEM);
}

int
main(int argc, char **argv)
{
	if (argc < 5)
		usage();
	open_model(argv[2], (uint32_t)strtoul(argv[3], NULL, 10));
	if (model->pages < REQUEST_PAGES * DEPTH * 2)
		die("too few pages");
	nbd = nbd_create();
	if (!nbd || nbd_connect_uri(nbd, argv[1]) < 0)
		die("%s: %s", argv[1], nbd_get_error());
	if (argc == 5 && strcmp(argv[4], "write") == 0)
		all_pages(OP_WRITE, REQUEST_PAGES);
	else if (argc == 5 && strcmp(argv[4], "read") == 0)
		all_pages(OP_READ, 1);
	else if (argc == 6 && strcmp(argv[4], "mix") == 0)
		mix(strtoul(argv[5], NULL, 10));
	else
		usage();
	nbd_shutdown(nbd, 0);
	printf("nbdmodel: %s: requests=%" PRIu64 " write_errors=%" PRIu64 " read_errors=%" PRIu64 " right=%" PRIu64
	       " unreadable=%" PRIu64 " lost=%" PRIu64 " old=%" PRIu64 " wrong=%" PRIu64 " longest_ms=%.0f\n",
	       argv[4], count.requests, count.write_errors, count.read_errors, count.right, count.unreadable, count.lost,
	       count.old, count.wrong, count.longest * 1000);
	return count.wrong ? CODE_WRONG : 0;
}
