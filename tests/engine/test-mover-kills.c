/* SPDX-License-Identifier: BSD-3-Clause */
/* The mover is killed at random instants while a client writes, reads and discards at depth: its successor goes on with the same socket, and
 * the client sees every reply once and every page as it was written last.
 *
 * Three processes: this one is the daemon (it holds all that must outlive), a child serves, another is the client.  NBDSWAP_KILLS in the
 * environment: how many (default 60).
 */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "common/nbdproto.h"
#include "store/page.h"
#include "store/settle.h"
#include "tests/engine/heldworker.h"

#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGES = 4096, DEPTH = 96, MOST = 40 /* pages of a request */, COMMON = 1024 };

static uint64_t seed = 88172645463325252ull;

static uint64_t rnd(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	return seed ^= seed << 17;
}

/* ---- the client ---- */

struct asked {
	bool used;
	uint16_t command;
	uint32_t page, pages;
	uint64_t version;
};

struct client {
	int sock;
	struct asked asked[DEPTH];
	uint64_t have[PAGES]; /* version; 0: zeros */
	bool busy[PAGES];
	uint64_t version, replies;
	unsigned under_way;
};

static void give_up(const char *what, uint64_t a, uint64_t b)
{
	fprintf(stderr, "client: %s (%llu, %llu)\n", what, (unsigned long long)a, (unsigned long long)b);
	_exit(1);
}

static void all(int sock, void *p, size_t n, bool out)
{
	unsigned char *c = p;

	while (n) {
		ssize_t r = out ? write(sock, c, n) : read(sock, c, n);

		if (r <= 0)
			give_up(out ? "cannot send" : "connection ended", (uint64_t)errno, n);
		c += r;
		n -= (size_t)r;
	}
}

/* One version in 4 is a page of one value. */
static void fill(unsigned char *p, uint32_t page, uint64_t version)
{
	uint64_t w[2] = { version, version % 4 ? page : version };

	for (size_t i = 0; i < PAGE_BYTES; i += sizeof(w))
		memcpy(p + i, w, sizeof(w));
}

static bool pick(struct client *c, struct asked *a)
{
	a->pages = rnd() % 3 ? 1 + (uint32_t)(rnd() % 4) : 1 + (uint32_t)(rnd() % MOST);
	a->page = (uint32_t)(rnd() % (PAGES - a->pages));
	for (uint32_t i = 0; i < a->pages; i++)
		if (c->busy[a->page + i])
			return false;
	return true;
}

static void ask(struct client *c, unsigned k)
{
	static unsigned char data[MOST * PAGE_BYTES];
	static const uint16_t commands[] = { NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_WRITE, NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_TRIM,
					     NBD_CMD_WRITE_ZEROES, NBD_CMD_READ, NBD_CMD_FLUSH };
	struct asked *a = &c->asked[k];
	struct nbd_request r = { .magic = htobe32(NBD_REQUEST_MAGIC), .cookie = k | ++c->version << 16 };

	a->command = commands[rnd() % (rnd() % 50 ? 8 : 9)];
	if (a->command == NBD_CMD_FLUSH)
		a->pages = 0;
	else if (!pick(c, a))
		return;
	a->used = true;
	a->version = c->version;
	c->under_way++;
	r.type = htobe16(a->command);
	r.flags = htobe16(a->command == NBD_CMD_WRITE && rnd() % 64 == 0 ? NBD_CMD_FLAG_FUA : 0);
	r.offset = a->pages ? htobe64((uint64_t)a->page * PAGE_BYTES) : 0;
	r.length = htobe32(a->pages * PAGE_BYTES);
	for (uint32_t i = 0; i < a->pages; i++) {
		c->busy[a->page + i] = true;
		if (a->command == NBD_CMD_WRITE)
			fill(data + i * PAGE_BYTES, a->page + i, a->version);
	}
	all(c->sock, &r, sizeof(r), true);
	if (a->command == NBD_CMD_WRITE)
		all(c->sock, data, a->pages * PAGE_BYTES, true);
}

