/* SPDX-License-Identifier: BSD-3-Clause */
/* Every instant of a death: the worker is killed before each of its stores to the session's memory, and before and after each system call
 * and each step at the store of pages, in turn; another goes on, and its client sees every reply once and every page right.
 *
 * The session's memory (but for the ring that the kernel receives into) is read-only to the worker: each store faults, is counted, and is
 * then let through, one instruction at a time.  What a life does in detail depends on what the kernel has ready when, so the instants of two
 * lives are not quite the same; there are enough of both.
 *
 * In the short form every few instants, by an offset that changes; NBDSWAP_LONG=1: each, and of each the successor is killed, too.
 */
#include "config.h"

#include "tests/engine/checkconn.h"
#include "tests/engine/heldworker.h"
#include "tests/engine/pagemodel.h"

#include "common/nbdproto.h"
#include "store/settle.h"

#include <errno.h>
#include <inttypes.h>
#include <liburing.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#define PAGES 256u
#define REQUESTS 40u
#define COMMON 256u /* pages of buffers: the least */
#define SECONDS 30 /* for a life that takes milliseconds */

/* ---- instants ---- */

static long instants_left = -1; /* until the death; -1: none */
static _Atomic bool watching; /* the session is about to begin */
static unsigned char *watched;
static size_t watched_bytes;

static void instant(void)
{
	if (instants_left < 0 || !atomic_load(&watching))
		return;
	if (instants_left-- == 0)
		kill(getpid(), SIGKILL);
}

static void protect(int how)
{
	if (mprotect(watched, watched_bytes, how) < 0)
		abort();
}

#define TRAP_FLAG 0x100 /* of EFLAGS: one instruction */

static void on_store(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;
	const unsigned char *at = info->si_addr;

	if (at < watched || at >= watched + watched_bytes) {
		signal(sig, SIG_DFL);
		return;
	}
	instant();
	protect(PROT_READ | PROT_WRITE);
	u->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void on_stored(int sig, siginfo_t *info, void *context)
{
	ucontext_t *u = context;

	(void)sig;
	(void)info;
	protect(PROT_READ);
	u->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)TRAP_FLAG;
}

static void watch(struct sess_mem *m)
{
	struct sigaction store = { .sa_sigaction = on_store, .sa_flags = SA_SIGINFO };
	struct sigaction stored = { .sa_sigaction = on_stored, .sa_flags = SA_SIGINFO };

	sigaction(SIGSEGV, &store, NULL);
	sigaction(SIGTRAP, &stored, NULL);
	watched = (unsigned char *)m;
	watched_bytes = offsetof(struct sess_mem, rx);
	protect(PROT_READ);
	atomic_store(&watching, true);
}

/* The mover's thread blocks all signals, and these two come from itself. */
int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old);
extern int __real_pthread_sigmask(int how, const sigset_t *set, sigset_t *old);

int __wrap_pthread_sigmask(int how, const sigset_t *set, sigset_t *old)
{
	sigset_t without = *set;

	sigdelset(&without, SIGSEGV);
	sigdelset(&without, SIGTRAP);
	return __real_pthread_sigmask(how, &without, old);
}

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags);
extern ssize_t __real_sendmsg(int fd, const struct msghdr *msg, int flags);

ssize_t __wrap_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	ssize_t n;

	instant();
	n = __real_sendmsg(fd, msg, flags);
	instant();
	return n;
}

int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned n, struct __kernel_timespec *t, sigset_t *s);
extern int __real_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned n, struct __kernel_timespec *t,
						   sigset_t *s);

int __wrap_io_uring_submit_and_wait_timeout(struct io_uring *ring, struct io_uring_cqe **cqe, unsigned n, struct __kernel_timespec *t, sigset_t *s)
{
	int r;

	instant();
	r = __real_io_uring_submit_and_wait_timeout(ring, cqe, n, t, s);
	instant();
	return r;
}

enum rw_next __wrap_rw_begin(struct rw *rw);
extern enum rw_next __real_rw_begin(struct rw *rw);
enum rw_next __wrap_rw_complete(struct rw *rw, ssize_t result);
extern enum rw_next __real_rw_complete(struct rw *rw, ssize_t result);

