/* SPDX-License-Identifier: BSD-3-Clause */
/* The lobby as a whole: without descriptors, in the log, at its end. */
#include "config.h"

#include "tests/engine/lobbyworld.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct world w;
static unsigned char data[4096];

#define PLACES 4

static void test_no_descriptors(void **state)
{
	struct rlimit had, none;
	unsigned turns;
	int first, fd;
	double begin;

	world_begin(&w, AF_INET, PLACES, 30);
	first = client_connect(&w, 0);
	client_receive_greeting(&w, first);
	fd = client_connect(&w, 0);
	say_go();
	client_say(&w, fd);
	/* From here on there is no descriptor beyond those in use. */
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &had), 0);
	none = had;
	none.rlim_cur = (rlim_t)(fd + 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	turns = ev_iteration(w.loop);
	run_for(&w, 0.5);
	/* The loop's own tick is 200 turns a second; accept that fails again and again would be a hundred thousand. */
	assert_true(ev_iteration(w.loop) - turns < 400);
	assert_int_equal(w.owner.begun, 0);
	assert_int_equal(w.owner.warnings, 1);
	assert_non_null(strstr(w.owner.warning, "cannot accept a connection"));
	assert_false(client_is_closed(fd));
	close(first); /* a descriptor gets free where its place does, and nobody waits for the second to pass */
	turns = ev_iteration(w.loop);
	wait_begun(&w, 1);
	assert_true(ev_iteration(w.loop) - turns < 20);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &had), 0);
	close(w.owner.begun_sock);
	close(fd);

	/* And without that, the second passes. */
	fd = client_connect(&w, 0);
	client_say(&w, fd);
	none.rlim_cur = (rlim_t)(fd + 1);
	first = dup(fd); /* the lowest number that was free */
	if (first > fd)
		none.rlim_cur = (rlim_t)(first + 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	begin = now_s();
	run_for(&w, 0.2);
	assert_int_equal(w.owner.begun, 1);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &had), 0);
	wait_begun(&w, 2);
	assert_true(now_s() - begin >= 0.9);
	close(first);
	close(w.owner.begun_sock);
	close(fd);
	world_end(&w);
}

static void test_log_is_limited(void **state)
{
	world_begin(&w, AF_INET, PLACES, 30);
	for (int i = 0; i < 200; i++) {
		int fd = client_connect(&w, 0);

		talk_flags(&talk, ~0u);
		client_say(&w, fd);
		client_receive_greeting(&w, fd);
		wait_closed(&w, fd);
		close(fd);
	}
	assert_int_equal(w.owner.warnings, 50);
	world_end(&w);
}

/* Those who negotiate are dropped; who comes later waits in the backlog for the next process. */
static void stop(unsigned clients)
{
	int fds[PLACES + 1];

	world_begin(&w, AF_INET, PLACES, 30);
	for (unsigned i = 0; i < clients; i++)
		fds[i] = client_connect(&w, 0);
	run_for(&w, 0.03);
	lobby_stop(w.lobby);
	for (unsigned i = 0; i < clients && i < PLACES; i++) {
		client_receive_greeting(&w, fds[i]);
		assert_true(client_is_closed(fds[i]));
	}
	if (clients < PLACES + 1)
		fds[PLACES] = client_connect(&w, 0);
	run_for(&w, 0.2);
	assert_int_equal(recv(fds[PLACES], data, 1, MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	for (unsigned i = 0; i < clients && i < PLACES; i++)
		close(fds[i]);
	close(fds[PLACES]);
	world_end(&w);
}

static void test_stop(void **state)
{
	stop(1);
	stop(PLACES + 1); /* while accepting waits */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_descriptors),
		cmocka_unit_test(test_log_is_limited),
		cmocka_unit_test(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
