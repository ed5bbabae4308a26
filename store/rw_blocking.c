/* SPDX-License-Identifier: BSD-3-Clause */
/* The blocking caller of swap_rw: one thread, one request. */
#include "config.h"

#include "store/store_priv.h"

#include "store/sys.h"

#include <errno.h>
#include <stddef.h>
#include <time.h>

struct blocking {
	struct rw rw;
	pthread_cond_t woken_cond;
	bool woken;
};

static void wake(struct rw *rw)
{
	struct blocking *b = (struct blocking *)((char *)rw - offsetof(struct blocking, rw));

	b->woken = true;
	pthread_cond_signal(&b->woken_cond);
}

/* So long a request that waits for another may not notice that its client is gone. */
#define LOOK_SECONDS 1

/* False: nobody waits for the answer any more. */
static bool wait_for_wake(struct blocking *b)
{
	struct store *s = b->rw.store;
	bool wanted = true;

	pthread_mutex_lock(&s->lock);
	while (!b->woken && wanted) {
		struct timespec until;

		if (!s->sleep) {
			pthread_cond_wait(&b->woken_cond, &s->lock);
			continue;
		}
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_sec += LOOK_SECONDS;
		if (pthread_cond_timedwait(&b->woken_cond, &s->lock, &until) != ETIMEDOUT)
			continue;
		pthread_mutex_unlock(&s->lock);
		wanted = s->sleep(0) == 0;
		pthread_mutex_lock(&s->lock);
	}
	b->woken = false;
	pthread_mutex_unlock(&s->lock);
	return wanted;
}

static bool wait_ms(const struct store *s, int ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	if (s->sleep)
		return s->sleep(ms) == 0;
	nanosleep(&t, NULL);
	return true;
}

static enum rw_next do_io(struct rw *rw)
{
	ssize_t r;

	if (rw->aside)
		r = sys_pwritev(POINT_RECORD_WRITE, rw->fd, rw->iov, rw->iovcnt, rw->position);
	else if (rw->op == RW_WRITE)
		r = sys_pwritev(POINT_RW_WRITE, rw->fd, rw->iov, rw->iovcnt, rw->position);
	else
		r = sys_preadv(POINT_RW_READ, rw->fd, rw->iov, rw->iovcnt, rw->position);

	return rw_complete(rw, r < 0 ? -errno : r);
}

static enum rw_next do_sync(struct rw *rw)
{
	return rw_complete(rw, sys_fdatasync(POINT_RECORD_SYNC, rw->fd) < 0 ? -errno : 0);
}

static void init_cond(pthread_cond_t *cond)
{
	pthread_condattr_t monotonic;

	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

int store_rw(struct store *s, struct rw_session *session, enum rw_op op, uint64_t offset, uint64_t length, void *data,
	     int *cause)
{
	struct blocking b; /* 2 KiB, which rw_init knows better than to clear */
	enum rw_next next;

	b.woken = false;
	init_cond(&b.woken_cond);
	rw_init(&b.rw, s, op, offset, length, data, wake);
	b.rw.session = session;
	next = rw_begin(&b.rw);
	while (next != RW_DONE) {
		switch (next) {
		case RW_IO:
			next = do_io(&b.rw);
			break;
		case RW_SYNC:
			next = do_sync(&b.rw);
			break;
		case RW_WAIT:
			next = wait_for_wake(&b) ? rw_begin(&b.rw) : rw_cancel(&b.rw);
			break;
		case RW_LATER:
			/* At once: its thread keeps nobody waiting. */
			next = b.rw.later_ms == 0 || wait_ms(s, b.rw.later_ms) ? rw_begin(&b.rw) : rw_cancel(&b.rw);
			break;
		case RW_DONE:
			break;
		}
	}
	pthread_cond_destroy(&b.woken_cond);
	if (cause)
		*cause = b.rw.cause;
	return b.rw.error;
}

void flush_init(struct flush *f)
{
	f->retry = (struct retry){ .tries = 0 };
}

bool flush_begin(struct flush *f, struct store *s)
{
	f->store = s;
	f->file = s->file;
	return !s->lost;
}

/* An error that the backend reports here it may not report a second time, so what the second call says proves nothing: only what says
 * nothing of the data is tried again.
 */
int flush_result(struct flush *f, int code)
{
	struct store *s = f->store;
	const struct notice_place everything = { "flush", 0, s->pages - 1 };
	bool stale = s->stale && errclass_of(code, s->kind) == ERR_STALE;
	int ms = -1;

	if (code == 0)
		return 0;
	if (stale)
		rw_ask_to_reopen(s, f->file);
	if (stale || code == EINTR)
		ms = retry_next(&f->retry, code, ERR_PASSING, true, s->now_ms(), table_retry_time(s->table));
	if (ms < 0)
		notices_error(&s->notices, ERR_LASTING, code, everything, s->now_ms());
	return ms == 0 ? 1 : ms;
}

int store_flush(struct store *s)
{
	struct flush f;

	flush_init(&f);
	while (flush_begin(&f, s)) {
		int code = sys_fdatasync(POINT_RW_SYNC, s->fd) == 0 ? 0 : errno;
		int ms = flush_result(&f, code);

		if (ms == 0)
			return 0;
		if (ms < 0)
			return EIO;
		if (!wait_ms(s, ms)) {
			notices_error(&s->notices, ERR_LASTING, code, (struct notice_place){ "flush", 0, s->pages - 1 }, s->now_ms());
			return EIO;
		}
	}
	return EIO;
}
