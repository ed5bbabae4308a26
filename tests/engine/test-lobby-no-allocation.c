/* SPDX-License-Identifier: BSD-3-Clause */
/* The lobby takes no memory once it was made: clients come and go, are refused, list, give up and are put out, and nothing is allocated. */
#include "config.h"

#include "tests/countmalloc.h"
#include "tests/engine/lobbyworld.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static unsigned counted;

static void count(void)
{
	counted++;
}

static struct world w;
static unsigned char data[4096];

static void one_client(const char *name)
{
	unsigned begun = w.owner.begun;
	int fd = client_connect(&w, 0);

	talk_flags(&talk, FIXED);
	talk_option(&talk, NBD_OPT_LIST, NULL, 0);
	talk_go(&talk, NBD_OPT_GO, name, NULL, 0);
	client_say(&w, fd);
	client_receive_greeting(&w, fd);
	for (unsigned i = 0; i <= w.owner.listed; i++)
		client_receive_answer(&w, fd, data);
	if (strcmp(name, "ws1") == 0) {
		wait_begun(&w, begun + 1);
		close(w.owner.begun_sock);
	} else {
		client_receive_answer(&w, fd, data);
	}
	close(fd);
}

static void round_of_clients(void)
{
	int silent[10];

	one_client("ws1");
	one_client("unknown");
	for (int i = 0; i < 10; i++) {
		silent[i] = client_connect(&w, 0);
		client_receive_greeting(&w, silent[i]);
	}
	one_client("ws1");
	for (int i = 0; i < 10; i++)
		close(silent[i]);
	run_for(&w, 0.05);
}

static void test_no_allocation(void **state)
{
	world_begin(&w, AF_INET, 4, 30);
	w.owner.listed = 1000;
	round_of_clients(); /* libev's own lists grow with the number of descriptors and timers */
	counted = 0;
	for (int i = 0; i < 5; i++)
		round_of_clients();
	assert_int_equal(counted, 0);
	free(malloc(1));
	assert_int_equal(counted, 1); /* it does count */
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_no_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
