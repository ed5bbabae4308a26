/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/engine/lobbyworld.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#define PATIENCE_S 30.

struct talk talk;

void say_go(void)
{
	talk_flags(&talk, FIXED);
	talk_go(&talk, NBD_OPT_GO, "ws1", NULL, 0);
}

static void tick(struct ev_loop *loop, ev_timer *w, int events)
{
}

bool world_begin(struct world *w, int family, unsigned places, double seconds)
{
	struct sockaddr_storage a = { .ss_family = (sa_family_t)family };
	socklen_t bytes = sizeof(a);
	struct lobby_options o = { .places = places, .seconds = seconds, .nlisten = 1, .listen_fds = &w->listener, .ops = &w->owner.ops };
	struct errbuf e;

	if (family == AF_INET)
		((struct sockaddr_in *)&a)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else if (family == AF_INET6)
		((struct sockaddr_in6 *)&a)->sin6_addr = in6addr_loopback;
	else
		bytes = sizeof(sa_family_t); /* the kernel finds a name */
	w->listener = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (w->listener < 0 || bind(w->listener, (struct sockaddr *)&a, bytes) < 0 || listen(w->listener, 128) < 0) {
		close(w->listener);
		return false;
	}
	owner_init(&w->owner);
	w->loop = ev_loop_new(0);
	assert_non_null(w->loop);
	ev_timer_init(&w->tick, tick, 0.005, 0.005);
	ev_timer_start(w->loop, &w->tick);
	o.loop = w->loop;
	w->lobby = lobby_create(&o, &e);
	assert_non_null(w->lobby);
	return true;
}

void world_end(struct world *w)
{
	lobby_free(w->lobby);
	ev_timer_stop(w->loop, &w->tick);
	ev_loop_destroy(w->loop);
	close(w->listener);
}

double now_s(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

void run_until(struct world *w, bool (*done)(void *arg), void *arg)
{
	double begin = now_s();

	while (!done(arg)) {
		if (now_s() - begin > PATIENCE_S)
			fail_msg("nothing more happens");
		ev_run(w->loop, EVRUN_ONCE);
	}
}

void run_for(struct world *w, double seconds)
{
	double begin = now_s();

	while (now_s() - begin < seconds)
		ev_run(w->loop, EVRUN_ONCE);
}

int client_connect(struct world *w, unsigned char from)
{
	struct sockaddr_storage a;
	struct sockaddr_in me = { .sin_family = AF_INET, .sin_addr = { htonl(0x7f000000u | from) } };
	socklen_t bytes = sizeof(a);
	int fd;

	assert_int_equal(getsockname(w->listener, (struct sockaddr *)&a, &bytes), 0);
	fd = socket(a.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_true(fd >= 0);
	if (from)
		assert_int_equal(bind(fd, (struct sockaddr *)&me, sizeof(me)), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&a, bytes), 0);
	return fd;
}

struct transfer {
	int fd;
	unsigned char *at;
	size_t left;
	bool in;
};

static bool transferred(void *arg)
{
	struct transfer *t = arg;

	while (t->left) {
		ssize_t n = t->in ? recv(t->fd, t->at, t->left, MSG_DONTWAIT)
				  : send(t->fd, t->at, t->left, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (n < 0 && errno == EAGAIN)
			return false;
		if (n <= 0)
			fail_msg("the connection is closed (%s)", n ? strerror(errno) : "end of the stream");
		t->at += n;
		t->left -= (size_t)n;
	}
	return true;
}

void client_say(struct world *w, int fd)
{
	struct transfer t = { .fd = fd, .at = talk.bytes, .left = talk.count };

	run_until(w, transferred, &t);
}

void client_receive(struct world *w, int fd, void *to, size_t bytes)
{
	struct transfer t = { .fd = fd, .at = to, .left = bytes, .in = true };

	run_until(w, transferred, &t);
}

void client_receive_greeting(struct world *w, int fd)
{
	unsigned char bytes[sizeof(struct nbd_greeting)];
	struct answers a = { .at = bytes, .left = sizeof(bytes) };

	client_receive(w, fd, bytes, sizeof(bytes));
	assert_true(answers_greeting(&a));
}

struct answer client_receive_answer(struct world *w, int fd, unsigned char *data)
{
	struct nbd_option_reply r;
	struct answer x;

	client_receive(w, fd, &r, sizeof(r));
	x = (struct answer){ .option = be32toh(r.option), .type = be32toh(r.reply), .bytes = be32toh(r.length), .data = data };
	assert_true(be64toh(r.magic) == NBD_OPTION_REPLY_MAGIC);
	assert_true(x.bytes <= 4096);
	client_receive(w, fd, data, x.bytes);
	return x;
}

bool client_is_closed(int fd)
{
	char c;
	ssize_t n = recv(fd, &c, 1, MSG_DONTWAIT | MSG_PEEK);

	return n == 0 || (n < 0 && errno != EAGAIN);
}

static bool is_closed(void *arg)
{
	return client_is_closed(*(int *)arg);
}

void wait_closed(struct world *w, int fd)
{
	run_until(w, is_closed, &fd);
}

struct wait {
	struct world *w;
	unsigned times;
};

static bool has_begun(void *arg)
{
	struct wait *x = arg;

	return x->w->owner.begun >= x->times;
}

void wait_begun(struct world *w, unsigned times)
{
	struct wait x = { .w = w, .times = times };

	run_until(w, has_begun, &x);
}

unsigned open_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	unsigned n = 0;

	assert_non_null(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n;
}
