/* SPDX-License-Identifier: BSD-3-Clause */
/* Closing a file whose server is away blocks: who opens a session, on that export or on another, does not wait for it. */
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
	struct broker broker = { .open = open_session, .close = close_session };
	struct pool *pool;
	struct opening o;
	struct timespec until;
	struct errbuf e;
	pthread_t thread;
	bool done;

	(void)state;
	file = scratch_file(FILE_PAGES * PAGE_BYTES);
	table = unit_table(FILE_PAGES, PAGE_FRESH);
	pool = pool_create(64, true, &e);
	o.exports = exports_create(&(struct exports_options){ .broker = &broker, .pool = pool, .allow_unlocked = true, .say = say }, &e);
	assert_true(pool && o.exports);
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
	exports_free(o.exports);
	pool_free(pool);
	table_free(table);
	close(file);
	assert_true(done);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(who_opens_a_session_does_not_wait) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
