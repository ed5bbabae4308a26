/* SPDX-License-Identifier: BSD-3-Clause */
/* Who gets a place when all are taken.  Connections that do not go on must not keep out those that would, and a crowd that comes back
 * at once after a pause must not throw itself out.  So a newcomer takes the place of another: one of the source (address; the first 64 bits
 * of IPv6; all of a Unix socket's clients) that has most places, so that whoever fills them from one address loses them to everybody else, and never
 * the other way round.  Of those, first one that has completed no option, and first the one that came first; but none that has only just come:
 * while there are no others, accepting waits, and the backlog of the listening socket keeps the newcomers.
 *
 * Time that the owner's calls take (an activation may take seconds) is nobody's patience: the lobby's clock stands still meanwhile.
 */
#include "config.h"

#include "server/engine/lobby.h"

#include "common/cleanup.h"
#include "server/engine/negotiate.h"
#include "worker/peer.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* Seconds after which a place may be given to another: a negotiation takes a few round trips. */
#define FRESH_S 0.1	/* nothing completed */
#define UNFINISHED_S 1.0 /* options completed, but not the negotiation */

#define NO_DESCRIPTORS_S 1.0 /* accept failed: tried again after that, or when a place gets free */

/* Lines about clients, who decide how many there are. */
#define LINES 50u
#define LINES_S 60.0

struct place {
	struct lobby *lobby;
	ev_io io;
	int fd; /* -1: free */
	int events; /* watched for */
	double since; /* lobby's clock */
	unsigned char source[16];
	struct peer who;
	struct negotiation n;
};

struct lobby {
	struct ev_loop *loop;
	const struct lobby_ops *ops;
	double limit;
	ev_timer timer;
	double held; /* seconds that the owner's calls took so far */
	bool stopped, paused;
	double paused_until;
	double lines_since;
	unsigned lines, left_out;
	size_t nlisten;
	ev_io *listeners;
	unsigned nplaces;
	struct place *places;
};

/* ---- the log ---- */

static double monotonic(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + 1e-9 * (double)ts.tv_nsec;
}

