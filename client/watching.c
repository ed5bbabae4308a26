/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/watching.h"

#include "client/socksent.h"

#include <errno.h>
#include <inttypes.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

int64_t watching_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

int watch_order_check(const struct watch_order *o, struct errbuf *e)
{
	if (o->index < 0 || o->addresses < 1 || o->addresses > REACH_ADDRESSES_MAX || o->dead_link_timeout == 0 || o->user_timeout_ms == 0 ||
	    o->keepalive_s == 0 || !memchr(o->request, '\0', sizeof(o->request)) || !o->request[0] ||
	    !memchr(o->look, '\0', sizeof(o->look)) || !o->look[0])
		return err_set(e, EINVAL, "what is to be watched does not make sense; are nbdswap and its watch of the same version?");
	return 0;
}

void watching_begin(struct watch_device *d, const struct watch_order *order, int sock, int alive)
{
	memset(d, 0, sizeof(*d));
	d->order = *order;
	d->sock = sock;
	d->alive = alive;
	d->sent = sock < 0 ? 0 : socksent(sock);
	d->pause_ns = WATCH_STEP_NS;
	d->down_ns = d->next_ns = watching_now_ns();
	d->state = sock < 0 ? WATCH_DOWN : WATCH_UP;
}

bool watching_is_gone(const struct watch_device *d)
{
	char byte;

	return d->gone || (d->alive >= 0 && pread(d->alive, &byte, 1, 0) < 0 && errno == ENODEV);
}

void watching_link_dead(struct watch_device *d, int64_t now_ns)
{
	if (d->state != WATCH_UP)
		return;
	shutdown(d->sock, SHUT_RDWR);
	d->state = WATCH_DOWN;
	d->down_ns = now_ns;
	/* At once, but for one that ended as soon as it was made: there may be a reason for that. */
	d->next_ns = now_ns > d->up_ns + WATCH_STEP_NS ? now_ns : d->up_ns + WATCH_STEP_NS;
	d->stale_ns = 0;
	d->tries = 0;
	snprintf(d->words, sizeof(d->words), "its connection has ended");
}

/* The kernel has it, or refuses. */
static int hand_over(struct watch_device *d, int sock, struct reconfigure *k, struct errbuf *e)
{
	int rc = reconfigure(k, d->order.index, sock, d->order.dead_link_timeout, watching_now_ns() + WATCH_TRY_NS, e);

	d->gone = rc < 0 && (e->code == ENODEV || e->code == EINVAL); /* disconnected, or connected by somebody else in another way */
	return rc;
}

static void wait_ms(int ms)
{
	poll(NULL, 0, ms);
}

/* The kernel's reader of the old socket goes on while there are replies in it; one that is still at it when the place of that socket is given to another
 * reads from the new one beside that one's own reader, and both get parts of replies.  So: until all is read, and a little for what was read last.
 */
static bool let_it_be_read(int old)
{
	int64_t until = watching_now_ns() + WATCH_READ_NS;
	int bytes;

	while ((old < 0 || (ioctl(old, SIOCINQ, &bytes) == 0 && bytes > 0)) && watching_now_ns() < until)
		wait_ms(2);
	wait_ms(10);
	return old < 0 || ioctl(old, SIOCINQ, &bytes) < 0 || bytes == 0;
}

void watching_event(struct watch_device *d, int64_t now_ns)
{
	if (d->state != WATCH_UP)
		return;
	d->in_use = false;
	d->sent = socksent(d->sock);
	d->next_ns = now_ns;
	d->pause_ns = WATCH_STEP_NS;
}

int64_t watching_due(const struct watch_device *d)
{
	switch (d->state) {
	case WATCH_DOWN:
		return d->next_ns;
	case WATCH_UP:
		return d->in_use ? INT64_MAX : d->next_ns;
	case WATCH_OVER:
		return d->fails ? INT64_MAX : d->next_ns;
	case WATCH_FREE:
		break;
	}
	return INT64_MAX;
}

int watching_pause_ms(const struct watch_device d[], int n)
{
	int64_t next = INT64_MAX, now = watching_now_ns();

	for (int i = 0; i < n; i++)
		if (watching_due(&d[i]) < next)
			next = watching_due(&d[i]);
	if (next == INT64_MAX)
		return -1;
	return next <= now ? 0 : (int)((next - now) / 1000000) + 1;
}

