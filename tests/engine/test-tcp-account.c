/* SPDX-License-Identifier: BSD-3-Clause */
/* The account of a socket: right to the byte whatever lies in which queue, taken again when something arrives between the looks, and refused
 * where it would be wrong.
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
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* What happens before the next questions of the account, as if a segment arrived just then. */
static void (*between)(void *arg, unsigned long question);
static void *between_arg;

int __wrap_ioctl(int fd, unsigned long request, void *arg);
extern int __real_ioctl(int fd, unsigned long request, ...);

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	if (between)
		between(between_arg, request);
	return __real_ioctl(fd, request, arg);
}

static unsigned char junk[1 << 20];

static void push(int fd, size_t n)
{
	while (n > 0) {
		ssize_t r = send(fd, junk, n < sizeof(junk) ? n : sizeof(junk), MSG_NOSIGNAL);

		assert_true(r > 0);
		n -= (size_t)r;
	}
}

static void pull(int fd, size_t n)
{
	while (n > 0) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		ssize_t r;

		assert_int_equal(poll(&p, 1, 10000), 1);
		r = recv(fd, junk, n < sizeof(junk) ? n : sizeof(junk), 0);
		assert_true(r > 0);
		n -= (size_t)r;
	}
}

/* A socket's state changes when the other end's segment has come, which the loopback does at once, if not always. */
static int refused_as(int fd)
{
	struct tcp_account a;
	struct errbuf e = { .code = 0 };

	for (int i = 0; i < 1000; i++) {
		if (tcp_account(fd, &a, &e) < 0) {
			assert_true(e.text[0]);
			return e.code;
		}
		poll(NULL, 0, 5);
	}
	return 0;
}

