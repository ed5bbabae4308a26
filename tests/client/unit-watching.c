/* SPDX-License-Identifier: BSD-3-Clause */
/* What the watch does for a device whose link has died; the network and the kernel are stand-ins. */
#include "config.h"

#include "tests/client/unit.h"

#include "client/watching.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

static struct {
	int error, second; /* of reach; 0: a socket; of the second address */
	bool looks;	   /* it is to ask only what there is */
	int refuse;	   /* of the kernel; 0: it takes it */
	int given, other;  /* the last socket that reach gave, and its other end */
	unsigned reached, handed, disconnects;
	uint64_t sent; /* over any socket */
	size_t first;  /* the address to begin with */
	int unread;    /* bytes in the old socket when the kernel was given another */
	int64_t until_ns;
	const struct export_expected *expected;
} world;

static struct watch_device d;
static int pair[2];

int __wrap_reach(struct reach *r, const struct reach_wishes *w, struct errbuf *e);
int __wrap_reach(struct reach *r, const struct reach_wishes *w, struct errbuf *e)
{
	int ends[2];

	world.reached++;
	world.until_ns = w->deadline_ns;
	world.expected = w->expected;
	assert_string_equal(w->request, world.looks ? "ws1?gen=0&lease=0&client=a" : "ws1?gen=5&lease=2&client=a&slot=0/1");
	assert_int_equal(w->count, d.order.addresses);
	assert_int_equal(w->least_ms, 3000);
	world.first = w->first;
	for (size_t i = 0; i < w->count && world.error; i++)
		r->codes[i] = i == 0 ? world.error : world.second;
	if (world.error)
		return err_set(e, world.error, "no luck");
	if (world.other > 0)
		close(world.other);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	world.given = ends[0];
	world.other = ends[1];
	return world.given;
}

int __wrap_reconfigure_disconnect(struct reconfigure *k, int index, int64_t deadline_ns, struct errbuf *e);
int __wrap_reconfigure_disconnect(struct reconfigure *k, int index, int64_t deadline_ns, struct errbuf *e)
{
	(void)k;
	assert_int_equal(index, 3);
	assert_true(deadline_ns <= watching_now_ns() + WATCH_TRY_NS);
	world.disconnects++;
	return world.disconnects == 1 ? err_set(e, ENOMEM, "not now") : 0;
}

int __wrap_reconfigure(struct reconfigure *k, int index, int sock, uint64_t dead_link_timeout, int64_t deadline_ns, struct errbuf *e);
int __wrap_reconfigure(struct reconfigure *k, int index, int sock, uint64_t dead_link_timeout, int64_t deadline_ns, struct errbuf *e)
{
	(void)k;
	(void)deadline_ns;
	world.handed++;
	if (sock != pair[0])
		assert_true(ioctl(pair[0], SIOCINQ, &world.unread) == 0 || errno == EBADF);
	assert_int_equal(index, 3);
	assert_int_equal(sock, world.given);
	assert_int_equal(dead_link_timeout, 600);
	return world.refuse ? err_set(e, world.refuse, "the kernel does not want it") : 0;
}

uint64_t __wrap_socksent(int sock);
uint64_t __wrap_socksent(int sock)
{
	(void)sock;
	return world.sent;
}

