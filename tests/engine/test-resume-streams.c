/* SPDX-License-Identifier: BSD-3-Clause */
/* A process that receives and sends over TCP is killed at any instant, and its successor goes on: both streams stay exact.
 *
 * As in the engine, one receive is in flight, into a ring in shared memory, at the place that its position in the stream gives; what
 * lies there and is not yet checked is what the successor finds there.  Where the streams are it learns from the socket (tcpaccount.h).
 * The peer checks every byte that it gets, the successors every byte that they find.
 *
 * The same is done with accounts that are wrong (what the dead process had written down; one of the queues left out): they must be found
 * out, or this test would see nothing.
 */
#include "config.h"

#include "server/engine/tcpaccount.h"
#include "tests/engine/tcppair.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <inttypes.h>
#include <liburing.h>
#include <linux/sockios.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define RING (64u << 10)
#define MOST_SENT (48u << 10) /* by one call */
#define SHORT_KILLS 60	      /* of each kind */
#define LONG_KILLS 20000
#define KILLS_A_SECOND 20 /* at least, with time to spare; seen: 500 */

enum account { EXACT, WRITTEN_DOWN, WITHOUT_INQ, WITHOUT_OUTQ };

struct shared {
	/* Written down by the worker after each call: only to compare with the account, and for the wrong ones. */
	_Atomic uint64_t received, queued;
	_Atomic uint64_t checked; /* of what was received; the rest lies in the ring */
	_Atomic bool stop;
	_Atomic uint64_t last_sent; /* the peer sends no more than this; UINT64_MAX: not known yet */
	_Atomic uint64_t last_queued;
	_Atomic uint32_t ahead; /* times that the socket knew of more than was written down */
	_Atomic bool is_wrong, says_what;
	char wrong[300];
	unsigned char ring[RING];
};

static struct shared *sh;
static uint64_t dice;

static void __attribute__((noreturn, format(printf, 1, 2))) wrong(const char *fmt, ...)
{
	if (!atomic_exchange(&sh->is_wrong, true)) {
		va_list ap;

		va_start(ap, fmt);
		vsnprintf(sh->wrong, sizeof(sh->wrong), fmt, ap);
		va_end(ap);
		atomic_store(&sh->says_what, true);
	}
	_exit(1);
}

static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static uint64_t roll(uint64_t below)
{
	return mix(dice++) % below;
}

/* Mostly a few bytes, at times as much as there may be. */
static size_t some(size_t most)
{
	size_t n = 1 + (size_t)roll(roll(4) ? 300 : roll(2) ? 5000 : most);

	return n < most ? n : most;
}

/* ---- the streams: no piece of one is like another, or like one of the other direction ---- */

enum stream { FROM_PEER, TO_PEER };

static unsigned char byte_at(enum stream s, uint64_t p)
{
	return (unsigned char)(mix((p >> 3) * 2 + s) >> (p & 7) * 8);
}

static void make_bytes(enum stream s, uint64_t p, unsigned char *out, size_t n)
{
	for (size_t i = 0; i < n; i++)
		out[i] = byte_at(s, p + i);
}

static void check_bytes(enum stream s, uint64_t p, const unsigned char *in, size_t n, const char *who)
{
	for (size_t i = 0; i < n; i++)
		if (in[i] != byte_at(s, p + i))
			wrong("%s: byte %" PRIu64 " of the stream is another", who, p + i);
}

/* ---- the peer ---- */

static void peer_sends(int fd, uint64_t *sent)
{
	unsigned char buf[MOST_SENT];
	size_t n = some(sizeof(buf));
	ssize_t r;

	make_bytes(FROM_PEER, *sent, buf, n);
	r = send(fd, buf, n, MSG_NOSIGNAL);
	if (r > 0)
		*sent += (uint64_t)r;
	else if (errno != EAGAIN)
		wrong("the peer's send: %s", strerror(errno));
}

static void peer_receives(int fd, uint64_t *received)
{
	unsigned char buf[MOST_SENT];
	ssize_t r = recv(fd, buf, some(sizeof(buf)), 0);

	if (r > 0) {
		check_bytes(TO_PEER, *received, buf, (size_t)r, "the peer");
		*received += (uint64_t)r;
	} else if (r == 0) {
		wrong("the connection was closed");
	} else if (errno != EAGAIN) {
		wrong("the peer's receive: %s", strerror(errno));
	}
}

