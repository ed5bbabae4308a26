/* SPDX-License-Identifier: BSD-3-Clause */
/* An NBD client that believes nothing: every reply must be to a request in flight, without an error, once; every page that is read must be
 * one of those that the model (pagemodel.h) allows.  Its requests overlap, go out in pieces, and wait at times to be received, so that
 * something of every kind is under way at any time.  At the first wrong thing it says what, and ends with exit code 1.
 */
#include "config.h"

#include "common/nbdproto.h"
#include "tests/engine/checkconn.h"
#include "tests/engine/pagemodel.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define MOST_CONNECTIONS 64
#define EXIT_TROUBLE 2
#define HOT_PAGES 48u /* where many requests meet */

static struct {
	const char *unix_path, *host, *export;
	int port;
	unsigned connections, depth, most;
	uint32_t pages;
	uint64_t operations;
	double seconds, stall;
	bool fresh, calm;
} opt = { .host = "127.0.0.1", .export = "", .connections = 2, .depth = 128, .most = CHECK_PAGES, .stall = 60 };

static struct check_conn *conns;
static struct pagemodel *model;
static volatile sig_atomic_t stop;
static bool finished;
static uint64_t dice;
static struct {
	uint64_t operations, of[8], pages;
} count;

static uint64_t roll(uint64_t below)
{
	uint64_t x = dice += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return (x ^ x >> 31) % below;
}

static void on_signal(int sig)
{
	(void)sig;
	stop = 1;
}

/* ---- what comes back ---- */

static bool changes(const struct check_request *r)
{
	return r->type == NBD_CMD_WRITE || r->type == NBD_CMD_TRIM || r->type == NBD_CMD_WRITE_ZEROES;
}

static void page_came(void *arg, struct check_conn *c, const struct check_request *r, uint32_t page, const void *data)
{
	char text[4096];

	(void)arg;
	count.pages++;
	if (!pagemodel_read_ended(model, page, data, r->begun, pagemodel_now(model), text, sizeof(text)))
		wrong(c, "%s", text);
}

static void request_answered(void *arg, struct check_conn *c, const struct check_request *r)
{
	uint64_t now = pagemodel_now(model);

	(void)arg;
	(void)c;
	count.operations++;
	count.of[r->type]++;
	for (uint32_t i = 0; changes(r) && i < r->pages; i++)
		pagemodel_write_ended(model, r->first + i, r->version, r->begun, now);
}

static const struct check_ops ops = { page_came, request_answered, NULL };

/* ---- what is asked for ---- */

static void put(struct check_conn *c, uint16_t type, uint16_t flags, uint32_t first, uint32_t pages)
{
	struct check_request r = { .type = type, .flags = flags, .first = first, .pages = pages, .begun = pagemodel_now(model) };
	unsigned char *data;

	if (type == NBD_CMD_WRITE)
		r.version = pagemodel_version(model, c->number);
	for (uint32_t i = 0; i < pages; i++) {
		if (type == NBD_CMD_READ)
			pagemodel_read_begins(model, first + i);
		else if (changes(&r))
			pagemodel_write_begins(model, first + i, r.version, r.begun);
	}
	check_put(c, &r, &data);
	for (uint32_t i = 0; type == NBD_CMD_WRITE && i < pages; i++)
		pagemodel_fill(first + i, r.version, data + (size_t)i * PAGE_BYTES);
}

static bool may_write(uint32_t first, uint32_t pages)
{
	for (uint32_t i = 0; i < pages; i++)
		if (!pagemodel_may_write(model, first + i))
			return false;
	return true;
}

static uint16_t some_type(const struct check_conn *c, uint16_t *flags)
{
	uint64_t d = roll(64);
	uint16_t type = d < 28 ? NBD_CMD_READ : d < 56 ? NBD_CMD_WRITE : d < 58 ? NBD_CMD_TRIM : d < 61 ? NBD_CMD_WRITE_ZEROES : NBD_CMD_FLUSH;

	if ((type == NBD_CMD_TRIM && !(c->flags & NBD_FLAG_SEND_TRIM)) ||
	    (type == NBD_CMD_WRITE_ZEROES && !(c->flags & NBD_FLAG_SEND_WRITE_ZEROES)) ||
	    (type == NBD_CMD_FLUSH && !(c->flags & NBD_FLAG_SEND_FLUSH)))
		type = NBD_CMD_WRITE;
	*flags = 0;
	if (type != NBD_CMD_READ && type != NBD_CMD_FLUSH && (c->flags & NBD_FLAG_SEND_FUA) && roll(16) == 0)
		*flags = NBD_CMD_FLAG_FUA;
	return type;
}

/* One more, wherever it may be; false when there is no room. */
static bool put_something(struct check_conn *c)
{
	uint32_t region = roll(4) || opt.pages < HOT_PAGES ? opt.pages : HOT_PAGES, pages, first;
	uint16_t flags, type = some_type(c, &flags);

	if (!check_room(c, opt.depth, (size_t)opt.most * PAGE_BYTES))
		return false;
	pages = roll(2) ? 1 : 1 + (uint32_t)roll(opt.most < region ? opt.most : region);
	first = (uint32_t)roll(region - pages + 1);
	if (type == NBD_CMD_FLUSH) {
		first = 0;
		pages = 1;
	} else if (type != NBD_CMD_READ && !may_write(first, pages)) {
		type = NBD_CMD_READ;
		flags = 0;
	}
	put(c, type, flags, first, pages);
	return true;
}