static bool has_ended(int sock)
{
	struct pollfd p = { .fd = sock, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0;
}

static void confirm(struct watch_device *d, struct reconfigure *k)
{
	struct errbuf e;

	/* Since it was last looked at: the kernel is not to get two readers on it. */
	if (has_ended(d->sock)) {
		watching_link_dead(d, watching_now_ns());
		return;
	}
	if (socksent(d->sock) != d->sent) {
		d->in_use = true;
		return;
	}
	d->next_ns = watching_now_ns() + d->pause_ns;
	if (d->pause_ns < WATCH_CONFIRM_MAX_NS)
		d->pause_ns *= 2;
	if (hand_over(d, d->sock, k, &e) < 0)
		snprintf(d->words, sizeof(d->words), "%s", e.text);
	if (d->gone)
		d->next_ns = watching_now_ns();
}

/* What waits for it would wait as long as the dead-link timeout, which is a week, for pages that are nowhere. */
static void let_fail(struct watch_device *d, struct reconfigure *k)
{
	struct errbuf e;

	d->fails = reconfigure_disconnect(k, d->order.index, watching_now_ns() + WATCH_TRY_NS, &e) == 0 || e.code == EOPNOTSUPP;
	d->next_ns = watching_now_ns() + WATCH_STEP_NS;
}

/* One that is wrong may be another machine's, and the right one on its way. */
static bool all_say(const struct reach *r, uint32_t addresses, int code)
{
	for (uint32_t i = 0; i < addresses; i++)
		if (r->codes[i] != code)
			return false;
	return true;
}

/* For good, for its processes will die of it: each address has said for a while that there is another generation, and nothing else, and its own
 * connection has ended.  (Of one that nobody has a duplicate of, that is not known.)  A question that was refused in between tells nothing.
 */
static bool is_over(struct watch_device *d, const struct reach *r, int64_t now_ns)
{
	if (d->sock < 0 || !all_say(r, d->order.addresses, ESTALE)) {
		if (!all_say(r, d->order.addresses, ENOENT))
			d->stale_ns = 0;
		return false;
	}
	if (!d->stale_ns)
		d->stale_ns = now_ns;
	return now_ns - d->stale_ns >= WATCH_OVER_NS;
}

bool watching_try(struct watch_device *d, struct reach *r, struct reconfigure *k)
{
	int64_t now = watching_now_ns();
	struct reach_wishes w = { .addresses = d->order.address, .count = d->order.addresses,
				  .first = d->tries % d->order.addresses, .least_ms = WATCH_ADDRESS_MS,
				  .request = d->looks ? d->order.look : d->order.request,
				  .deadline_ns = now + WATCH_TRY_NS, .connect_ms = 1000, .user_timeout_ms = d->order.user_timeout_ms,
				  .keepalive_s = d->order.keepalive_s, .expected = &d->order.expected };
	struct errbuf e;
	int sock, old = d->sock;

	if (d->state == WATCH_UP) {
		confirm(d, k);
		return false;
	}
	if (d->state == WATCH_OVER) {
		let_fail(d, k);
		return false;
	}
	d->tries++;
	sock = reach(r, &w, &e);
	if (sock >= 0) {
		d->sent = socksent(sock); /* the kernel may use it before it has said so */
		if (!let_it_be_read(old) && d->unread++ < WATCH_UNREAD_TRIES) {
			close(sock);
			snprintf(d->words, sizeof(d->words), "the kernel has not read yet what came over the old one");
			d->next_ns = now + WATCH_STEP_NS;
			return d->tries == 1;
		}
	}
	if (sock >= 0 && hand_over(d, sock, k, &e) == 0) {
		d->sock = sock;
		d->in_use = false;
		d->unread = 0;
		d->up_ns = watching_now_ns();
		d->reconnects++;
		d->took_ms = (watching_now_ns() - d->down_ns) / 1000000;
		d->next_ns = watching_now_ns() + WATCH_STEP_NS;
		d->pause_ns = 2 * WATCH_STEP_NS;
		d->state = WATCH_UP;
		if (old >= 0)
			close(old); /* last: the process may be killed at any point, and the other one must not take another file's number for it */
		return true;
	}
	if (sock >= 0)
		close(sock);
	else if (is_over(d, r, now))
		d->state = WATCH_OVER;
	snprintf(d->words, sizeof(d->words), "%s", e.text);
	if (d->state == WATCH_OVER) {
		d->next_ns = now; /* told first, then due at once */
		return true;
	}
	d->looks = e.code == ENOENT && !d->looks;
	d->next_ns = d->gone ? now : now + WATCH_STEP_NS;
	return d->tries == 1 || d->gone;
}

void watching_says(const struct watch_device *d, char *out, size_t size)
{
	const int32_t n = d->order.index;

	if (d->state == WATCH_UP)
		snprintf(out, size, "nbd%" PRId32 ": goes on over a new connection after %" PRId64 " ms (%" PRIu32 " tries)", n,
			 d->took_ms, d->tries);
	else if (d->state == WATCH_DOWN)
		snprintf(out, size, "nbd%" PRId32 ": no connection, tried again each second: %s", n, d->words);
	else
		snprintf(out, size, "nbd%" PRId32 ": OVER: what was swapped out is not there any more, so its requests fail: %s; save what you can"
			 " and restart this machine", n, d->words);
}