static struct reach r;
static struct reconfigure k;

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static int begin(void **state)
{
	struct watch_order o = { .index = 3, .addresses = 1, .dead_link_timeout = 600, .user_timeout_ms = 20000, .keepalive_s = 5,
				 .request = "ws1?gen=5&lease=2&client=a&slot=0/1", .look = "ws1?gen=0&lease=0&client=a" };
	struct errbuf e;

	(void)state;
	memset(&world, 0, sizeof(world));
	assert_int_equal(watch_order_check(&o, &e), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	watching_begin(&d, &o, pair[0], -1);
	d.in_use = true; /* as after the first confirmation */
	return 0;
}

static int end(void **state)
{
	(void)state;
	if (d.state != WATCH_FREE)
		close(d.sock);
	close(pair[1]);
	if (world.other > 0)
		close(world.other);
	return 0;
}

static void test_comes_back(void **state)
{
	char byte, text[200];

	(void)state;
	watching_link_dead(&d, watching_now_ns());
	assert_int_equal(d.state, WATCH_DOWN);
	assert_int_equal(recv(pair[1], &byte, 1, MSG_DONTWAIT), 0); /* ended for all who have it */
	assert_true(d.next_ns <= watching_now_ns());
	assert_true(watching_try(&d, &r, &k));
	assert_int_equal(d.state, WATCH_UP);
	assert_int_equal(d.sock, world.given);
	assert_false(is_open(pair[0]) && pair[0] != d.sock);
	assert_int_equal(d.reconnects, 1);
	for (unsigned i = 1; i <= 9; i++) { /* the kernel may not have known yet that the old one is dead */
		int64_t now = watching_now_ns(), pause = i < 7 ? (1 << i) * WATCH_STEP_NS : WATCH_CONFIRM_MAX_NS;

		assert_true(watching_due(&d) < INT64_MAX);
		assert_false(watching_try(&d, &r, &k));
		assert_int_equal(world.handed, 1 + i);
		assert_true(watching_due(&d) >= now + pause && watching_due(&d) < now + pause + WATCH_STEP_NS);
	}
	world.sent++; /* it uses it */
	assert_false(watching_try(&d, &r, &k));
	assert_int_equal(world.handed, 10);
	assert_true(watching_due(&d) == INT64_MAX);
	assert_int_equal(world.reached, 1);
	assert_ptr_equal(world.expected, &d.order.expected); /* nothing else is handed over */
	assert_true(world.until_ns <= watching_now_ns() + WATCH_TRY_NS);
	watching_says(&d, text, sizeof(text));
	assert_non_null(strstr(text, "nbd3: goes on over a new connection after "));
}

static void test_goes_on_trying(void **state)
{
	int64_t before;

	(void)state;
	watching_link_dead(&d, watching_now_ns());
	world.error = ECONNREFUSED;
	before = watching_now_ns();
	assert_true(watching_try(&d, &r, &k)); /* said once */
	assert_int_equal(d.state, WATCH_DOWN);
	assert_true(d.next_ns >= before + WATCH_STEP_NS);
	assert_string_equal(d.words, "no luck");
	assert_false(watching_try(&d, &r, &k)); /* not each second */
	world.error = 0;
	world.refuse = EIO;
	assert_false(watching_try(&d, &r, &k));
	assert_false(watching_is_gone(&d));
	assert_false(is_open(world.given)); /* the server is to know */
	assert_int_equal(d.state, WATCH_DOWN);
	world.refuse = 0;
	assert_true(watching_try(&d, &r, &k));
	assert_int_equal(d.state, WATCH_UP);
	assert_int_equal(d.tries, 4);
}

static void *read_later(void *arg)
{
	char reply[64];

	poll(NULL, 0, *(int *)arg);
	assert_int_equal(recv(pair[0], reply, sizeof(reply), 0), 16);
	return NULL;
}

/* The kernel still reads replies from the old one: two readers would share the new one. */
static void test_the_old_one_is_read_first(void **state)
{
	const char reply[16] = "";
	pthread_t kernel;
	int ms = 50;

	(void)state;
	assert_int_equal(send(pair[1], reply, sizeof(reply), 0), 16);
	watching_link_dead(&d, watching_now_ns());
	assert_int_equal(pthread_create(&kernel, NULL, read_later, &ms), 0);
	assert_true(watching_try(&d, &r, &k));
	assert_int_equal(world.unread, 0);
	pthread_join(kernel, NULL);
}

static void test_one_that_nobody_reads_is_not_waited_for_long(void **state)
{
	int64_t began = watching_now_ns();

	(void)state;
	assert_int_equal(send(pair[1], "x", 1, 0), 1);
	watching_link_dead(&d, began);
	for (unsigned i = 0; i < WATCH_UNREAD_TRIES; i++) {
		assert_int_equal(watching_try(&d, &r, &k), i == 0);
		assert_int_equal(d.state, WATCH_DOWN);
		assert_int_equal(world.handed, 0);
		assert_false(is_open(world.given));
	}
	assert_true(watching_try(&d, &r, &k));
	assert_int_equal(world.unread, 1);
	assert_true(watching_now_ns() - began >= WATCH_READ_NS);
}

/* One that ends as soon as it is made is not made again at once, over and over; and one that has ended is handed over to nobody. */
static void test_one_that_ends_at_once(void **state)
{
	int64_t up;

	(void)state;
	watching_link_dead(&d, watching_now_ns());
	assert_true(watching_try(&d, &r, &k));
	up = watching_now_ns();
	watching_link_dead(&d, up);
	assert_true(watching_due(&d) > up && watching_due(&d) <= up + WATCH_STEP_NS);
	assert_true(watching_try(&d, &r, &k));
	assert_int_equal(world.handed, 2);
	shutdown(d.sock, SHUT_RDWR);
	assert_false(watching_try(&d, &r, &k));
	assert_int_equal(world.handed, 2);
	assert_int_equal(d.state, WATCH_DOWN);
}

/* The kernel says that a link is dead, but ours is well: it has another one. */
static void test_an_event_hands_it_over_again(void **state)
{
	int64_t now = watching_now_ns();

	(void)state;
	world.given = d.sock;
	assert_true(watching_due(&d) == INT64_MAX);
	watching_event(&d, now);
	assert_true(watching_due(&d) == now);
	assert_false(watching_try(&d, &r, &k));
	assert_int_equal(world.handed, 1);
	world.sent++;
	assert_false(watching_try(&d, &r, &k));
	assert_int_equal(world.handed, 1);
	assert_true(watching_due(&d) == INT64_MAX);
	watching_link_dead(&d, now);
	watching_event(&d, now + 1); /* nothing new */
	assert_int_equal(d.state, WATCH_DOWN);
}

/* Its number may be somebody else's by now. */
static void test_a_device_that_takes_no_connection_is_gone(void **state)
{
	(void)state;
	world.refuse = EINVAL;
	world.given = d.sock;
	watching_event(&d, watching_now_ns());
	assert_false(watching_try(&d, &r, &k));
	assert_true(watching_is_gone(&d) && watching_due(&d) <= watching_now_ns());
	d.gone = false;
	watching_link_dead(&d, watching_now_ns());
	world.refuse = ENODEV;
	assert_true(watching_try(&d, &r, &k));
	assert_true(watching_is_gone(&d) && watching_due(&d) <= watching_now_ns());
}

/* A device whose socket nobody has: its place at the server is taken. */
static void test_takes_over_without_a_socket(void **state)
{
	const struct watch_order o = d.order;

	(void)state;
	close(pair[0]);
	watching_begin(&d, &o, -1, -1);
	assert_int_equal(d.state, WATCH_DOWN);
	assert_true(watching_due(&d) <= watching_now_ns());
	assert_true(watching_try(&d, &r, &k));
	assert_int_equal(d.state, WATCH_UP);
	assert_int_equal(d.sock, world.given);
	assert_false(d.in_use);
}

/* One that is not due yet is what the next pause is for, whatever else there was to wake up for. */
static void test_pauses(void **state)
{
	struct watch_device all[3] = { { .state = WATCH_FREE }, { .state = WATCH_UP, .in_use = true }, { .state = WATCH_FREE } };
	int ms;

	(void)state;
	assert_int_equal(watching_pause_ms(all, 3), -1);
	world.error = ECONNREFUSED;
	watching_link_dead(&d, watching_now_ns());
	all[2] = d;
	assert_int_equal(watching_pause_ms(all, 3), 0);
	assert_true(watching_try(&d, &r, &k));
	all[2] = d;
	for (int i = 0; i < 3; i++) {
		ms = watching_pause_ms(all, 3);
		assert_true(ms > 0 && ms <= WATCH_STEP_NS / 1000000 + 1);
	}
}

/* As if what it has been told were said for so long already. */
static void let_time_pass(void)
{
	assert_true(d.stale_ns > 0);
	d.stale_ns -= WATCH_OVER_NS;
}

static void test_another_content(void **state)
{
	char text[400];

	(void)state;
	watching_link_dead(&d, watching_now_ns());
	world.error = ESTALE;
	assert_true(watching_try(&d, &r, &k));
	assert_int_equal(d.state, WATCH_DOWN); /* once is not enough */
	let_time_pass();
	world.error = ETIMEDOUT;
	assert_false(watching_try(&d, &r, &k));
	world.error = ESTALE;
	assert_false(watching_try(&d, &r, &k)); /* anew */
	assert_int_equal(d.state, WATCH_DOWN);
	let_time_pass();
	assert_true(watching_try(&d, &r, &k));
	assert_int_equal(d.state, WATCH_OVER);
	assert_int_equal(world.handed, 0);
	assert_int_equal(world.reached, 4);
	watching_link_dead(&d, watching_now_ns());
	assert_int_equal(d.state, WATCH_OVER); /* for good */
	/* Its requests are not to wait for what is nowhere.  It was told first, for the kernel may be slow. */
	assert_int_equal(world.disconnects, 0);
	assert_true(watching_due(&d) <= watching_now_ns());
	assert_false(watching_try(&d, &r, &k));
	assert_true(watching_due(&d) <= watching_now_ns() + WATCH_STEP_NS);
	assert_false(watching_try(&d, &r, &k));
	assert_int_equal(world.disconnects, 2);
	assert_true(watching_due(&d) == INT64_MAX);
	assert_int_equal(world.reached, 4);
	watching_says(&d, text, sizeof(text));
	assert_non_null(strstr(text, "OVER"));
}

/* Nobody's answer is over: of a connection that was made and not taken by the kernel, what another device was told; or of a device whose own
 * connection may be alive.
 */
static void test_not_over(void **state)
{
	const struct watch_order o = d.order;

	(void)state;
	watching_link_dead(&d, watching_now_ns());
	d.stale_ns = 1;
	r.codes[0] = ESTALE;
	world.refuse = EIO;
	watching_try(&d, &r, &k);
	assert_int_equal(d.state, WATCH_DOWN);
	watching_begin(&d, &o, -1, -1);
	world.error = ESTALE;
	d.stale_ns = 1;
	watching_try(&d, &r, &k);
	assert_int_equal(d.state, WATCH_DOWN);
	assert_int_equal(world.disconnects, 0);
	d.state = WATCH_FREE;
}

/* Who refuses without saying why is asked what it has; and one of several addresses may be another machine's. */
static void test_refused_for_a_reason_unknown(void **state)
{
	(void)state;
	watching_link_dead(&d, watching_now_ns());
	world.error = ENOENT;
	assert_true(watching_try(&d, &r, &k));
	world.looks = true;
	assert_false(watching_try(&d, &r, &k));
	world.looks = false;
	assert_false(watching_try(&d, &r, &k));
	assert_int_equal(d.state, WATCH_DOWN);
	d.order.addresses = 2;
	world.looks = true;
	world.error = ESTALE;
	world.second = ECONNREFUSED;
	for (int i = 0; i < 4; i++) { /* each try begins with another */
		size_t before = world.first;

		assert_false(watching_try(&d, &r, &k));
		assert_int_equal(d.state, WATCH_DOWN);
		world.looks = false;
		if (i > 0)
			assert_int_equal(world.first, 1 - before);
	}
	/* And it is over when both have said so for a while; that one asked with the generation is refused in between tells nothing. */
	world.second = ESTALE;
	for (int i = 0; i < 2; i++) {
		world.looks = false;
		world.error = world.second = ENOENT;
		assert_false(watching_try(&d, &r, &k));
		assert_int_equal(d.state, WATCH_DOWN);
		world.looks = true;
		world.error = world.second = ESTALE;
		assert_int_equal(watching_try(&d, &r, &k), i);
		if (i == 0)
			let_time_pass();
	}
	assert_int_equal(d.state, WATCH_OVER);
}

/* What a new connection is handed over for until the kernel uses it, also of attach. */
static void test_confirmed_from_the_beginning(void **state)
{
	const struct watch_order o = d.order;

	(void)state;
	world.given = pair[0];
	watching_begin(&d, &o, pair[0], -1);
	assert_true(watching_due(&d) <= watching_now_ns());
	assert_false(watching_try(&d, &r, &k));
	assert_int_equal(world.handed, 1);
	world.sent++;
	assert_false(watching_try(&d, &r, &k));
	assert_true(watching_due(&d) == INT64_MAX);
}

static void test_orders(void **state)
{
	const struct watch_order good = d.order;
	struct watch_order o;
	struct errbuf e;

	(void)state;
	for (int i = 0; i < 6; i++) {
		o = good;
		if (i == 0)
			o.index = -1;
		else if (i == 1)
			o.addresses = 0;
		else if (i == 2)
			o.addresses = REACH_ADDRESSES_MAX + 1;
		else if (i == 3)
			o.dead_link_timeout = 0;
		else if (i == 4)
			o.request[0] = '\0';
		else
			memset(o.request, 'x', sizeof(o.request));
		assert_int_equal(watch_order_check(&o, &e), -1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_comes_back, begin, end),
		cmocka_unit_test_setup_teardown(test_goes_on_trying, begin, end),
		cmocka_unit_test_setup_teardown(test_the_old_one_is_read_first, begin, end),
		cmocka_unit_test_setup_teardown(test_one_that_nobody_reads_is_not_waited_for_long, begin, end),
		cmocka_unit_test_setup_teardown(test_one_that_ends_at_once, begin, end),
		cmocka_unit_test_setup_teardown(test_an_event_hands_it_over_again, begin, end),
		cmocka_unit_test_setup_teardown(test_a_device_that_takes_no_connection_is_gone, begin, end),
		cmocka_unit_test_setup_teardown(test_takes_over_without_a_socket, begin, end),
		cmocka_unit_test_setup_teardown(test_pauses, begin, end),
		cmocka_unit_test_setup_teardown(test_another_content, begin, end),
		cmocka_unit_test_setup_teardown(test_not_over, begin, end),
		cmocka_unit_test_setup_teardown(test_refused_for_a_reason_unknown, begin, end),
		cmocka_unit_test_setup_teardown(test_confirmed_from_the_beginning, begin, end),
		cmocka_unit_test_setup_teardown(test_orders, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