static void __attribute__((noreturn)) peer(int fd, long kills)
{
	uint64_t sent = 0, received = 0;

	alarm(20 + (unsigned)kills / KILLS_A_SECOND);
	for (;;) {
		bool stop = atomic_load(&sh->stop);
		/* At times it only sends, or only receives, until that fills the queues. */
		unsigned mode = (unsigned)roll(6);

		for (size_t n = some(64); n > 0; n--) {
			struct pollfd p = { .fd = fd, .events = stop ? POLLIN : POLLIN | POLLOUT };

			if (stop && received == atomic_load(&sh->last_queued))
				_exit(0);
			poll(&p, 1, 1);
			if (!stop && mode != 0 && (p.revents & POLLOUT))
				peer_sends(fd, &sent);
			if ((stop || mode != 1) && (p.revents & POLLIN))
				peer_receives(fd, &received);
			if (p.revents & (POLLERR | POLLHUP))
				wrong("the connection has broken");
		}
		if (stop)
			atomic_store(&sh->last_sent, sent);
	}
}

/* ---- the worker ---- */

struct worker {
	int fd;
	uint64_t received, queued, checked;
	uint64_t sending; /* bytes, from queued on, lie in out */
	unsigned char out[MOST_SENT];
};

static void look(struct worker *w, enum account account)
{
	struct tcp_account a;
	struct errbuf e;
	uint64_t received = atomic_load(&sh->received), queued = atomic_load(&sh->queued);
	int in = 0, out = 0;

	if (tcp_account(w->fd, &a, &e) < 0)
		wrong("%s", e.text);
	ioctl(w->fd, SIOCINQ, &in);
	ioctl(w->fd, SIOCOUTQ, &out);
	if (account == WRITTEN_DOWN)
		a = (struct tcp_account){ received, queued };
	if (account == WITHOUT_INQ)
		a.received += (uint64_t)in;
	if (account == WITHOUT_OUTQ)
		a.queued -= (uint64_t)out;
	if (account == EXACT) {
		if (a.received < received || a.queued < queued)
			wrong("the account (%" PRIu64 ", %" PRIu64 ") is behind what had been done (%" PRIu64 ", %" PRIu64 ")", a.received,
			      a.queued, received, queued);
		if (a.received > received || a.queued > queued)
			atomic_fetch_add(&sh->ahead, 1);
	}
	w->received = a.received;
	w->queued = a.queued;
	w->checked = atomic_load(&sh->checked);
	if (w->received - w->checked > RING)
		wrong("received %" PRIu64 ", checked %" PRIu64 ": more than the ring holds", w->received, w->checked);
}

static void check_some(struct worker *w)
{
	while (w->checked < w->received && roll(8)) {
		size_t n = some(RING), at = w->checked % RING;

		if (n > w->received - w->checked)
			n = (size_t)(w->received - w->checked);
		if (n > RING - at)
			n = RING - at;
		check_bytes(FROM_PEER, w->checked, sh->ring + at, n, "the worker");
		w->checked += n;
		atomic_store(&sh->checked, w->checked);
	}
}

/* Where the next receive goes, and how much. */
static size_t target(const struct worker *w, unsigned char **to)
{
	size_t at = w->received % RING, space = RING - (size_t)(w->received - w->checked);

	*to = sh->ring + at;
	if (space > RING - at)
		space = RING - at;
	return space ? some(space) : 0;
}

static void came(struct worker *w, ssize_t n)
{
	if (n <= 0)
		wrong("the worker's receive: %s", n ? strerror((int)-n) : "the end");
	w->received += (uint64_t)n;
	atomic_store(&sh->received, w->received);
}

static void went(struct worker *w, ssize_t n)
{
	if (n <= 0)
		wrong("the worker's send: %s", strerror((int)-n));
	w->queued += (uint64_t)n;
	atomic_store(&sh->queued, w->queued);
}

