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

static void wait_for_wake(struct blocking *b)
{
	struct store *s = b->rw.store;

	pthread_mutex_lock(&s->lock);
	while (!b->woken)
		pthread_cond_wait(&b->woken_cond, &s->lock);
	b->woken = false;
	pthread_mutex_unlock(&s->lock);
}

static void sleep_ms(int ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&t, NULL);
}

static enum rw_next do_io(struct rw *rw)
{
	ssize_t r = rw->op == RW_WRITE ? sys_pwritev(POINT_RW_WRITE, rw->fd, rw->iov, rw->iovcnt, rw->position)
				       : sys_preadv(POINT_RW_READ, rw->fd, rw->iov, rw->iovcnt, rw->position);

	return rw_complete(rw, r < 0 ? -errno : r);
}

int store_rw(struct store *s, enum rw_op op, uint64_t offset, uint64_t length, void *data, int *cause)
{
	struct blocking b = { .woken = false };
	enum rw_next next;

	pthread_cond_init(&b.woken_cond, NULL);
	rw_init(&b.rw, s, op, offset, length, data, wake);
	next = rw_begin(&b.rw);
	while (next != RW_DONE) {
		switch (next) {
		case RW_IO:
			next = do_io(&b.rw);
			break;
		case RW_WAIT:
			wait_for_wake(&b);
			next = rw_begin(&b.rw);
			break;
		case RW_LATER:
			sleep_ms(b.rw.later_ms);
			next = rw_begin(&b.rw);
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
