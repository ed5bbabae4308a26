/* SPDX-License-Identifier: BSD-3-Clause */
/* The exports of a worker. */
#include "config.h"

#include "tests/store/support.h"

#include "store/page.h"
#include "worker/exports.h"

#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { SECONDS = 20, OPENS = 3, FILE_PAGES = 17 /* no other file here is as large */ };

static int file;
static struct table *table;
static _Atomic bool away;
static sem_t blocked, back;

/* ---- closing a file whose server is away blocks: who opens a session does not wait for it ---- */

/* Of the file, closing blocks as long as its server is away. */
int __wrap_close(int fd);
extern int __real_close(int fd);

int __wrap_close(int fd)
{
	struct stat st;

	if (away && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size == FILE_PAGES * PAGE_BYTES) {
		sem_post(&blocked);
		sem_wait(&back);
	}
	return __real_close(fd);
}

static int open_session(void *self, const char *request, const struct peer *who, struct grant *out, struct errbuf *e)
{
	(void)self;
	(void)who;
	*out = (struct grant){ .fd = fcntl(file, F_DUPFD_CLOEXEC, 0), .table = table_map(table_fd(table), true, e), .kind = BACKEND_EXT4,
			       .owned = true, .memory = -1 };
	strcpy(out->name, request);
	return out->fd >= 0 && out->table ? 0 : -1;
}

static void close_session(void *self, const struct grant *g)
{
	(void)self;
	(void)g;
}

static void say(enum notice_priority priority, const char *text)
{
	(void)priority;
	(void)text;
}

static struct pool *pool;
static const struct broker broker = { .open = open_session, .close = close_session };

static struct exports *make(void)
{
	struct exports *x;
	struct errbuf e;

	file = scratch_file(FILE_PAGES * PAGE_BYTES);
	table = unit_table(FILE_PAGES, PAGE_FRESH);
	pool = pool_create(64, true, &e);
	x = exports_create(&(struct exports_options){ .broker = &broker, .pool = pool, .allow_unlocked = true, .say = say }, &e);
	assert_true(pool && x);
	return x;
}

static void end(struct exports *x)
{
	exports_free(x);
	pool_free(pool);
	table_free(table);
	close(file);
}

struct opening {
	struct exports *exports;
	struct session *session[OPENS];
	sem_t done;
};

static void *opens(void *arg)
{
	struct opening *o = arg;
	struct errbuf e;

	for (unsigned i = 0; i < OPENS; i++)
		o->session[i] = exports_open_session(o->exports, "a", &(struct peer){ .sock = -1 }, &e);
	sem_post(&o->done);
	return NULL;
}

static void who_opens_a_session_does_not_wait(void **state)
{
	struct opening o = { .exports = make() };
	struct timespec until;
	pthread_t thread;
	bool done;

	(void)state;
	sem_init(&o.done, 0, 0);
	sem_init(&blocked, 0, 0);
	sem_init(&back, 0, 0);
	away = true;
	assert_int_equal(pthread_create(&thread, NULL, opens, &o), 0);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += SECONDS;
	done = sem_timedwait(&blocked, &until) == 0 && sem_timedwait(&o.done, &until) == 0;
	away = false;
	for (unsigned i = 0; i < OPENS; i++)
		sem_post(&back);
	pthread_join(thread, NULL);
	for (unsigned i = 0; i < OPENS; i++) {
		assert_non_null(o.session[i]);
		exports_close_session(o.exports, o.session[i]);
	}
	end(o.exports);
	assert_true(done);
}

static void no_wake(struct rw *rw)
{
	(void)rw;
}

/* "Drained" must stay true: what begins later, nobody waits for. */
static void an_export_opened_while_draining_begins_nothing(void **state)
{
	static unsigned char data[PAGE_BYTES];
	struct exports *x = make();
	struct session *s;
	struct errbuf e;
	struct rw rw;

	(void)state;
	assert_true(exports_drain(x, 0));
	s = exports_open_session(x, "a", &(struct peer){ .sock = -1 }, &e);
	assert_non_null(s);
	rw_init(&rw, s->store, RW_READ, 0, PAGE_BYTES, data, no_wake);
	assert_int_equal(rw_begin(&rw), RW_WAIT);
	assert_int_equal(rw_cancel(&rw), RW_DONE);
	exports_close_session(x, s);
	end(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(who_opens_a_session_does_not_wait),
		cmocka_unit_test(an_export_opened_while_draining_begins_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