/* More to send?  Not once the peer has said how far it goes. */
static size_t next_out(struct worker *w)
{
	if (atomic_load(&sh->last_sent) != UINT64_MAX)
		return 0;
	w->sending = some(sizeof(w->out));
	make_bytes(TO_PEER, w->queued, w->out, w->sending);
	return w->sending;
}

static bool finished(const struct worker *w)
{
	if (w->checked != atomic_load(&sh->last_sent))
		return false;
	atomic_store(&sh->last_queued, w->queued);
	return true;
}

static void work_plainly(struct worker *w)
{
	while (!finished(w)) {
		struct pollfd p = { .fd = w->fd, .events = POLLIN | POLLOUT };
		unsigned char *to;
		size_t n;
		ssize_t r;

		poll(&p, 1, 1);
		n = target(w, &to);
		if (n && (p.revents & POLLIN)) {
			r = recv(w->fd, to, n, 0);
			if (r >= 0 || errno != EAGAIN)
				came(w, r < 0 ? -errno : r);
		}
		if ((p.revents & POLLOUT) && roll(2) && (n = next_out(w)) > 0) {
			r = send(w->fd, w->out, n, MSG_NOSIGNAL);
			if (r >= 0 || errno != EAGAIN)
				went(w, r < 0 ? -errno : r);
		}
		check_some(w);
	}
}

static void work_by_ring(struct worker *w)
{
	enum { RECEIVE = 1, SEND };
	bool receiving = false, sending = false;
	struct io_uring ring;

	if (io_uring_queue_init(8, &ring, IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN) < 0 &&
	    io_uring_queue_init(8, &ring, 0) < 0)
		wrong("io_uring_queue_init");
	while (sending || !finished(w)) {
		struct __kernel_timespec ms = { .tv_nsec = 1000000 };
		struct io_uring_cqe *cqe;
		unsigned char *to;
		size_t n;

		if (!receiving && (n = target(w, &to)) > 0) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

			io_uring_prep_recv(sqe, w->fd, to, n, 0);
			io_uring_sqe_set_data64(sqe, RECEIVE);
			receiving = true;
		}
		if (!sending && roll(2) && (n = next_out(w)) > 0) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

			/* Whole, or as far as it goes: then the ring sends the rest later, from the kernel's own account. */
			io_uring_prep_send(sqe, w->fd, w->out, n, roll(2) ? MSG_NOSIGNAL | MSG_WAITALL : MSG_NOSIGNAL);
			io_uring_sqe_set_data64(sqe, SEND);
			sending = true;
		}
		io_uring_submit_and_wait_timeout(&ring, &cqe, 1, &ms, NULL);
		while (io_uring_peek_cqe(&ring, &cqe) == 0) {
			if (cqe->user_data == RECEIVE) {
				receiving = false;
				came(w, cqe->res);
			} else if (cqe->user_data == SEND) {
				sending = false;
				went(w, cqe->res);
			}
			io_uring_cqe_seen(&ring, cqe);
		}
		check_some(w);
	}
}

/* ---- lives and deaths ---- */

struct way {
	struct tcp_kind kind;
	bool by_ring;
};

static pid_t child(void)
{
	pid_t pid = fork();

	assert_true(pid >= 0);
	dice = mix(dice + (pid == 0));
	return pid;
}

static pid_t start_worker(int fd, bool by_ring, enum account account)
{
	static struct worker w;
	pid_t pid = child();

	if (pid)
		return pid;
	w.fd = fd;
	look(&w, account);
	if (by_ring)
		work_by_ring(&w);
	else
		work_plainly(&w);
	_exit(0);
}

static void reap(pid_t pid)
{
	int status;

	assert_int_equal(waitpid(pid, &status, 0), pid);
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM)
		fail_msg("the streams stand still");
}

/* At any instant: also while it is looking, or before. */
static void live_for_a_while(void)
{
	static const long most[] = { 300000, 1500000, 6000000 };
	struct timespec t = { .tv_nsec = (long)roll((uint64_t)most[roll(3)]) };

	nanosleep(&t, NULL);
}

#define ALL_RIGHT (-1L)
#define NO_SUCH_KIND (-2L)

