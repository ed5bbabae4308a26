/* SPDX-License-Identifier: BSD-3-Clause */
/* What becomes of a request that the backend refused: held and tried again, or failed.
 *
 * A held request keeps its pages in flight and its buffers; only its turn at the backend is given back, so that a store can be
 * drained while requests are held.  Of an export with held requests others know nothing, for each has buffers that no other may take.
 */
#include "config.h"

#include "store/store_priv.h"

#include <errno.h>

static struct notice_place place_of(const struct rw *rw)
{
	static const char *const names[] = { [RW_READ] = "read", [RW_WRITE] = "write", [RW_DISCARD] = "discard" };
	uint32_t pages = rw->io_pages ? rw->io_pages : rw_bite_pages(rw);

	if (rw->keep.stage != KEEP_NOT)
		return (struct notice_place){ rw->keep.stage == KEEP_FLUSH ? "flush of records" : "write of records", rw->first_page,
					      rw_first_page(rw) - 1 };

	return (struct notice_place){ names[rw->op], rw_first_page(rw), rw_first_page(rw) + (pages ? pages - 1 : 0) };
}

static void count(_Atomic uint64_t *counter)
{
	atomic_fetch_add_explicit(counter, 1, memory_order_relaxed);
}

static void count_class(struct table_counters *c, enum err_class class)
{
	if (errclass_is_impossible(class))
		count(&c->errors_impossible);
	else if (class == ERR_LASTING)
		count(&c->errors_lasting);
	else
		count(&c->errors_passing);
}

void rw_say(struct rw *rw, unsigned kind, int code)
{
	notices_error(&rw->store->notices, kind, code, place_of(rw), rw->store->now_ms());
}

void rw_not_held(struct rw *rw, bool good)
{
	struct store *s = rw->store;

	rw->retry.tries = 0;
	atomic_fetch_sub_explicit(&s->counters->held, 1, memory_order_relaxed);
	notices_freed(&s->notices, good, s->now_ms());
}

/* The request's turn at the backend is given back. */
static void hold(struct rw *rw)
{
	struct store *s = rw->store;

	pthread_mutex_lock(&s->lock);
	if (!rw->held && --s->at_backend == 0)
		pthread_cond_broadcast(&s->idle);
	rw->held = true;
	pthread_mutex_unlock(&s->lock);
}

void rw_ask_to_reopen(struct store *s, uint32_t file)
{
	bool ask;

	pthread_mutex_lock(&s->lock);
	ask = !s->reopening && !s->lost && file == s->file && !s->draining;
	s->reopening |= ask;
	pthread_mutex_unlock(&s->lock);
	if (ask)
		s->stale(s->arg);
}

/* code is of this class, and the request is held for it or given up. */
static enum rw_next hold_or_fail(struct rw *rw, int code, enum err_class class)
{
	struct store *s = rw->store;
	int64_t now = s->now_ms();
	bool was_held = rw->retry.tries > 0;
	int ms = retry_next(&rw->retry, code, class, rw->op != RW_READ, now, table_retry_time(s->table));

	if (ms < 0) {
		notices_error(&s->notices, was_held && errclass_is_held(class) ? NOTICE_GIVEN_UP : class, code, place_of(rw), now);
		if (was_held)
			rw_not_held(rw, false);
		return rw_fail(rw, code);
	}
	if (!was_held) {
		atomic_fetch_add_explicit(&s->counters->held, 1, memory_order_relaxed);
		notices_held(&s->notices, now);
	}
	/* What the next try mends is not worth a message, but an alarm is. */
	if (was_held || errclass_is_impossible(class))
		notices_error(&s->notices, class, code, place_of(rw), now);
	hold(rw);
	rw->later_ms = ms;
	return RW_LATER;
}

enum rw_next rw_backend_error(struct rw *rw, int code)
{
	struct store *s = rw->store;
	enum err_class class = errclass_of(code, s->kind);

	if (class == ERR_STALE && !s->stale)
		class = ERR_LASTING;
	count_class(s->counters, class);
	if (class == ERR_STALE)
		rw_ask_to_reopen(s, rw->file);
	return hold_or_fail(rw, code, class);
}

int rw_refusal(const struct rw *rw)
{
	if (rw->store->lost)
		return ESTALE;
	return rw->session && rw->session->ended ? ECANCELED : 0;
}

bool rw_resume(struct rw *rw, enum rw_next *next)
{
	struct store *s = rw->store;
	bool reopening;

	pthread_mutex_lock(&s->lock);
	if (s->draining) {
		pthread_mutex_unlock(&s->lock);
		*next = RW_WAIT; /* for good: what became of it table_settle() finds out */
		return false;
	}
	reopening = s->reopening;
	rw->cause = rw_refusal(rw);
	if (rw->cause) {
		rw_abandon(rw);
	} else if (!reopening) {
		rw->held = false;
		s->at_backend++;
	}
	pthread_mutex_unlock(&s->lock);
	if (rw->cause) {
		rw_not_held(rw, false);
		*next = rw_done(rw, EIO);
		return false;
	}
	if (reopening) {
		*next = hold_or_fail(rw, ESTALE, ERR_STALE);
		return false;
	}
	count(&s->counters->retries);
	return true;
}

enum rw_next rw_cancel(struct rw *rw)
{
	struct store *s = rw->store;
	bool held = rw->retry.tries > 0;

	pthread_mutex_lock(&s->lock);
	rw_dequeue(rw);
	if (rw->io_pages || rw->keep.stage != KEEP_NOT)
		rw_abandon(rw);
	pthread_mutex_unlock(&s->lock);
	if (held)
		rw_not_held(rw, false);
	rw->cause = ECANCELED;
	return rw_done(rw, EIO);
}

void store_reopened(struct store *s)
{
	pthread_mutex_lock(&s->lock);
	s->reopening = false;
	s->file++;
	rw_wake_waiters(s, RW_WRITE, 0, store_size(s));
	rw_keep_wake_all(s, NULL);
	pthread_mutex_unlock(&s->lock);
	notices_reopened(&s->notices, s->now_ms());
}

void store_lost(struct store *s, const char *why)
{
	struct errbuf e;

	err_set(&e, ESTALE, "THE EXPORT IS LOST: %.300s; every request is answered with an error from now on", why);
	notices_say(&s->notices, NOTICE_ERROR, e.text);
	pthread_mutex_lock(&s->lock);
	s->lost = true;
	s->reopening = false;
	rw_wake_waiters(s, RW_WRITE, 0, store_size(s));
	rw_keep_wake_all(s, NULL);
	pthread_mutex_unlock(&s->lock);
}

void store_end_session(struct store *s, struct rw_session *session)
{
	pthread_mutex_lock(&s->lock);
	session->ended = true;
	for (struct rw *w = s->queue; w; w = w->next)
		if (w->session == session)
			w->wake(w);
	rw_keep_wake_all(s, session);
	pthread_mutex_unlock(&s->lock);
}