static void expect_account(int fd, uint64_t received, uint64_t queued)
{
	struct tcp_account a = { 0, 0 };
	struct errbuf e = { .code = 0 };

	if (tcp_account(fd, &a, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(a.received, received);
	assert_int_equal(a.queued, queued);
}

static void put_away(struct tcp_pair *p)
{
	between = NULL;
	close(p->ours);
	close(p->peers);
}

/* ---- right ---- */

static void every_queue_is_counted(void **state)
{
	static const struct tcp_kind kinds[] = {
		{ "IPv4", false, 0 }, { "IPv6", true, 0 }, { "IPv4, small buffers", false, 4096 },
		{ "IPv6, small buffers", true, 4096 }, { "large buffers", false, 4 << 20 },
	};

	(void)state;
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		struct tcp_pair p;
		uint64_t received = 0, queued = 0, sent = 0;
		ssize_t r;

		if (tcp_pair(&kinds[k], &p) < 0) {
			print_message("no %s here\n", kinds[k].name);
			continue;
		}
		expect_account(p.ours, 0, 0);
		/* Both ways until nothing goes any more: then it is in our queue, and in the other's. */
		while ((r = send(p.peers, junk, 70000, MSG_NOSIGNAL)) > 0) {
			sent += (uint64_t)r;
			expect_account(p.ours, received, queued);
		}
		while ((r = send(p.ours, junk, 50000, MSG_NOSIGNAL)) > 0) {
			queued += (uint64_t)r;
			expect_account(p.ours, received, queued);
		}
		assert_true(sent > 0 && queued > 0);
		for (size_t n = 1; received + n <= sent; n = n * 3 + 1) {
			pull(p.ours, n);
			received += n;
			expect_account(p.ours, received, queued);
		}
		for (size_t n = 1, taken = 0; taken + n <= queued; taken += n, n = n * 3 + 1) {
			pull(p.peers, n);
			expect_account(p.ours, received, queued);
		}
		pull(p.ours, sent - received);
		expect_account(p.ours, sent, queued);
		put_away(&p);
	}
}

static void urgent_data_is_counted_when_it_is_in_line(void **state)
{
	const struct tcp_kind kind = { "IPv4", false, 0 };
	struct tcp_pair p;
	int on = 1;

	(void)state;
	assert_int_equal(tcp_pair(&kind, &p), 0);
	assert_int_equal(setsockopt(p.ours, SOL_SOCKET, SO_OOBINLINE, &on, sizeof(on)), 0);
	push(p.peers, 100);
	assert_int_equal(send(p.peers, "!", 1, MSG_OOB), 1);
	push(p.peers, 100);
	expect_account(p.ours, 0, 0);
	pull(p.ours, 60);
	expect_account(p.ours, 60, 0);
	pull(p.ours, 100);
	expect_account(p.ours, 160, 0);
	pull(p.ours, 41);
	expect_account(p.ours, 201, 0);
	put_away(&p);
}

/* ---- looked at again ---- */

struct meanwhile {
	struct tcp_pair *p;
	int times;		/* that something happens; -1: always */
	unsigned long question; /* before which */
	bool acknowledge;	/* the other end takes what we sent; else it sends */
};

/* What we sent and the other end has not acknowledged. */
static int outstanding(int fd)
{
	int n = 0;

	assert_int_equal(__real_ioctl(fd, SIOCOUTQ, &n), 0);
	return n;
}

/* The other end takes of what has arrived until there is room for more, and that is on its way back as acknowledged: the kernel decides when. */
static void have_acknowledged(const struct tcp_pair *p)
{
	int before = outstanding(p->ours);

	while (outstanding(p->ours) == before) {
		struct pollfd more = { .fd = p->peers, .events = POLLIN };

		if (poll(&more, 1, 100) > 0)
			assert_true(recv(p->peers, junk, 60000, MSG_DONTWAIT) > 0);
	}
}

static void happens(void *arg, unsigned long question)
{
	struct meanwhile *m = arg;

	if (question != m->question || m->times == 0)
		return;
	if (m->times > 0)
		m->times--;
	if (m->acknowledge)
		have_acknowledged(m->p);
	else
		push(m->p->peers, 1);
	if (m->times < 0) /* for ever: then the window must not close */
		pull(m->p->ours, 1);
}

static void what_arrives_between_is_seen(void **state)
{
	const struct tcp_kind kind = { "IPv4", false, 0 };
	static const unsigned long questions[] = { SIOCINQ, SIOCOUTQ };

	(void)state;
	for (size_t q = 0; q < 2; q++)
		for (int times = 1; times <= 5; times++) {
			struct tcp_pair p;
			struct meanwhile m = { &p, times, questions[q], false };

			assert_int_equal(tcp_pair(&kind, &p), 0);
			push(p.ours, 3000);
			pull(p.peers, 1);
			push(p.peers, 1000);
			pull(p.ours, 300);
			between_arg = &m;
			between = happens;
			expect_account(p.ours, 300, 3000);
			assert_int_equal(m.times, 0);
			put_away(&p);
		}
}

static void what_is_acknowledged_between_is_seen(void **state)
{
	const struct tcp_kind kind = { "IPv4", false, 0 };
	static const unsigned long questions[] = { SIOCINQ, SIOCOUTQ };

	(void)state;
	for (size_t q = 0; q < 2; q++) {
		struct tcp_pair p;
		struct meanwhile m = { &p, 3, questions[q], true };
		uint64_t queued = 0;
		ssize_t r;

		assert_int_equal(tcp_pair(&kind, &p), 0);
		while ((r = send(p.ours, junk, 50000, MSG_NOSIGNAL)) > 0)
			queued += (uint64_t)r;
		between_arg = &m;
		between = happens;
		expect_account(p.ours, 0, queued);
		assert_int_equal(m.times, 0);
		put_away(&p);
	}
}

static void it_gives_up_on_a_socket_that_never_rests(void **state)
{
	const struct tcp_kind kind = { "IPv4", false, 0 };
	struct tcp_pair p;
	struct meanwhile m = { &p, -1, SIOCINQ, false };

	(void)state;
	assert_int_equal(tcp_pair(&kind, &p), 0);
	between_arg = &m;
	between = happens;
	assert_int_equal(refused_as(p.ours), EAGAIN);
	put_away(&p);
}

/* ---- refused ---- */

static void what_is_no_tcp_connection_is_refused(void **state)
{
	int pair[2], fd;

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	assert_int_equal(refused_as(pair[0]), EOPNOTSUPP);
	close(pair[0]);
	close(pair[1]);
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	assert_int_equal(refused_as(fd), EOPNOTSUPP);
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM, IPPROTO_MPTCP); /* which answers TCP_INFO */
	if (fd >= 0) {
		assert_int_equal(refused_as(fd), EOPNOTSUPP);
		close(fd);
	}
	fd = socket(AF_INET, SOCK_STREAM, 0);
	assert_int_equal(refused_as(fd), ENOTCONN);
	assert_int_equal(listen(fd, 1), 0);
	assert_int_equal(refused_as(fd), ENOTCONN);
	close(fd);
	assert_int_equal(pipe(pair), 0);
	assert_int_equal(refused_as(pair[0]), ENOTSOCK);
	close(pair[0]);
	close(pair[1]);
}