/* ---- the loop ---- */

static unsigned all_in_flight(void)
{
	unsigned n = 0;

	for (unsigned i = 0; i < opt.connections; i++)
		n += conns[i].in_flight;
	return n;
}

static void look_for_the_missing(const struct check_conn *c, double now)
{
	for (unsigned i = 0; i < CHECK_DEPTH; i++)
		if (c->request[i].used && now - c->request[i].since > opt.stall)
			wrong(c, "a request was not answered for %.0f s", opt.stall);
}

/* Not received for a while, or sent in pieces: replies queue up in the server, and requests come in parts. */
static void misbehave(struct check_conn *c, double now)
{
	if (!opt.calm && c->in_flight && roll(400) == 0)
		c->deaf_until = now + (double)roll(30) / 1000;
}

static void serve(struct check_conn *c, short events, double now)
{
	if (events & POLLOUT) {
		size_t n;

		do
			n = check_send(c, opt.calm || roll(4) ? CHECK_OUT : 1 + (size_t)roll(20000));
		while (n && roll(2));
	}
	if (now >= c->deaf_until && (events & (POLLIN | POLLHUP | POLLERR))) {
		if (c->deaf_until > 0) {
			c->deaf_until = 0;
			c->heard = now;
		}
		check_receive(c, &ops);
		misbehave(c, now);
	}
}

static void wait_and_serve(void)
{
	struct pollfd p[MOST_CONNECTIONS];
	static double looked;
	double now = check_now();

	for (unsigned i = 0; i < opt.connections; i++) {
		struct check_conn *c = &conns[i];

		p[i] = (struct pollfd){ .fd = c->fd, .events = c->out_to ? POLLOUT : 0 };
		if (now >= c->deaf_until)
			p[i].events |= POLLIN;
	}
	if (poll(p, opt.connections, 5) < 0 && errno != EINTR)
		wrong(NULL, "poll: %s", strerror(errno));
	now = check_now();
	for (unsigned i = 0; i < opt.connections; i++)
		serve(&conns[i], p[i].revents, now);
	if (now - looked < 1)
		return;
	looked = now;
	for (unsigned i = 0; i < opt.connections; i++)
		look_for_the_missing(&conns[i], now);
}

static void wait_for_all(void)
{
	while (all_in_flight())
		wait_and_serve();
}

/* Of all pages, in large requests over all connections. */
static void all_pages(uint16_t type)
{
	unsigned next = 0;

	for (uint32_t first = 0; first < opt.pages;) {
		uint32_t pages = opt.pages - first < opt.most ? opt.pages - first : opt.most;
		struct check_conn *c = &conns[next++ % opt.connections];

		while (!check_room(c, opt.depth, (size_t)opt.most * PAGE_BYTES))
			wait_and_serve();
		put(c, type, 0, first, pages);
		first += pages;
	}
	wait_for_all();
}

static void at_random(void)
{
	double end = opt.seconds > 0 ? check_now() + opt.seconds : 0;

	while (!stop && (!opt.operations || count.operations < opt.operations) && (end == 0 || check_now() < end)) {
		for (unsigned i = 0; i < opt.connections; i++) {
			struct check_conn *c = &conns[i];

			/* Not always full: at times it waits for all, at times for half. */
			if (roll(64) == 0 && c->in_flight > opt.depth / 2)
				continue;
			for (uint64_t n = roll(opt.depth) + 1; n > 0 && put_something(c); n--)
				;
		}
		wait_and_serve();
	}
	wait_for_all();
}

/* ---- beginning and end ---- */

static int connect_to(void)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port) };
	int fd = socket(opt.unix_path ? AF_UNIX : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), on = 1, r;

	if (opt.unix_path) {
		snprintf(un.sun_path, sizeof(un.sun_path), "%s", opt.unix_path);
		r = connect(fd, (struct sockaddr *)&un, sizeof(un));
	} else {
		if (inet_pton(AF_INET, opt.host, &in.sin_addr) != 1) {
			errno = EINVAL;
			r = -1;
		} else {
			r = connect(fd, (struct sockaddr *)&in, sizeof(in));
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
		}
	}
	if (r < 0) {
		printf("nbdcheck: cannot connect: %s\n", strerror(errno));
		exit(EXIT_TROUBLE);
	}
	return fd;
}

static void connect_all(void)
{
	conns = calloc(opt.connections, sizeof(*conns));
	if (!conns)
		abort();
	for (unsigned i = 0; i < opt.connections; i++) {
		conns[i].number = i;
		check_negotiate(&conns[i], connect_to(), opt.export);
		if (conns[i].size != conns[0].size)
			wrong(&conns[i], "the export has %" PRIu64 " bytes here, and %" PRIu64 " on the first connection", conns[i].size, conns[0].size);
	}
	if (opt.pages == 0 || opt.pages > conns[0].size / PAGE_BYTES)
		opt.pages = (uint32_t)(conns[0].size / PAGE_BYTES < PAGEMODEL_PAGES ? conns[0].size / PAGE_BYTES : PAGEMODEL_PAGES);
	model = pagemodel_make(opt.pages);
}