enum rw_next __wrap_rw_begin(struct rw *rw)
{
	enum rw_next next;

	instant();
	next = __real_rw_begin(rw);
	instant();
	return next;
}

enum rw_next __wrap_rw_complete(struct rw *rw, ssize_t result)
{
	enum rw_next next;

	instant();
	next = __real_rw_complete(rw, result);
	instant();
	return next;
}

/* ---- the client: a few requests of all kinds, some that overlap, sent in pieces ---- */

static struct pagemodel *model;
static uint64_t dice;

static uint64_t roll(uint64_t below)
{
	uint64_t x = dice += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return (x ^ x >> 31) % below;
}

static bool changes(const struct check_request *r)
{
	return r->type == NBD_CMD_WRITE || r->type == NBD_CMD_TRIM || r->type == NBD_CMD_WRITE_ZEROES;
}

static void page_came(void *arg, struct check_conn *c, const struct check_request *r, uint32_t page, const void *data)
{
	char text[2000];

	(void)arg;
	if (!pagemodel_read_ended(model, page, data, r->begun, pagemodel_now(model), text, sizeof(text)))
		wrong(c, "%s", text);
}

static void answered(void *arg, struct check_conn *c, const struct check_request *r)
{
	uint64_t now = pagemodel_now(model);

	(void)arg;
	(void)c;
	for (uint32_t i = 0; changes(r) && i < r->pages; i++)
		pagemodel_write_ended(model, r->first + i, r->version, r->begun, now);
}

static const struct check_ops ops = { page_came, answered, NULL };

static void put(struct check_conn *c, uint16_t type, uint32_t first, uint32_t pages)
{
	struct check_request r = { .type = type, .first = first, .pages = pages, .begun = pagemodel_now(model),
				   .flags = type == NBD_CMD_WRITE && roll(6) == 0 ? NBD_CMD_FLAG_FUA : 0 };
	unsigned char *data;

	for (uint32_t i = 0; changes(&r) && i < pages; i++)
		if (!pagemodel_may_write(model, first + i))
			r.type = NBD_CMD_READ, r.flags = 0;
	if (r.type == NBD_CMD_WRITE)
		r.version = pagemodel_version(model, 0);
	for (uint32_t i = 0; i < pages; i++) {
		if (r.type == NBD_CMD_READ)
			pagemodel_read_begins(model, first + i);
		else if (changes(&r))
			pagemodel_write_begins(model, first + i, r.version, r.begun);
	}
	check_put(c, &r, &data);
	for (uint32_t i = 0; r.type == NBD_CMD_WRITE && i < pages; i++)
		pagemodel_fill(first + i, r.version, data + (size_t)i * PAGE_BYTES);
}

static void turn(struct check_conn *c)
{
	struct pollfd p = { .fd = c->fd, .events = c->out_to ? POLLIN | POLLOUT : POLLIN };

	poll(&p, 1, 100);
	if (p.revents & POLLOUT)
		check_send(c, 1 + (size_t)roll(40000));
	if (p.revents & ~POLLOUT)
		check_receive(c, &ops);
}

static void __attribute__((noreturn)) client(int fd)
{
	static const uint16_t types[] = { NBD_CMD_WRITE, NBD_CMD_READ, NBD_CMD_WRITE, NBD_CMD_READ, NBD_CMD_TRIM, NBD_CMD_WRITE,
					  NBD_CMD_FLUSH, NBD_CMD_WRITE_ZEROES };
	static struct check_conn c;
	char preamble[sizeof(HELD_PREAMBLE) - 1];
	struct pollfd p = { .fd = fd, .events = POLLIN };

	alarm(SECONDS);
	model = pagemodel_make(PAGES);
	c.fd = fd;
	c.size = (uint64_t)PAGES * PAGE_BYTES;
	for (size_t n = 0; n < sizeof(preamble); n++)
		if (poll(&p, 1, SECONDS * 1000) != 1 || recv(fd, preamble + n, 1, 0) != 1 || preamble[n] != HELD_PREAMBLE[n])
			wrong(&c, "another preamble");
	for (unsigned i = 0; i < REQUESTS; i++) {
		uint16_t type = types[i % 8];
		uint32_t pages = roll(2) ? 1 : 1 + (uint32_t)roll(40), first = (uint32_t)roll(roll(2) ? 30 : PAGES - pages + 1);

		put(&c, type, type == NBD_CMD_FLUSH ? 0 : first, type == NBD_CMD_FLUSH ? 1 : pages);
		while (c.in_flight > 12 || !check_room(&c, CHECK_DEPTH, CHECK_PAGES * PAGE_BYTES))
			turn(&c);
		if (roll(3) == 0)
			turn(&c);
	}
	while (c.in_flight)
		turn(&c);
	for (uint32_t page = 0; page < PAGES; page += CHECK_PAGES)
		put(&c, NBD_CMD_READ, page, CHECK_PAGES);
	while (c.in_flight)
		turn(&c);
	fflush(stdout);
	_exit(0);
}