static void kernel_tls_is_refused(void **state)
{
	const struct tcp_kind kind = { "IPv4", false, 0 };
	struct tcp_pair p;

	(void)state;
	assert_int_equal(tcp_pair(&kind, &p), 0);
	if (setsockopt(p.ours, IPPROTO_TCP, TCP_ULP, "tls", sizeof("tls")) < 0) {
		print_message("this kernel has no TLS of its own\n");
		put_away(&p);
		skip();
	}
	assert_int_equal(refused_as(p.ours), EOPNOTSUPP);
	put_away(&p);
}

enum end { PEER_HALF_CLOSES, WE_HALF_CLOSE, PEER_CLOSES, PEER_RESETS, ENDS };

static void end_it(struct tcp_pair *p, enum end how)
{
	struct linger reset = { .l_onoff = 1, .l_linger = 0 };

	switch (how) {
	case PEER_HALF_CLOSES:
		assert_int_equal(shutdown(p->peers, SHUT_WR), 0);
		break;
	case WE_HALF_CLOSE:
		assert_int_equal(shutdown(p->ours, SHUT_WR), 0);
		break;
	case PEER_RESETS:
		assert_int_equal(setsockopt(p->peers, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
		/* fallthrough */
	case PEER_CLOSES:
	default:
		close(p->peers);
		p->peers = -1;
	}
}

static void a_closing_connection_is_refused(void **state)
{
	const struct tcp_kind kind = { "IPv4", false, 0 };

	(void)state;
	for (int how = 0; how < ENDS; how++)
		for (int data = 0; data < 2; data++) {
			struct tcp_pair p;

			assert_int_equal(tcp_pair(&kind, &p), 0);
			if (data) {
				push(p.peers, 5000);
				push(p.ours, 5000);
				pull(p.ours, 2000);
			}
			expect_account(p.ours, data ? 2000 : 0, data ? 5000 : 0);
			end_it(&p, (enum end)how);
			assert_int_equal(refused_as(p.ours), ENOTCONN);
			put_away(&p);
		}
}

static void half_closes(void *arg, unsigned long question)
{
	struct tcp_pair *p = arg;

	if (question == SIOCOUTQ)
		end_it(p, PEER_HALF_CLOSES);
}

static void an_end_between_the_looks_is_seen(void **state)
{
	const struct tcp_kind kind = { "IPv4", false, 0 };
	struct tcp_pair p;
	struct tcp_account a;
	struct errbuf e;

	(void)state;
	assert_int_equal(tcp_pair(&kind, &p), 0);
	between_arg = &p;
	between = half_closes;
	assert_int_equal(tcp_account(p.ours, &a, &e), -1);
	assert_int_equal(e.code, ENOTCONN);
	put_away(&p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_queue_is_counted),
		cmocka_unit_test(urgent_data_is_counted_when_it_is_in_line),
		cmocka_unit_test(what_arrives_between_is_seen),
		cmocka_unit_test(what_is_acknowledged_between_is_seen),
		cmocka_unit_test(it_gives_up_on_a_socket_that_never_rests),
		cmocka_unit_test(what_is_no_tcp_connection_is_refused),
		cmocka_unit_test(kernel_tls_is_refused),
		cmocka_unit_test(a_closing_connection_is_refused),
		cmocka_unit_test(an_end_between_the_looks_is_seen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