static void tell(struct lobby *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void tell(struct lobby *l, const char *fmt, ...)
{
	char text[sizeof(((struct errbuf *)0)->text) + PEER_TEXT + 64];
	double now = monotonic();
	va_list ap;

	if (now - l->lines_since >= LINES_S) {
		l->lines_since = now;
		l->lines = 0;
	}
	if (l->lines == LINES) {
		l->left_out++;
		return;
	}
	l->lines++;
	if (l->left_out) {
		snprintf(text, sizeof(text), "%u more lines about clients were left out", l->left_out);
		l->ops->warn(l->ops->arg, text);
		l->left_out = 0;
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	l->ops->warn(l->ops->arg, text);
}

/* ---- time ---- */

static double least(double a, double b)
{
	return a < b ? a : b;
}

static double lobby_now(const struct lobby *l)
{
	return monotonic() - l->held;
}

/* Sets the timer to what happens next: a negotiation's time is over, or accepting goes on. */
static void arm(struct lobby *l)
{
	double at = l->paused ? l->paused_until : INFINITY, after;

	for (unsigned i = 0; i < l->nplaces; i++)
		if (l->places[i].fd >= 0)
			at = least(at, l->places[i].since + l->limit);
	ev_timer_stop(l->loop, &l->timer);
	if (l->stopped || isinf(at))
		return;
	ev_now_update(l->loop);
	after = at - lobby_now(l);
	ev_timer_set(&l->timer, after > 0.001 ? after : 0.001, 0.);
	ev_timer_start(l->loop, &l->timer);
}

static void pause_accepting(struct lobby *l, double until)
{
	for (size_t i = 0; i < l->nlisten; i++)
		ev_io_stop(l->loop, &l->listeners[i]);
	l->paused = true;
	l->paused_until = until;
	arm(l);
}

static void go_on_accepting(struct lobby *l)
{
	l->paused = false;
	for (size_t i = 0; i < l->nlisten && !l->stopped; i++)
		ev_io_start(l->loop, &l->listeners[i]);
}

/* ---- places ---- */

/* The socket stays open. */
static void free_place(struct place *p)
{
	struct lobby *l = p->lobby;

	ev_io_stop(l->loop, &p->io);
	p->fd = -1;
	if (l->paused)
		go_on_accepting(l);
	arm(l);
}

static void drop(struct place *p)
{
	int fd = p->fd;

	close(fd);
	free_place(p);
}

static void watch(struct place *p, int events)
{
	if (p->events == events)
		return;
	ev_io_stop(p->lobby->loop, &p->io);
	ev_io_set(&p->io, p->fd, events);
	ev_io_start(p->lobby->loop, &p->io);
	p->events = events;
}

/* What the machine is told may call the owner, who may block; and what comes of it may be for the log. */
static void tell_machine(struct place *p, void (*what)(struct negotiation *, size_t), size_t bytes)
{
	double before = monotonic();
	const char *text;

	what(&p->n, bytes);
	p->lobby->held += monotonic() - before;
	text = negotiate_told(&p->n);
	if (text)
		tell(p->lobby, "%s: %s", p->who.address, text);
}

/* Sends once; false when the caller has nothing more to do. */
static bool send_some(struct place *p, const void *out, size_t bytes)
{
	ssize_t n = send(p->fd, out, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0 && errno != EAGAIN) {
		drop(p);
		return false;
	}
	if (n > 0)
		tell_machine(p, negotiate_sent, (size_t)n);
	negotiate_output(&p->n, &bytes);
	if (bytes == 0)
		return true;
	watch(p, EV_WRITE);
	return false;
}

static bool receive_some(struct place *p)
{
	size_t room;
	void *to = negotiate_room(&p->n, &room);
	ssize_t n = recv(p->fd, to, room, MSG_DONTWAIT);

	if (n < 0 && errno == EINTR)
		return true;
	if (n < 0 && errno == EAGAIN) {
		watch(p, EV_READ);
		return false;
	}
	if (n <= 0) { /* gone: a port scan, a client that lost its patience */
		drop(p);
		return false;
	}
	tell_machine(p, negotiate_received, (size_t)n);
	return true;
}

static void hand_over(struct place *p)
{
	size_t bytes;
	const void *answer = negotiate_answer(&p->n, &bytes);
	struct lobby *l = p->lobby;
	int fd = p->fd;

	free_place(p); /* what it holds stays until the next connection is accepted */
	l->ops->begin(l->ops->arg, p->n.export.session, fd, answer, bytes);
}

/* At most one option, or one part of a list, at a time, so that nobody waits for a client with many. */
static void proceed(struct place *p)
{
	unsigned completed = p->n.completed;

	for (;;) {
		size_t bytes;
		const void *out = negotiate_output(&p->n, &bytes);

		if (bytes) {
			if (!send_some(p, out, bytes))
				return;
			continue;
		}
		switch (negotiate_state(&p->n)) {
		case NEGOTIATE_BEGIN:
			hand_over(p);
			return;
		case NEGOTIATE_END:
			drop(p);
			return;
		case NEGOTIATE_GOES_ON:
			break;
		}
		if (p->n.completed != completed) {
			watch(p, EV_READ);
			return;
		}
		if (!receive_some(p))
			return;
	}
}

static void place_ready(struct ev_loop *loop, ev_io *w, int events)
{
	proceed(w->data);
}

/* ---- who comes and who goes ---- */

/* What counts as one source. */
static void find_source(const struct sockaddr_storage *a, unsigned char source[16])
{
	memset(source, 0, 16);
	if (a->ss_family == AF_INET) {
		source[10] = source[11] = 0xff;
		memcpy(source + 12, &((const struct sockaddr_in *)a)->sin_addr, 4);
	} else if (a->ss_family == AF_INET6) {
		const struct in6_addr *in6 = &((const struct sockaddr_in6 *)a)->sin6_addr;

		memcpy(source, in6, IN6_IS_ADDR_V4MAPPED(in6) || IN6_IS_ADDR_LINKLOCAL(in6) ? 16 : 8);
	}
}

static double may_go_at(const struct place *p)
{
	return p->since + (p->n.completed ? UNFINISHED_S : FRESH_S);
}

static unsigned crowd(const struct place *p)
{
	const struct lobby *l = p->lobby;
	unsigned n = 0;

	for (unsigned i = 0; i < l->nplaces; i++)
		n += l->places[i].fd >= 0 && memcmp(l->places[i].source, p->source, sizeof(p->source)) == 0;
	return n;
}

/* Of two of the largest crowd: should a go sooner than b? */
static bool sooner(const struct place *a, const struct place *b)
{
	if (!a->n.completed != !b->n.completed)
		return !a->n.completed;
	return a->since < b->since;
}

/* A free place, or one whose client may be put out.  NULL: not before *when. */
static struct place *find_place(struct lobby *l, double *when)
{
	struct place *found = NULL;
	double now = lobby_now(l);
	unsigned largest = 0;

	*when = INFINITY;
	for (unsigned i = 0; i < l->nplaces; i++) {
		struct place *p = &l->places[i];
		unsigned n;

		if (p->fd < 0)
			return p;
		n = crowd(p);
		if (n < largest)
			continue;
		if (n > largest) {
			largest = n;
			found = NULL;
			*when = INFINITY;
		}
		*when = least(*when, may_go_at(p));
		if (now >= may_go_at(p) && (!found || sooner(p, found)))
			found = p;
	}
	return found;
}

/* Errors of accept(2) that are the connection's, which is gone already. */
static bool is_passing(int error)
{
	switch (error) {
	case EAGAIN:
	case EINTR:
	case ECONNABORTED:
	case EPERM:
	case EPROTO:
	case ENOPROTOOPT:
	case EOPNOTSUPP:
	case ENETDOWN:
	case ENETUNREACH:
	case ENONET:
	case EHOSTDOWN:
	case EHOSTUNREACH:
	case ETIMEDOUT:
		return true;
	}
	return false;
}

/* One at a time and after everything else that is ready (its priority is lower): who is here goes on before others come. */
static void listener_ready(struct ev_loop *loop, ev_io *w, int events)
{
	struct lobby *l = w->data;
	struct sockaddr_storage a = { .ss_family = AF_UNSPEC };
	socklen_t bytes = sizeof(a);
	double when;
	struct place *p = find_place(l, &when);
	int fd, one = 1;

	if (!p) {
		pause_accepting(l, when);
		return;
	}
	/* Blocking: whoever serves it wants to wait in the kernel (io_uring does not wait for a non-blocking socket). */
	fd = accept4(w->fd, (struct sockaddr *)&a, &bytes, SOCK_CLOEXEC);
	if (fd < 0) {
		if (is_passing(errno))
			return;
		tell(l, "cannot accept a connection: %s; tried again in a second", strerror(errno));
		pause_accepting(l, lobby_now(l) + NO_DESCRIPTORS_S);
		return;
	}
	if (p->fd >= 0) {
		tell(l, "%s: put out: all %u places for connections that negotiate are taken, and it did not go on", p->who.address, l->nplaces);
		drop(p);
	}
	p->fd = fd;
	p->events = 0;
	p->since = lobby_now(l);
	p->who = (struct peer){ .sock = -1 };
	peer_address(&a, p->who.address);
	find_source(&a, p->source);
	if (a.ss_family == AF_INET || a.ss_family == AF_INET6) {
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		/* Urgent data would be counted as received and never be: a successor would go on at the wrong byte. */
		setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one));
	}
	negotiate_start(&p->n, l->ops, &p->who, fd);
	arm(l);
	proceed(p);
}