static void answer(struct client *c)
{
	static unsigned char data[MOST * PAGE_BYTES], want[PAGE_BYTES];
	struct nbd_simple_reply r;
	struct asked *a;
	unsigned k;

	all(c->sock, &r, sizeof(r), false);
	k = (unsigned)(r.cookie & 0xffff);
	if (be32toh(r.magic) != NBD_SIMPLE_REPLY_MAGIC || k >= DEPTH)
		give_up("not a reply", be32toh(r.magic), r.cookie);
	a = &c->asked[k];
	if (!a->used || r.cookie >> 16 != a->version || r.error)
		give_up("a reply that is not due, or an error", r.cookie, be32toh(r.error));
	if (a->command == NBD_CMD_READ)
		all(c->sock, data, a->pages * PAGE_BYTES, false);
	for (uint32_t i = 0; i < a->pages; i++) {
		uint64_t *have = &c->have[a->page + i];

		if (a->command == NBD_CMD_READ) {
			memset(want, 0, PAGE_BYTES);
			if (*have)
				fill(want, a->page + i, *have);
			if (memcmp(want, data + i * PAGE_BYTES, PAGE_BYTES) != 0)
				give_up("a wrong page, and its version", a->page + i, *have);
		} else {
			*have = a->command == NBD_CMD_WRITE ? a->version : 0;
		}
		c->busy[a->page + i] = false;
	}
	a->used = false;
	c->under_way--;
	c->replies++;
}

static int run_client(int sock, uint64_t *replies, const int *stop)
{
	static struct client c;
	char go[2];

	c.sock = sock;
	all(sock, go, 2, false);
	if (memcmp(go, "GO", 2) != 0)
		give_up("no preamble", 0, 0);
	while (!__atomic_load_n(stop, __ATOMIC_RELAXED) || c.under_way) {
		if (!__atomic_load_n(stop, __ATOMIC_RELAXED))
			for (unsigned k = 0, n = (unsigned)(rnd() % 8); n && k < DEPTH; k++)
				if (!c.asked[k].used) {
					ask(&c, k);
					n--;
				}
		if (c.under_way)
			answer(&c);
		__atomic_store_n(replies, c.replies, __ATOMIC_RELAXED);
	}
	return 0;
}

/* ---- the test ---- */

static void wait_ms(unsigned ms)
{
	struct timespec t = { .tv_nsec = ms * 1000000l };

	nanosleep(&t, NULL);
}

static bool running(pid_t pid)
{
	return waitpid(pid, NULL, WNOHANG) == 0;
}

static void kill_it(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void run(bool direct)
{
	struct held h;
	uint64_t *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), last = 0;
	int *stop = (int *)(shared + 1), status, kills = getenv("NBDSWAP_KILLS") ? atoi(getenv("NBDSWAP_KILLS")) : 60, client_sock;
	struct errbuf e;
	pid_t worker = 0, client;

	held_make(&h, PAGES, COMMON, direct, &client_sock);
	fcntl(client_sock, F_SETFL, 0);
	client = fork();
	if (client == 0) {
		close(h.sock);
		_exit(run_client(client_sock, shared, stop));
	}
	close(client_sock);
	for (int i = 0; i <= kills; i++) {
		worker = fork();
		if (worker == 0) {
			held_serve(&h, i > 0, NULL);
			_exit(1);
		}
		if (i < kills / 2) /* a good run; others are killed as soon as they can be */
			for (int n = 0; n < 10000 && __atomic_load_n(shared, __ATOMIC_RELAXED) == last && running(worker) && running(client); n++)
				wait_ms(1);
		wait_ms((unsigned)(rnd() % (i % 2 ? 4 : 40)));
		assert_true(running(worker));
		assert_true(running(client));
		last = __atomic_load_n(shared, __ATOMIC_RELAXED);
		if (i == kills)
			break;
		kill_it(worker);
		assert_int_equal(table_settle(h.table, h.file, NULL, &e), 0);
	}
	__atomic_store_n(stop, 1, __ATOMIC_RELAXED);
	assert_int_equal(waitpid(client, &status, 0), client);
	assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	printf("%d kills, %llu replies\n", kills, (unsigned long long)*shared);
	kill_it(worker);
	held_free(&h);
}

static void test_direct(void **state)
{
	run(true);
}

static void test_pool(void **state)
{
	run(false);
}

int main(void)
{
	const struct CMUnitTest plain[] = { cmocka_unit_test(test_direct), cmocka_unit_test(test_pool) };
	const struct CMUnitTest sealed[] = { cmocka_unit_test(test_pool) };

	return cmocka_run_group_tests_name("plain", plain, NULL, NULL) +
	       cmocka_run_group_tests_name("sealed", sealed, unit_seal, NULL);
}
