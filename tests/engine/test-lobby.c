/* SPDX-License-Identifier: BSD-3-Clause */
/* One connection from accept to the end of its negotiation, over a socket: what is sent and received, and for how long. */
#include "config.h"

#include "tests/engine/lobbyworld.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct world w;
static unsigned char data[4096];

static void check_handed_over(int family)
{
	int one = 0;
	socklen_t bytes = sizeof(one);

	assert_false(fcntl(w.owner.begun_sock, F_GETFL) & O_NONBLOCK);
	assert_true(fcntl(w.owner.begun_sock, F_GETFD) & FD_CLOEXEC);
	if (family == AF_UNIX)
		return;
	assert_int_equal(getsockopt(w.owner.begun_sock, IPPROTO_TCP, TCP_NODELAY, &one, &bytes), 0);
	assert_true(one);
}

/* Whatever the client sends behind GO is the session's, however early it comes; and the answer is left to the session. */
static void go_in_one_piece(int family)
{
	static const char behind[] = "what the kernel sends at once";
	char got[64];
	int fd;

	if (!world_begin(&w, family, 4, 10))
		return;
	fd = client_connect(&w, 0);
	say_go();
	talk_bytes(&talk, behind, sizeof(behind));
	client_say(&w, fd);
	wait_begun(&w, 1);
	assert_string_equal(w.owner.name, "ws1");
	assert_int_equal(w.owner.sock, w.owner.begun_sock);
	check_handed_over(family);
	assert_true(w.owner.answer_bytes > 0);
	client_receive_greeting(&w, fd);
	assert_int_equal(recv(fd, got, sizeof(got), MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(recv(w.owner.begun_sock, got, sizeof(got), MSG_DONTWAIT), sizeof(behind));
	assert_string_equal(got, behind);
	/* The lobby has nothing to do with it any more. */
	run_for(&w, 0.05);
	assert_false(client_is_closed(fd));
	world_end(&w);
	assert_false(client_is_closed(fd));
	assert_int_equal(w.owner.warnings, 0);
	close(w.owner.begun_sock);
	close(fd);
}

static void test_go(void **state)
{
	unsigned before = open_descriptors();

	go_in_one_piece(AF_INET);
	assert_int_equal(w.owner.begun, 1);
	go_in_one_piece(AF_INET6);
	go_in_one_piece(AF_UNIX);
	assert_int_equal(w.owner.begun, 1);
	assert_int_equal(open_descriptors(), before);
}

static void test_single_bytes(void **state)
{
	struct talk all;
	int fd;

	world_begin(&w, AF_INET, 4, 30);
	fd = client_connect(&w, 0);
	talk_flags(&talk, FIXED);
	talk_option(&talk, NBD_OPT_LIST_META_CONTEXT, "data", 4);
	talk_go(&talk, NBD_OPT_INFO, "other", NULL, 0);
	talk_go(&talk, NBD_OPT_GO, "ws1", NULL, 0);
	all = talk;
	talk.count = 1;
	for (size_t i = 0; i < all.count; i++) {
		talk.bytes[0] = all.bytes[i];
		client_say(&w, fd);
		ev_run(w.loop, EVRUN_NOWAIT);
		assert_int_equal(w.owner.begun, 0);
	}
	wait_begun(&w, 1);
	client_receive_greeting(&w, fd);
	assert_int_equal(client_receive_answer(&w, fd, data).type, NBD_REP_ERR_UNSUP);
	assert_int_equal(client_receive_answer(&w, fd, data).type, NBD_REP_ERR_UNKNOWN);
	/* The refusal is in the log, with who it was. */
	assert_int_equal(w.owner.warnings, 1);
	assert_memory_equal(w.owner.warning, "127.0.0.1:", 10);
	assert_non_null(strstr(w.owner.warning, ": there is no export \"other\""));
	close(w.owner.begun_sock);
	close(fd);
	world_end(&w);
}

static void test_abort(void **state)
{
	unsigned before = open_descriptors();
	int fd;

	world_begin(&w, AF_INET, 4, 30);
	fd = client_connect(&w, 0);
	talk_flags(&talk, FIXED);
	talk_option(&talk, NBD_OPT_ABORT, NULL, 0);
	client_say(&w, fd);
	client_receive_greeting(&w, fd);
	assert_int_equal(client_receive_answer(&w, fd, data).type, NBD_REP_ACK);
	wait_closed(&w, fd);
	assert_int_equal(recv(fd, data, 1, 0), 0); /* and in order: no reset */
	close(fd);

	fd = client_connect(&w, 0); /* one that says nothing and goes */
	run_for(&w, 0.02);
	close(fd);
	run_for(&w, 0.02);
	assert_int_equal(w.owner.warnings, 0);

	fd = client_connect(&w, 0); /* one that speaks something else */
	talk.count = 0;
	talk_bytes(&talk, "GET / HTTP/1.0\r\n\r\n", 18);
	client_say(&w, fd);
	run_for(&w, 0.05);
	client_receive_greeting(&w, fd);
	wait_closed(&w, fd);
	assert_int_equal(w.owner.warnings, 1);
	close(fd);
	world_end(&w);
	assert_int_equal(open_descriptors(), before);
}

#define LISTS 60
#define LISTED 1000u

/* A client that asks for long lists and does not read them holds up nobody, costs no time, and gets all of it when it reads. */
static void test_slow_reader(void **state)
{
	int slow, fd, small = 32 << 10;
	unsigned lists, turns;

	world_begin(&w, AF_INET, 4, 60);
	w.owner.listed = LISTED;
	w.owner.description = "a description that is as long as most of them are not, so that what is to be sent is more than the kernel takes "
			      "on behalf of a client that does not read it, whatever its buffers have grown to by then";
	slow = client_connect(&w, 0);
	setsockopt(slow, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
	talk_flags(&talk, FIXED);
	for (int i = 0; i < LISTS; i++)
		talk_option(&talk, NBD_OPT_LIST, NULL, 0);
	talk_go(&talk, NBD_OPT_GO, "ws1", NULL, 0);
	client_say(&w, slow);
	do {
		lists = w.owner.lists;
		turns = ev_iteration(w.loop);
		run_for(&w, 0.5);
	} while (lists != w.owner.lists);
	assert_int_equal(w.owner.begun, 0);
	assert_true(ev_iteration(w.loop) - turns < 400); /* the world's tick alone is 100 */

	fd = client_connect(&w, 0);
	talk_flags(&talk, FIXED);
	talk_go(&talk, NBD_OPT_GO, "ws2", NULL, 0);
	client_say(&w, fd);
	wait_begun(&w, 1);
	assert_string_equal(w.owner.name, "ws2");
	close(w.owner.begun_sock);
	close(fd);

	client_receive_greeting(&w, slow);
	for (int i = 0; i < LISTS; i++) {
		for (unsigned k = 0; k < LISTED; k++)
			assert_int_equal(client_receive_answer(&w, slow, data).type, NBD_REP_SERVER);
		assert_int_equal(client_receive_answer(&w, slow, data).type, NBD_REP_ACK);
	}
	wait_begun(&w, 2);
	close(w.owner.begun_sock);
	close(slow);
	world_end(&w);
}

/* ---- time ---- */

static void test_time_limit(void **state)
{
	double begin = now_s();
	int silent, busy;

	world_begin(&w, AF_INET, 4, 0.5);
	silent = client_connect(&w, 0);
	busy = client_connect(&w, 0);
	talk_flags(&talk, FIXED);
	client_say(&w, busy);
	talk.count = 0;
	talk_option(&talk, NBD_OPT_STARTTLS, NULL, 0);
	client_receive_greeting(&w, busy);
	client_receive_greeting(&w, silent);
	while (!client_is_closed(busy)) { /* as long as it is answered, it asks again */
		assert_true(now_s() - begin < 20);
		if (send(busy, talk.bytes, talk.count, MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
			break;
		run_for(&w, 0.02);
		while (recv(busy, data, sizeof(data), MSG_DONTWAIT) > 0)
			;
	}
	assert_true(now_s() - begin >= 0.5);
	wait_closed(&w, silent);
	assert_int_equal(w.owner.warnings, 2);
	assert_non_null(strstr(w.owner.warning, "within 0.5 s"));
	close(silent);
	close(busy);
	world_end(&w);
}

static int (*plain_open)(void *arg, const char *name, const struct peer *who, bool live, int sock, struct lobby_export *out, struct errbuf *e);

static int slow_open(void *arg, const char *name, const struct peer *who, bool live, int sock, struct lobby_export *out, struct errbuf *e)
{
	usleep(1600000);
	return plain_open(arg, name, who, live, sock, out, e);
}

/* One export takes longer to open than a negotiation may: those who wait meanwhile do not pay for it. */
static void test_owner_takes_long(void **state)
{
	int patient, fd;

	world_begin(&w, AF_INET, 4, 1.2);
	plain_open = w.owner.ops.open;
	w.owner.ops.open = slow_open;
	patient = client_connect(&w, 0);
	run_for(&w, 0.05);
	fd = client_connect(&w, 0);
	say_go();
	client_say(&w, fd);
	wait_begun(&w, 1);
	run_for(&w, 0.1);
	client_receive_greeting(&w, patient);
	assert_false(client_is_closed(patient));
	wait_closed(&w, patient);
	close(w.owner.begun_sock);
	close(fd);
	close(patient);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_go),
		cmocka_unit_test(test_single_bytes),
		cmocka_unit_test(test_abort),
		cmocka_unit_test(test_slow_reader),
		cmocka_unit_test(test_time_limit),
		cmocka_unit_test(test_owner_takes_long),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
