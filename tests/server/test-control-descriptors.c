/* SPDX-License-Identifier: BSD-3-Clause */
/* Where no descriptor is to be had for a connection to the control socket, the daemon's loop does not spin: it is accepted once there is one. */
#include "config.h"

#include "server/control.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

static unsigned turns;
static struct control *control;

static void serve(void *arg, uint64_t client, const json_t *request)
{
	(void)request;
	control_answer(control, client, json_pack("{s:b}", "ok", 1));
	*(bool *)arg = true;
}

static void count(struct ev_loop *loop, ev_prepare *w, int revents)
{
	(void)loop;
	(void)w;
	(void)revents;
	turns++;
}

static void over(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)w;
	(void)revents;
	ev_break(loop, EVBREAK_ALL);
}

static int call(const char *path)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	static const char line[] = "{\"op\":\"status\"}\n";

	snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(write(fd, line, sizeof(line) - 1), sizeof(line) - 1);
	return fd;
}

static void waits_for_a_descriptor(void **state)
{
	char dir[] = "/tmp/nbdswap-test-control.XXXXXX", path[64];
	struct ev_loop *loop = ev_loop_new(EVFLAG_AUTO);
	struct rlimit old, few;
	bool served = false;
	struct errbuf e;
	ev_prepare each;
	ev_timer end;
	int fd;

	(void)state;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/control", dir);
	control = control_create(loop, path, serve, &served, &e);
	assert_non_null(control);
	ev_prepare_init(&each, count);
	ev_prepare_start(loop, &each);
	ev_timer_init(&end, over, 0.2, 0.);
	ev_timer_start(loop, &end);
	ev_run(loop, 0); /* whatever descriptors the loop itself wants it has then */
	fd = call(path);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	few = old;
	few.rlim_cur = (rlim_t)fd + 1;
	for (int k = 0; k <= fd; k++)
		assert_true(fcntl(k, F_GETFD) >= 0); /* none is free below it */
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
	turns = 0;
	ev_timer_set(&end, 0.5, 0.);
	ev_timer_start(loop, &end);
	ev_run(loop, 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	assert_true(turns < 20);
	assert_false(served);
	for (int k = 0; k < 60 && !served; k++) {
		ev_timer_set(&end, 0.5, 0.);
		ev_timer_start(loop, &end);
		ev_run(loop, 0);
	}
	assert_true(served);
	control_free(control);
	close(fd);
	ev_prepare_stop(loop, &each);
	ev_loop_destroy(loop);
	rmdir(dir);
}

int main(void)
{
	static const struct CMUnitTest tests[] = { cmocka_unit_test(waits_for_a_descriptor) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
