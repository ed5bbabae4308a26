/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/engine/seat.h"

#include "server/engine/served.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

struct seat {
	struct seat *next, *next_ended;
	struct session *session;
	struct sess_mem *mem;
	struct live *live; /* once it is the mover's */
	int sock;	   /* -1 until it is begun */
	bool moves;	   /* it is to use the export, not only to hear of it */
	bool over;	   /* ended by the daemon before it was begun */
	char peer[PEER_TEXT];
	const char *why;
};

struct seats {
	struct seats_options o;
	struct exports *exports;
	struct mover *mover;
	pthread_mutex_t lock; /* the list, and what becomes of a seat; not held over what the daemon is asked */
	struct seat *first;
	unsigned taken;
	_Atomic(struct seat *) ended;
};

struct seats *seats_create(const struct seats_options *o, struct errbuf *e)
{
	struct seats *t = calloc(1, sizeof(*t));

	if (!t) {
		err_set(e, ENOMEM, "no memory for the list of sessions");
		return NULL;
	}
	t->o = *o;
	pthread_mutex_init(&t->lock, NULL);
	return t;
}

void seats_free(struct seats *t)
{
	if (!t)
		return;
	pthread_mutex_destroy(&t->lock);
	free(t);
}

void seats_serve(struct seats *t, struct exports *exports, struct mover *mover)
{
	t->exports = exports;
	t->mover = mover;
}

void seats_ended(void *arg, void *owner, bool left, const char *why)
{
	struct seats *t = arg;
	struct seat *s = owner;

	s->why = why;
	s->session->grant.cut = !left;
	s->next_ended = atomic_load(&t->ended);
	while (!atomic_compare_exchange_weak(&t->ended, &s->next_ended, s))
		;
	t->o.wake(t->o.arg);
}

/* Before the daemon is asked, so that the client is told why and nobody's lease is touched.  Those that resume have had a place. */
static bool has_place(struct seats *t, struct errbuf *e)
{
	unsigned live = 0;

	pthread_mutex_lock(&t->lock);
	for (const struct seat *s = t->first; s; s = s->next)
		live += s->moves;
	pthread_mutex_unlock(&t->lock);
	if (live >= t->o.connections)
		err_set(e, EMFILE, "this server has %u connections in use and takes no more (connections = %u in nbdswapd.conf)", live,
			t->o.connections);
	return live < t->o.connections;
}

static struct seat *take(struct seats *t, struct session *session, const char *peer, bool moves)
{
	struct seat *s = calloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->session = session;
	s->sock = -1;
	s->moves = moves;
	snprintf(s->peer, sizeof(s->peer), "%s", peer);
	pthread_mutex_lock(&t->lock);
	s->next = t->first;
	t->first = s;
	t->taken++;
	pthread_mutex_unlock(&t->lock);
	return s;
}

/* Takes it out of the list and frees it; its session is closed by the caller. */
static void leave(struct seats *t, struct seat *s)
{
	struct seat **p;

	pthread_mutex_lock(&t->lock);
	for (p = &t->first; *p != s; p = &(*p)->next)
		;
	*p = s->next;
	t->taken--;
	pthread_mutex_unlock(&t->lock);
	sessmem_unmap(s->mem);
	if (s->sock >= 0)
		close(s->sock);
	free(s);
}

struct seat *seat_open(struct seats *t, const char *name, const struct peer *who, struct errbuf *e)
{
	struct session *session;
	struct seat *s;

	if (who->sock >= 0 && !has_place(t, e))
		return NULL;
	session = exports_open_session(t->exports, name, who, e);
	if (!session)
		return NULL;
	s = take(t, session, who->address, who->sock >= 0);
	if (!s) {
		err_set(e, ENOMEM, "no memory for a session");
		exports_close_session(t->exports, session);
		return NULL;
	}
	if (who->sock >= 0 && !(s->mem = sessmem_map(session->grant.memory, t->o.allow_unlocked, e))) {
		seat_close(t, s);
		return NULL;
	}
	return s;
}

uint64_t seat_size(const struct seat *s)
{
	return store_size(s->session->store);
}

struct generation seat_generation(const struct seat *s)
{
	return s->session->grant.generation;
}

