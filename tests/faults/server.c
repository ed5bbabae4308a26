/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/faults/server.h"

#include "store/scrub.h"
#include "store/sealkey.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#define MOST_PAGES 40 /* more than a bite */
#define MOST_SAID 5   /* histories printed */

struct client {
	const struct served *v;
	struct store *store;
	unsigned index;
	uint64_t random;
	unsigned char *data; /* MOST_PAGES */
	uint64_t ids[MOST_PAGES];
};

void serve_wrong(struct arena *a, const char *what, uint64_t page, uint64_t id, uint64_t begun, uint64_t ended)
{
	if (atomic_fetch_add(&a->wrong, 1) >= MOST_SAID)
		return;
	if (id >= ID_NONE)
		printf("WRONG: %s: page %" PRIu64 ", %s, asked at %" PRIu64 ", answered at %" PRIu64 "\n", what, page,
		       id == ID_LOST ? "lost" : "content that nobody wrote there", begun, ended);
	else
		printf("WRONG: %s: page %" PRIu64 ", id %" PRIu64 ".%" PRIu64 ", asked at %" PRIu64 ", answered at %" PRIu64 "\n",
		       what, page, id >> 2, id & 3, begun, ended);
	model_print(&a->model, page);
	fflush(stdout);
}

/* ---- a client ---- */

static uint64_t roll(struct client *c, uint64_t sides)
{
	c->random ^= c->random << 13;
	c->random ^= c->random >> 7;
	c->random ^= c->random << 17;
	return (c->random * UINT64_C(0x2545f4914f6cdd1d) >> 32) % sides;
}

/* Where: half of the time among its own pages, else where all of them are. */
static uint64_t choose_range(struct client *c, uint32_t *pages)
{
	const uint64_t common = SERVER_THREADS * SERVER_OWN_PAGES;
	bool own = roll(c, 2);
	uint64_t first = own ? c->index * SERVER_OWN_PAGES : common, room = own ? SERVER_OWN_PAGES : MODEL_PAGES - common;
	uint64_t how = roll(c, 100);
	uint32_t n = how < 65 ? 1 : how < 96 ? 1 + (uint32_t)roll(c, 8) : 1 + (uint32_t)roll(c, MOST_PAGES);

	if (n > room)
		n = (uint32_t)room;
	*pages = n;
	return first + roll(c, room - n + 1);
}

static void answer_all(struct client *c, uint64_t first, uint32_t n, uint64_t begun, enum model_answer answer)
{
	for (uint32_t i = 0; i < n; i++)
		model_answer(&c->v->arena->model, first + i, c->ids[i], begun, answer);
}

static void do_write(struct client *c, uint64_t first, uint32_t n)
{
	struct model *m = &c->v->arena->model;
	enum content_kind kind = roll(c, 8) ? CONTENT_MIXED : CONTENT_SAME;
	bool motley = roll(c, 10) == 0, one_bite = !motley && n <= RW_BITE_PAGES;
	uint64_t begun;
	int error;

	for (uint32_t i = 0; i < n; i++) {
		if (motley)
			kind = roll(c, 2) ? CONTENT_MIXED : CONTENT_SAME;
		c->ids[i] = content_id(m, kind);
		content_make(c->ids[i], first + i, c->data + (size_t)i * PAGE_BYTES);
	}
	begun = model_now(m);
	for (uint32_t i = 0; i < n; i++)
		model_begin(m, first + i, c->ids[i], begun);
	error = store_rw(c->store, NULL, RW_WRITE, first * PAGE_BYTES, n * (uint64_t)PAGE_BYTES, c->data, NULL);
	if (error) {
		atomic_fetch_add(&c->v->arena->writes_failed, 1);
		if (c->v->strict)
			serve_wrong(c->v->arena, "a write failed that must not", first, c->ids[0], begun, model_now(m));
	}
	answer_all(c, first, n, begun, !error ? ANSWER_GOOD : one_bite ? ANSWER_LOST : ANSWER_UNSURE);
}

static void do_discard(struct client *c, uint64_t first, uint32_t n)
{
	struct model *m = &c->v->arena->model;
	uint64_t begun = model_now(m);

	for (uint32_t i = 0; i < n; i++) {
		c->ids[i] = ID_ZEROS;
		model_begin(m, first + i, ID_ZEROS, begun);
	}
	if (store_rw(c->store, NULL, RW_DISCARD, first * PAGE_BYTES, n * (uint64_t)PAGE_BYTES, NULL, NULL) != 0)
		serve_wrong(c->v->arena, "a discard failed", first, ID_ZEROS, begun, model_now(m));
	answer_all(c, first, n, begun, ANSWER_GOOD);
}

/* A read that was refused.  Of one page it tells that the page was lost then; of several, that one of them was. */
static void read_failed(struct client *c, uint64_t first, uint32_t n, int cause, uint64_t begun, uint64_t ended)
{
	struct arena *a = c->v->arena;
	bool lost = cause == 0 || cause == EBADMSG, expected = false;

	atomic_fetch_add(&a->reads_failed, 1);
	for (uint32_t i = 0; c->v->strict && i < n; i++)
		expected |= model_judge(&a->model, first + i, ID_LOST, begun, ended) != READ_WRONG;
	if (c->v->strict && !expected)
		serve_wrong(a, "a read failed that must not", first, ID_LOST, begun, ended);
	if (lost && n == 1)
		model_found_lost(&a->model, first, begun, ended);
}