static void time_passed(struct ev_loop *loop, ev_timer *w, int events)
{
	struct lobby *l = w->data;
	double now = lobby_now(l);

	for (unsigned i = 0; i < l->nplaces; i++) {
		struct place *p = &l->places[i];

		if (p->fd < 0 || now < p->since + l->limit)
			continue;
		tell(l, "%s: did not end its negotiation within %g s; the connection is closed", p->who.address, l->limit);
		drop(p);
	}
	if (l->paused && now >= l->paused_until)
		go_on_accepting(l);
	arm(l);
}

/* ---- life ---- */

struct lobby *lobby_create(const struct lobby_options *o, struct errbuf *e)
{
	struct lobby *l = calloc(1, sizeof(*l));

	if (l) {
		l->listeners = calloc(o->nlisten, sizeof(*l->listeners));
		l->places = calloc(o->places, sizeof(*l->places));
	}
	if (!l || !l->listeners || !l->places) {
		lobby_free(l);
		err_set(e, ENOMEM, "no memory for %u connections that negotiate", o->places);
		return NULL;
	}
	l->loop = o->loop;
	l->ops = o->ops;
	l->limit = o->seconds;
	l->lines_since = monotonic();
	l->nplaces = o->places;
	ev_init(&l->timer, time_passed);
	l->timer.data = l;
	for (unsigned i = 0; i < o->places; i++) {
		l->places[i].lobby = l;
		l->places[i].fd = -1;
		ev_init(&l->places[i].io, place_ready);
		l->places[i].io.data = &l->places[i];
	}
	for (size_t i = 0; i < o->nlisten; i++) {
		int flags = fcntl(o->listen_fds[i], F_GETFL);

		if (flags < 0 || fcntl(o->listen_fds[i], F_SETFL, flags | O_NONBLOCK) < 0) {
			err_errno(e, "listening socket %d", o->listen_fds[i]);
			lobby_free(l);
			return NULL;
		}
		ev_io_init(&l->listeners[i], listener_ready, o->listen_fds[i], EV_READ);
		ev_set_priority(&l->listeners[i], -1);
		l->listeners[i].data = l;
		l->nlisten++;
	}
	go_on_accepting(l);
	return l;
}

void lobby_stop(struct lobby *l)
{
	l->stopped = true;
	for (size_t i = 0; i < l->nlisten; i++)
		ev_io_stop(l->loop, &l->listeners[i]);
	ev_timer_stop(l->loop, &l->timer);
	for (unsigned i = 0; i < l->nplaces; i++)
		if (l->places[i].fd >= 0)
			drop(&l->places[i]);
}

void lobby_free(struct lobby *l)
{
	if (!l)
		return;
	if (l->places && l->loop)
		lobby_stop(l);
	free(l->listeners);
	free(l->places);
	free(l);
}