/* ---- lives ---- */

static pid_t worker(const struct held *h, bool again, long instants)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	if (pid)
		return pid;
	instants_left = instants;
	held_serve(h, again, instants < 0 ? NULL : watch);
	_exit(1);
}

/* Waits for the first to end. */
static pid_t wait_for(pid_t a, pid_t b, int *status)
{
	pid_t pid;

	do
		pid = waitpid(-1, status, 0);
	while (pid != a && pid != b);
	return pid;
}

enum outcome { DIED_AND_WENT_ON, LIVED };

/* One life that ends at the instant, and, unless second is negative, a second one that ends at that. */
static enum outcome life(bool direct, long first, long second)
{
	long ends[] = { first, second, -1 };
	enum outcome outcome = DIED_AND_WENT_ON;
	struct held h;
	struct errbuf e;
	int status = 0, fd;
	pid_t of_client, pid = 0, of_worker = 0;

	held_make(&h, PAGES, COMMON, direct, &fd);
	fflush(NULL);
	of_client = fork();
	assert_true(of_client >= 0);
	if (of_client == 0) {
		close(h.sock);
		client(fd);
	}
	close(fd);
	for (unsigned i = 0; i < 3; i++) {
		if (i == 1 && second < 0)
			continue;
		of_worker = worker(&h, i > 0, ends[i]);
		pid = wait_for(of_worker, of_client, &status);
		if (pid == of_client) {
			outcome = i == 0 ? LIVED : DIED_AND_WENT_ON;
			break;
		}
		if (!WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
			fail_msg("instant %ld, %ld: the worker ended by itself (%x)", first, second, (unsigned)status);
		assert_int_equal(table_settle(h.table, h.file, NULL, &e), 0);
	}
	if (pid != of_client || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
		fail_msg("instant %ld, %ld, %s: its client was not served as it should be (%x)", first, second, direct ? "direct" : "over a pool",
			 (unsigned)status);
	kill(of_worker, SIGKILL);
	waitpid(of_worker, NULL, 0);
	held_free(&h);
	return outcome;
}

static void every_instant(bool direct)
{
	bool all = getenv("NBDSWAP_LONG") != NULL;
	long n = all ? 0 : (long)roll(39), deaths = 0;

	for (;; n += all ? 1 : 1 + (long)roll(39)) {
		dice += 7919;
		if (life(direct, n, all || roll(4) == 0 ? (long)roll(200) : -1) == LIVED)
			break;
		deaths++;
	}
	print_message("%s: killed at %ld of %ld instants\n", direct ? "direct" : "over a pool", deaths, n);
	assert_true(n > 300);
}

static void direct_data(void **state)
{
	(void)state;
	every_instant(true);
}

static void pooled_data(void **state)
{
	(void)state;
	every_instant(false);
}

int main(void)
{
	const struct CMUnitTest plain[] = { cmocka_unit_test(direct_data), cmocka_unit_test(pooled_data) };
	const struct CMUnitTest sealed[] = { cmocka_unit_test(pooled_data) };
	const char *seed = getenv("NBDSWAP_SEED");

	dice = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 1000003;
	printf("NBDSWAP_SEED=%" PRIu64 "\n", dice);
	fflush(stdout);
	return cmocka_run_group_tests_name("plain", plain, NULL, NULL) + cmocka_run_group_tests_name("sealed", sealed, unit_seal, NULL);
}
