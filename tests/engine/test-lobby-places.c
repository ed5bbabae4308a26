/* SPDX-License-Identifier: BSD-3-Clause */
/* Who gets one of the lobby's places, and who loses it when there are more clients than places. */
#include "config.h"

#include "tests/engine/lobbyworld.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static struct world w;
static unsigned char data[4096];

#define PLACES 4

/* Silent connections do not keep others out: the one that came first goes. */
static void test_half_open(void **state)
{
	int silent[3 * PLACES], fd;

	world_begin(&w, AF_INET, PLACES, 30);
	for (int i = 0; i < 3 * PLACES; i++) {
		silent[i] = client_connect(&w, 0);
		client_receive_greeting(&w, silent[i]);
	}
	fd = client_connect(&w, 0);
	say_go();
	client_say(&w, fd);
	wait_begun(&w, 1);
	for (int i = 0; i < 3 * PLACES; i++) {
		assert_int_equal(client_is_closed(silent[i]), i <= 2 * PLACES);
		close(silent[i]);
	}
	assert_non_null(strstr(w.owner.warning, "put out"));
	close(w.owner.begun_sock);
	close(fd);
	world_end(&w);
}

/* A crowd that comes at once and goes on is served to the last one, whatever the number of places. */
static void test_crowd(void **state)
{
	int fds[60];

	world_begin(&w, AF_INET, PLACES, 30);
	for (int i = 0; i < 60; i++)
		fds[i] = client_connect(&w, 0);
	for (int i = 0; i < PLACES; i++)
		client_receive_greeting(&w, fds[i]); /* the others wait */
	say_go();
	for (int i = 0; i < 60; i++)
		client_say(&w, fds[i]);
	for (unsigned i = 1; i <= 60; i++) {
		wait_begun(&w, i);
		close(w.owner.begun_sock);
	}
	for (int i = 0; i < 60; i++)
		close(fds[i]);
	assert_int_equal(w.owner.begun, 60);
	assert_int_equal(w.owner.warnings, 0);
	world_end(&w);
}

/* Who fills the places from one address loses them, not somebody else who is slow and came before (or after) the first of them. */
static void most_places_lose(int before)
{
	int greedy[PLACES], slow = -1, fd;

	world_begin(&w, AF_INET, PLACES, 30);
	for (int i = 0; i < PLACES - 1; i++) {
		if (i == before) {
			slow = client_connect(&w, 3);
			client_receive_greeting(&w, slow);
		}
		greedy[i] = client_connect(&w, 2);
		client_receive_greeting(&w, greedy[i]);
	}
	for (int i = 0; i < 5 * PLACES; i++) {
		int *oldest = &greedy[i % (PLACES - 1)];

		fd = client_connect(&w, 2);
		client_receive_greeting(&w, fd);
		assert_true(client_is_closed(*oldest));
		close(*oldest);
		*oldest = fd;
	}
	fd = client_connect(&w, 4);
	say_go();
	client_say(&w, fd);
	wait_begun(&w, 1);
	close(w.owner.begun_sock);
	close(fd);
	assert_false(client_is_closed(slow));
	client_say(&w, slow);
	wait_begun(&w, 2);
	close(w.owner.begun_sock);
	close(slow);
	for (int i = 0; i < PLACES - 1; i++)
		close(greedy[i]);
	world_end(&w);
}

static void test_most_places_lose(void **state)
{
	most_places_lose(0);
	most_places_lose(1);
}

/* Who has said what was to be said before another came keeps the place, though the lobby comes to hear of both at once. */
static void test_answer_in_time(void **state)
{
	int fd, other;

	world_begin(&w, AF_INET, 1, 30);
	fd = client_connect(&w, 0);
	client_receive_greeting(&w, fd);
	run_for(&w, 0.02); /* nothing is ready any more */
	usleep(200000);	   /* the lobby's thread is busy */
	say_go();
	client_say(&w, fd);
	other = client_connect(&w, 0);
	client_receive_greeting(&w, other);
	assert_int_equal(w.owner.begun, 1);
	assert_int_equal(w.owner.warnings, 0);
	close(w.owner.begun_sock);
	close(fd);
	close(other);
	world_end(&w);
}

/* A client with thousands of options is answered one at a time: another does not wait for all of them. */
static void test_many_options(void **state)
{
	unsigned answered = 0;
	ssize_t n;
	int many, fd;

	world_begin(&w, AF_INET, PLACES, 30);
	many = client_connect(&w, 0);
	fd = client_connect(&w, 0);
	client_receive_greeting(&w, many);
	client_receive_greeting(&w, fd);
	talk_flags(&talk, FIXED);
	for (int i = 0; i < 3000; i++)
		talk_option(&talk, NBD_OPT_STARTTLS, NULL, 0);
	client_say(&w, many);
	say_go();
	client_say(&w, fd);
	wait_begun(&w, 1);
	while ((n = recv(many, data, sizeof(data), MSG_DONTWAIT)) > 0)
		answered += (unsigned)n;
	assert_true(answered < 3000 * sizeof(struct nbd_option_reply) / 2);
	close(w.owner.begun_sock);
	close(fd);
	close(many);
	world_end(&w);
}

/* Of one address, those go first that completed nothing; but in the end those too that ask for ever. */
static void test_unfinished(void **state)
{
	int asking[PLACES], silent, fd;

	world_begin(&w, AF_INET, PLACES, 30);
	talk_flags(&talk, FIXED);
	talk_option(&talk, NBD_OPT_STARTTLS, NULL, 0);
	for (int i = 0; i < PLACES - 1; i++) {
		asking[i] = client_connect(&w, 0);
		client_say(&w, asking[i]);
		client_receive_greeting(&w, asking[i]);
		client_receive_answer(&w, asking[i], data);
	}
	silent = client_connect(&w, 0);
	client_receive_greeting(&w, silent);
	run_for(&w, 1.2);
	asking[PLACES - 1] = client_connect(&w, 0);
	client_say(&w, asking[PLACES - 1]);
	client_receive_greeting(&w, asking[PLACES - 1]);
	client_receive_answer(&w, asking[PLACES - 1], data);
	assert_true(client_is_closed(silent)); /* the last that came */
	close(silent);
	for (int i = 0; i < PLACES; i++)
		assert_false(client_is_closed(asking[i]));
	fd = client_connect(&w, 0);
	say_go();
	client_say(&w, fd);
	wait_begun(&w, 1);
	assert_true(client_is_closed(asking[0]));
	for (int i = 1; i < PLACES; i++)
		assert_false(client_is_closed(asking[i]));
	for (int i = 0; i < PLACES; i++)
		close(asking[i]);
	close(w.owner.begun_sock);
	close(fd);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_half_open),
		cmocka_unit_test(test_crowd),
		cmocka_unit_test(test_most_places_lose),
		cmocka_unit_test(test_answer_in_time),
		cmocka_unit_test(test_many_options),
		cmocka_unit_test(test_unfinished),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