/* Kills so many workers, and lets the last one come to the end.  ALL_RIGHT, or how many were killed before something was wrong. */
static long lives(const struct way *way, enum account account, long kills)
{
	struct tcp_pair p;
	pid_t peer_pid, pid;
	long n;

	memset(sh, 0, sizeof(*sh));
	sh->last_sent = sh->last_queued = UINT64_MAX;
	if (tcp_pair(&way->kind, &p) < 0)
		return NO_SUCH_KIND;
	peer_pid = child();
	if (peer_pid == 0) {
		close(p.ours);
		peer(p.peers, kills);
	}
	close(p.peers);
	for (n = 0; n < kills && !atomic_load(&sh->is_wrong); n++) {
		pid = start_worker(p.ours, way->by_ring, account);
		live_for_a_while();
		kill(pid, SIGKILL);
		reap(pid);
	}
	atomic_store(&sh->stop, true);
	if (!atomic_load(&sh->is_wrong))
		reap(start_worker(p.ours, way->by_ring, account));
	if (atomic_load(&sh->is_wrong)) {
		/* The peer may be the one that is about to say it; a worker that was is dead. */
		for (int i = 0; i < 100 && !atomic_load(&sh->says_what); i++)
			poll(NULL, 0, 10);
		kill(peer_pid, SIGKILL);
	}
	reap(peer_pid);
	close(p.ours);
	return atomic_load(&sh->is_wrong) ? n : ALL_RIGHT;
}

static const struct way ways[] = {
	{ { "IPv4", false, 0 }, false },
	{ { "IPv4", false, 0 }, true },
	{ { "IPv6", true, 0 }, false },
	{ { "IPv6", true, 0 }, true },
	{ { "small buffers", false, 4096 }, false },
	{ { "small buffers", false, 4096 }, true },
	{ { "large buffers", false, 4 << 20 }, false },
	{ { "large buffers", false, 4 << 20 }, true },
};

static void both_streams_are_exact(void **state)
{
	long kills = getenv("NBDSWAP_LONG") ? LONG_KILLS : SHORT_KILLS;

	(void)state;
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		long r = lives(&ways[i], EXACT, kills);
		const char *how = ways[i].by_ring ? "io_uring" : "recv and send";

		if (r == NO_SUCH_KIND) {
			print_message("no %s here\n", ways[i].kind.name);
			continue;
		}
		if (r != ALL_RIGHT)
			fail_msg("%s, %s: after %ld kills: %s", ways[i].kind.name, how, r, sh->wrong);
		print_message("%s, %s: %ld kills, at %u of them the socket knew of more than the dead had written down; %" PRIu64
			      " bytes received, %" PRIu64 " sent\n", ways[i].kind.name, how, kills, atomic_load(&sh->ahead),
			      atomic_load(&sh->last_sent), atomic_load(&sh->last_queued));
		/* The peers did something worth the while. */
		assert_true(atomic_load(&sh->last_sent) > 100000 && atomic_load(&sh->last_queued) > 100000);
	}
}

static void wrong_accounts_are_found_out(void **state)
{
	static const struct {
		enum account account;
		const char *name;
	} accounts[] = { { WRITTEN_DOWN, "what the dead had written down" }, { WITHOUT_INQ, "without SIOCINQ" }, { WITHOUT_OUTQ, "without SIOCOUTQ" } };

	(void)state;
	for (size_t i = 0; i < sizeof(accounts) / sizeof(accounts[0]); i++)
		for (int by_ring = 0; by_ring < 2; by_ring++) {
			long r = lives(&ways[by_ring], accounts[i].account, 3000);

			if (r == ALL_RIGHT)
				fail_msg("%s, %s: nobody noticed", accounts[i].name, by_ring ? "io_uring" : "recv and send");
			print_message("%s: wrong after %ld kills: %s\n", accounts[i].name, r, sh->wrong);
		}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_streams_are_exact),
		cmocka_unit_test(wrong_accounts_are_found_out),
	};
	const char *seed = getenv("NBDSWAP_SEED");

	dice = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL) * 1000003 + (uint64_t)getpid();
	printf("NBDSWAP_SEED=%" PRIu64 "\n", dice);
	fflush(stdout);
	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (sh == MAP_FAILED)
		return 1;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