static void do_read(struct client *c, uint64_t first, uint32_t n)
{
	struct arena *a = c->v->arena;
	uint64_t begun, ended;
	int error, cause;

	memset(c->data, 0xee, n * PAGE_BYTES);
	begun = model_now(&a->model);
	error = store_rw(c->store, NULL, RW_READ, first * PAGE_BYTES, n * (uint64_t)PAGE_BYTES, c->data, &cause);
	ended = model_now(&a->model);
	if (error) {
		read_failed(c, first, n, cause, begun, ended);
		return;
	}
	for (uint32_t i = 0; i < n; i++) {
		uint64_t id = content_read(first + i, c->data + (size_t)i * PAGE_BYTES);

		switch (model_judge(&a->model, first + i, id, begun, ended)) {
		case READ_RIGHT:
			atomic_fetch_add(&a->reads_right, 1);
			break;
		case READ_WRONG:
			serve_wrong(a, "a page read wrong", first + i, id, begun, ended);
			break;
		case READ_TOO_LONG_AGO:
			atomic_fetch_add(&a->too_long_ago, 1);
			break;
		}
	}
}

static void *client_run(void *arg)
{
	struct client *c = arg;
	struct arena *a = c->v->arena;

	while (a->operations < a->target && a->wrong == 0) {
		uint32_t n;
		uint64_t first = choose_range(c, &n), what = roll(c, 100);

		if (what < 50)
			do_read(c, first, n);
		else if (what < 90)
			do_write(c, first, n);
		else
			do_discard(c, first, n);
		atomic_fetch_add(&a->operations, 1);
	}
	return NULL;
}

/* ---- the server ---- */

/* What is held for an error to pass is held for as long as it takes to let others go first. */
static int sleep_little(int ms)
{
	if (ms > 0)
		usleep(20);
	return 0;
}

struct store *serve_store(const struct served *v, struct table *table, struct pool *pool, struct errbuf *e)
{
	struct store_options o = { .name = "model", .fd = v->fd, .table = table, .pool = pool, .kind = v->kind,
				   .sleep = sleep_little };

	return store_create(&o, e);
}

static _Noreturn void cannot(const struct errbuf *e)
{
	printf("the server cannot serve: %s\n", e->text);
	fflush(stdout);
	_exit(3);
}

static void unlock_table(const struct served *v, struct table *table)
{
	struct sealkey *key;
	struct errbuf e;

	if (v->key_fd < 0)
		return;
	key = sealkey_map(v->key_fd, true, &e);
	if (!key || table_unlock_seal(table, key, &e) < 0)
		cannot(&e);
	sealkey_free(key);
}

#ifdef __SANITIZE_THREAD__
const char *__tsan_default_options(void);

/* A server that was stopped leaves its clients waiting: that is what it promises. */
const char *__tsan_default_options(void)
{
	return "report_thread_leaks=0";
}
#endif

/* The table as a process has it that was handed its descriptor. */
static struct table *begin(const struct served *v, const char *rules)
{
	struct table *table;
	struct errbuf e;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (fault_configure(rules, &e) < 0)
		cannot(&e);
	table = table_map(v->table_fd, true, &e);
	if (!table)
		cannot(&e);
	unlock_table(v, table);
	return table;
}

_Noreturn void serve_scrub(const struct served *v)
{
	struct table *table = begin(v, v->scrub_rules);
	struct scrub_control control = { .rate = SCRUB_RATE_MAX };
	struct marker marker;
	struct scrub *scrub;
	struct errbuf e;

	marker_init(&marker, table);
	scrub = scrub_create(v->fd, v->kind, table, &marker, true, &e);
	if (!scrub)
		cannot(&e);
	for (;;) {
		struct scrub_totals totals = { .position = 0 };

		if (scrub_run(scrub, &control, &totals, NULL, NULL, &e) < 0)
			cannot(&e);
		atomic_fetch_add(&v->arena->scrubbed, totals.verified);
		atomic_fetch_add(&v->arena->scrub_lost, totals.lost);
	}
}

_Noreturn void serve(const struct served *v)
{
	static struct client clients[SERVER_THREADS];
	pthread_t threads[SERVER_THREADS];
	struct table *table;
	struct store *store;
	struct pool *pool;
	struct errbuf e;

	table = begin(v, v->rules);
	pool = pool_create(64, true, &e);
	if (!pool)
		cannot(&e);
	store = serve_store(v, table, pool, &e);
	if (!store)
		cannot(&e);
	for (unsigned i = 0; i < SERVER_THREADS; i++) {
		clients[i] = (struct client){ .v = v, .store = store, .index = i, .data = malloc(MOST_PAGES * PAGE_BYTES),
					      .random = (v->seed * SERVER_THREADS + i + 1) * UINT64_C(0x9e3779b97f4a7c15) };
		pthread_create(&threads[i], NULL, client_run, &clients[i]);
	}
	if (v->drain_us) {
		usleep(v->drain_us);
		if (!store_drain(store, 10000))
			serve_wrong(v->arena, "the store did not drain", 0, ID_NONE, 0, 0);
		fflush(stdout);
		_exit(SERVER_DRAINED);
	}
	for (unsigned i = 0; i < SERVER_THREADS; i++) {
		pthread_join(threads[i], NULL);
		free(clients[i].data);
	}
	store_drain(store, 0);
	store_free(store);
	pool_free(pool);
	table_free(table);
	fflush(stdout);
	_exit(0);
}