static void report(const char *verdict, double seconds)
{
	double pause = 0, request = 0;

	for (unsigned i = 0; i < opt.connections; i++) {
		pause = conns[i].longest_pause > pause ? conns[i].longest_pause : pause;
		request = conns[i].longest_request > request ? conns[i].longest_request : request;
	}
	printf("nbdcheck: %s: operations=%" PRIu64 " reads=%" PRIu64 " writes=%" PRIu64 " trims=%" PRIu64 " zeroes=%" PRIu64 " flushes=%" PRIu64
	       " pages_checked=%" PRIu64 " seconds=%.1f longest_pause_ms=%.0f longest_request_ms=%.0f\n",
	       verdict, count.operations, count.of[NBD_CMD_READ], count.of[NBD_CMD_WRITE], count.of[NBD_CMD_TRIM],
	       count.of[NBD_CMD_WRITE_ZEROES], count.of[NBD_CMD_FLUSH], count.pages, seconds, pause * 1000, request * 1000);
}

static void at_exit_after_wrong(void)
{
	if (!finished)
		report("so far", 0);
}

static void usage(void)
{
	fputs("usage: nbdcheck (--unix PATH | --port N [--host ADDRESS]) [--export NAME] [--connections N] [--depth N] [--pages N]\n"
	      "  [--most PAGES] [--operations N] [--seconds S] [--stall S] [--seed N] [--fresh] [--calm]\n"
	      "Writes the first PAGES pages (--fresh: does not, they must be zeros), sends random requests until N operations or S\n"
	      "seconds or SIGTERM, reads all pages, and says goodbye.  A request without an answer for --stall seconds is wrong.\n"
	      "--calm: receives and sends as soon as it can.  Exit codes: 0, 1 something was wrong, 2 usage, no connection.\n",
	      stderr);
	exit(EXIT_TROUBLE);
}

enum { UNIX = 1, PORT, HOST, EXPORT, CONNECTIONS, DEPTH, PAGES, MOST, OPERATIONS, SECONDS, STALL, SEED, FRESH, CALM };

static void parse(int argc, char **argv)
{
	static const struct option longs[] = {
		{ "unix", 1, NULL, UNIX }, { "port", 1, NULL, PORT }, { "host", 1, NULL, HOST }, { "export", 1, NULL, EXPORT },
		{ "connections", 1, NULL, CONNECTIONS }, { "depth", 1, NULL, DEPTH }, { "pages", 1, NULL, PAGES }, { "most", 1, NULL, MOST },
		{ "operations", 1, NULL, OPERATIONS }, { "seconds", 1, NULL, SECONDS }, { "stall", 1, NULL, STALL },
		{ "seed", 1, NULL, SEED }, { "fresh", 0, NULL, FRESH }, { "calm", 0, NULL, CALM }, { NULL, 0, NULL, 0 },
	};
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case UNIX: opt.unix_path = optarg; break;
		case PORT: opt.port = atoi(optarg); break;
		case HOST: opt.host = optarg; break;
		case EXPORT: opt.export = optarg; break;
		case CONNECTIONS: opt.connections = (unsigned)atoi(optarg); break;
		case DEPTH: opt.depth = (unsigned)atoi(optarg); break;
		case PAGES: opt.pages = (uint32_t)strtoul(optarg, NULL, 10); break;
		case MOST: opt.most = (unsigned)atoi(optarg); break;
		case OPERATIONS: opt.operations = strtoull(optarg, NULL, 10); break;
		case SECONDS: opt.seconds = atof(optarg); break;
		case STALL: opt.stall = atof(optarg); break;
		case SEED: dice = strtoull(optarg, NULL, 0); break;
		case FRESH: opt.fresh = true; break;
		case CALM: opt.calm = true; break;
		default: usage();
		}
	}
	if (optind != argc || !opt.unix_path == !opt.port || opt.connections < 1 || opt.connections > MOST_CONNECTIONS || opt.depth < 1 ||
	    opt.depth > CHECK_DEPTH || opt.most < 1 || opt.most > CHECK_PAGES)
		usage();
}

int main(int argc, char **argv)
{
	struct sigaction act = { .sa_handler = on_signal };
	double start = check_now();

	setvbuf(stdout, NULL, _IOLBF, 0);
	dice = (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
	parse(argc, argv);
	printf("nbdcheck: --seed=%" PRIu64 "\n", dice);
	connect_all();
	atexit(at_exit_after_wrong);
	sigaction(SIGTERM, &act, NULL);
	sigaction(SIGINT, &act, NULL);
	if (!opt.fresh)
		all_pages(NBD_CMD_WRITE);
	at_random();
	all_pages(NBD_CMD_READ);
	for (unsigned i = 0; i < opt.connections; i++)
		check_goodbye(&conns[i]);
	finished = true;
	report("ok", check_now() - start);
	return 0;
}