void seat_close(struct seats *t, struct seat *s)
{
	struct session *session = s->session;

	leave(t, s);
	exports_close_session(t->exports, session);
}

/* Sessions over other sockets than TCP end with the worker, so nothing is counted for them. */
static int count_socket(int sock, struct tcp_account *out, struct errbuf *e)
{
	if (tcp_account(sock, out, e) == 0)
		return 0;
	*out = (struct tcp_account){ 0 };
	return e->code == EOPNOTSUPP ? 0 : -1;
}

static int hand_over(struct seats *t, struct seat *s, const struct tcp_account *account, bool blame, struct errbuf *e)
{
	struct mover_session_options o = { .sock = s->sock, .memory = s->mem, .owner = s, .account = account, .blame = blame };
	int result = -1;

	o.export = served_export(s->session->data, s->session->grant.reserve, e);
	if (!o.export)
		return -1;
	pthread_mutex_lock(&t->lock);
	if (s->over)
		err_set(e, ECANCELED, "the daemon ended it");
	else if ((s->live = mover_add_session(t->mover, &o, e)))
		result = 0;
	pthread_mutex_unlock(&t->lock);
	return result;
}

static void say_ended(struct seats *t, const struct seat *s, const char *why)
{
	char text[512];

	snprintf(text, sizeof(text), "export %s: the session of %s was ended: %.300s", s->session->name, s->peer, why);
	t->o.say(t->o.arg, text);
}

void seat_begin(struct seats *t, struct seat *s, int sock, const void *answer, size_t bytes)
{
	struct tcp_account account;
	struct errbuf e;

	s->sock = sock;
	if (count_socket(sock, &account, &e) == 0) {
		sessmem_begin(s->mem, account.received, account.queued, answer, (uint32_t)bytes);
		if (hand_over(t, s, NULL, false, &e) == 0)
			return;
	}
	say_ended(t, s, e.text);
	shutdown(sock, SHUT_RDWR); /* the daemon has it open too */
	seat_close(t, s);
}

int seat_resume(struct seats *t, struct grant *g, int sock, const char *peer, bool blame, struct errbuf *e)
{
	struct session *session = exports_resume_session(t->exports, g, e);
	struct tcp_account account;
	struct seat *s;

	if (!session) {
		close(sock);
		return -1;
	}
	s = take(t, session, peer, true);
	if (!s) {
		err_set(e, ENOMEM, "no memory for a session");
		close(sock);
		exports_drop_session(t->exports, session);
		return -1;
	}
	s->sock = sock;
	served_await(session->data);
	s->mem = sessmem_map(session->grant.memory, t->o.allow_unlocked, e);
	if (s->mem && tcp_account(sock, &account, e) == 0 && hand_over(t, s, &account, blame, e) == 0)
		return 0;
	leave(t, s);
	exports_drop_session(t->exports, session);
	return -1;
}

static bool end_one(void *arg, struct session *session)
{
	struct seats *t = arg;
	struct seat *s;

	pthread_mutex_lock(&t->lock);
	for (s = t->first; s && s->session != session; s = s->next)
		;
	if (s && s->live)
		mover_end_session(t->mover, s->live);
	else if (s)
		s->over = true;
	pthread_mutex_unlock(&t->lock);
	return true;
}

bool seat_end(struct seats *t, uint64_t session)
{
	return exports_end_session(t->exports, session, end_one, t);
}

static void clear(struct seats *t, struct seat *s)
{
	struct session *session = s->session;
	struct live *live;

	pthread_mutex_lock(&t->lock);
	live = s->live;
	s->live = NULL; /* the daemon's "end" finds nothing to end */
	pthread_mutex_unlock(&t->lock);
	mover_forget_session(t->mover, live);
	if (s->why)
		say_ended(t, s, s->why);
	leave(t, s);
	exports_close_session(t->exports, session);
}

void seats_clear(struct seats *t)
{
	struct seat *s = atomic_exchange(&t->ended, NULL);

	while (s) {
		struct seat *next = s->next_ended;

		clear(t, s);
		s = next;
	}
}

unsigned seats_taken(struct seats *t)
{
	unsigned n;

	pthread_mutex_lock(&t->lock);
	n = t->taken;
	pthread_mutex_unlock(&t->lock);
	return n;
}
