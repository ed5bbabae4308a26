/* SPDX-License-Identifier: BSD-3-Clause */
/* A million operations of several clients on one another's pages, with faults of every kind at small rates and the server killed all the
 * time, every answer compared with a model.  The parent owns what outlives a server: the table, the file, the key; after a death it
 * settles the table as the daemon does, looks at every page, and starts the next server on the same table.
 *
 * NBDSWAP_MODEL_OPERATIONS and NBDSWAP_MODEL_SEED in the environment change how many and which; NBDSWAP_MODEL_DIR names a directory
 * in which the file is made and used with direct I/O, in place of one in memory.
 */
#include "config.h"

#include "tests/faults/server.h"
#include "tests/store/support.h"

#include "store/sealkey.h"
#include "store/settle.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PARTS 10 /* of the operations; phases take some each */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define OPERATIONS 100000
#else
#define OPERATIONS 1000000
#endif

struct phase {
	const char *name;
	enum page_check check;
	enum page_seal seal;
	enum backend_kind kind;
	bool strict;	     /* struct served */
	bool lost_when_killed; /* what was under way at a death may be lost: nothing tells what became of it */
	bool scribble;	     /* bits of the table are turned over between servers */
	unsigned parts;
	const char *rules;   /* seeds are added */
	const char *scrub_rules, *settle_rules;
};

/* Errors that pass, short I/O and death; nothing of it may be seen by a client. */
#define HARMLESS                                                                                            \
	"rw.[rw]*:short=4096,rate=0.02;rw.[rw]*:errno=EAGAIN,rate=0.002;rw.[rw]*:errno=EINTR,rate=0.002;"        \
	"rw.[rw]*:errno=EIO,rate=0.001;rw.[rw]*:errno=ETIMEDOUT,done,rate=0.001;rw.[rw]*:delay=1,rate=0.0005;" \
	"rw.write:kill,rate=0.0002;rw.write:kill,done,rate=0.0002"
#define HARMLESS_IF_CHECKED HARMLESS ";rw.read:flip,every=701"
#define SCRUB_HARMLESS "scrub.read:short=4096,rate=0.01;scrub.read:flip,every=701;scrub.read:errno=EINTR,rate=0.005;scrub.read:delay=1,rate=0.02"

#define EVERYTHING                                                                                          \
	"rw.read:flip,rate=0.01;rw.read:misdirect,rate=0.003;rw.write:torn,rate=0.003;"                     \
	"rw.write:lost,rate=0.003;rw.write:misdirect,rate=0.003;rw.write:flip,rate=0.003;"                  \
	"rw.[rw]*:errno=EIO,rate=0.003;rw.write:torn,errno=EIO,rate=0.002;rw.write:errno=ENOSPC,rate=0.001;" \
	"rw.[rw]*:short,rate=0.01;rw.[rw]*:errno=EAGAIN,rate=0.002;rw.[rw]*:delay=1,rate=0.0005;"           \
	"rw.write:torn,kill,done,rate=0.0004;rw.write:kill,rate=0.0002;rw.write:misdirect,kill,done,rate=0.0002"
#define SCRUB "scrub.read:short,rate=0.01;scrub.read:flip,rate=0.01;scrub.read:delay=1,rate=0.02;scrub.read:misdirect,rate=0.003;scrub.read:errno=EIO,rate=0.003"
#define SETTLE "settle.read:flip,rate=0.05;settle.read:errno=EIO,rate=0.02;settle.read:misdirect,rate=0.05;settle.read:short,rate=0.1"

static const struct phase phases[] = {
	{ "kills", CHECK_XXH3, PAGE_SEAL_NONE, BACKEND_NFS, true, false, false, 2, HARMLESS_IF_CHECKED, SCRUB_HARMLESS, "settle.read:short,rate=0.1" },
	{ "everything", CHECK_XXH3, PAGE_SEAL_NONE, BACKEND_TMPFS, false, true, true, 3, EVERYTHING, SCRUB, SETTLE },
	{ "sealed, kills", CHECK_XXH3, PAGE_SEAL_AES_256_GCM, BACKEND_NFS, true, false, false, 1, HARMLESS_IF_CHECKED, SCRUB_HARMLESS, "" },
	{ "sealed, everything", CHECK_XXH3, PAGE_SEAL_AES_256_GCM, BACKEND_TMPFS, false, true, true, 2, EVERYTHING, SCRUB, SETTLE },
	{ "no checks, kills", CHECK_NONE, PAGE_SEAL_NONE, BACKEND_NFS, true, true, false, 1, HARMLESS, SCRUB_HARMLESS, "" },
	{ "no checks, errors", CHECK_NONE, PAGE_SEAL_NONE, BACKEND_TMPFS, false, true, true, 1, HARMLESS, SCRUB_HARMLESS, "" },
};

static struct arena *arena;
static uint64_t seed, lives, kills, drains, busy, kept_new, kept_old, lost_in_settling;

/* What a phase's servers are handed. */
struct owned {
	const struct phase *phase;
	struct table *table;
	struct pool *pool;
	struct sealkey *master, *key;
	struct served served;
};

static uint64_t roll(uint64_t sides)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (seed >> 33) % sides;
}

/* Every block is there before direct I/O begins, as in a file that was activated. */
static int make_file(void)
{
	static const unsigned char zeros[PAGE_BYTES];
	int fd = scratch_file(MODEL_PAGES * PAGE_BYTES);

	if (!getenv("NBDSWAP_MODEL_DIR"))
		return fd;
	for (off_t page = 0; page < MODEL_PAGES; page++)
		assert_int_equal(pwrite(fd, zeros, PAGE_BYTES, page * PAGE_BYTES), PAGE_BYTES);
	assert_int_equal(fsync(fd), 0);
	assert_int_equal(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_DIRECT), 0);
	return fd;
}

static void own(struct owned *o, const struct phase *p)
{
	struct table_spec spec = { .pages = MODEL_PAGES, .check = (uint8_t)p->check, .seal = (uint8_t)p->seal, .activation = roll(1000),
				   .uuid = "model", .salt = (uint32_t)roll(1u << 30) };
	struct errbuf e = { .code = 0 };

	memset(o, 0, sizeof(*o));
	o->phase = p;
	o->served = (struct served){ .arena = arena, .fd = make_file(), .key_fd = -1, .kind = p->kind,
				     .strict = p->strict };
	o->table = table_create(&spec, PAGE_FRESH, true, &e);
	o->pool = pool_create(64, true, &e);
	assert_non_null(o->table);
	assert_non_null(o->pool);
	table_set_retry_time(o->table, 300);
	o->served.table_fd = table_fd(o->table);
	if (p->seal != PAGE_SEAL_NONE) {
		o->master = sealkey_create_ephemeral(true, &e);
		o->key = sealkey_derive(o->master, spec.uuid, spec.activation, true, &e);
		assert_non_null(o->key);
		assert_int_equal(table_unlock_seal(o->table, o->key, &e), 0);
		o->served.key_fd = sealkey_fd(o->key);
	}
	model_init(&arena->model);
}

static void disown(struct owned *o)
{
	sealkey_free(o->key);
	sealkey_free(o->master);
	table_free(o->table);
	pool_free(o->pool);
	close(o->served.fd);
}

static void configure(const char *rules)
{
	struct errbuf e = { .code = 0 };

	if (fault_configure(rules, &e) < 0)
		fail_msg("%s", e.text);
}

/* Gives every rule a seed of its own life. */
static void add_seeds(char *out, size_t room, const char *rules)
{
	size_t n = 0;

	for (const char *p = rules; *p;) {
		size_t length = strcspn(p, ";");

		n += (size_t)snprintf(out + n, room - n, "%.*s,seed=%" PRIu64 ";", (int)length, p, roll(1u << 30));
		assert_true(n < room);
		p += length + (p[length] == ';');
	}
	out[n] = '\0';
}

/* ---- after a death ---- */

static bool any_in_flight(const struct table *t)
{
	for (uint64_t page = 0; page < MODEL_PAGES; page++)
		if (table_page(t, page).in_flight)
			return true;
	return false;
}

/* Nobody may serve what nobody has settled. */
static void refuse_unsettled(struct owned *o)
{
	bool in_flight = any_in_flight(o->table);
	struct errbuf e = { .code = 0 };
	struct store *s = serve_store(&o->served, o->table, o->pool, &e);

	if (s) {
		assert_false(in_flight);
		store_free(s);
	} else {
		assert_int_equal(e.code, EBUSY);
		busy++;
	}
}

static void scribble(struct owned *o)
{
	uint64_t bytes;
	unsigned char *image = table_image(o->table, &bytes);

	if (roll(4) == 0)
		image[roll(bytes)] ^= (unsigned char)(1u << roll(8));
}

/* Looks at every page; what is found is what it is from now on. */
static void look_at_all(struct owned *o)
{
	const struct phase *p = o->phase;
	struct errbuf e = { .code = 0 };
	struct store *s = serve_store(&o->served, o->table, o->pool, &e);
	unsigned char data[PAGE_BYTES];

	if (!s)
		fail_msg("%s", e.text);
	for (uint64_t page = 0; page < MODEL_PAGES; page++) {
		uint64_t now = model_now(&arena->model), id = ID_LOST;
		bool under_way = model_under_way(&arena->model, page);

		if (store_rw(s, NULL, RW_READ, page * PAGE_BYTES, PAGE_BYTES, data, NULL) == 0)
			id = content_read(page, data);
		if (model_judge(&arena->model, page, id, now, now) != READ_RIGHT &&
		    !(id == ID_LOST && (!p->strict || (p->lost_when_killed && under_way))))
			serve_wrong(arena, id == ID_LOST ? "a page was lost over a death" : "a page is wrong after a death", page, id,
				    now, now);
		model_settle(&arena->model, page, id);
	}
	assert_true(store_drain(s, 1000));
	store_free(s);
}

static void settle(struct owned *o)
{
	struct settled settled = { 0 };
	struct errbuf e = { .code = 0 };
	char rules[2000];

	model_unlock_all(&arena->model);
	refuse_unsettled(o);
	add_seeds(rules, sizeof(rules), o->phase->settle_rules);
	configure(rules);
	assert_int_equal(table_settle(o->table, o->served.fd, &settled, &e), 0);
	configure("");
	assert_false(any_in_flight(o->table));
	kept_new += settled.kept_new;
	kept_old += settled.kept_old;
	lost_in_settling += settled.lost;
	if (o->phase->scribble)
		scribble(o);
	look_at_all(o);
}

/* ---- lives ---- */

/* Half of the servers have a scrub beside them, which dies when they do. */
static pid_t start_scrub(struct owned *o, char *rules, size_t room)
{
	pid_t pid;

	if (roll(2) || o->phase->check == CHECK_NONE)
		return 0;
	add_seeds(rules, room, o->phase->scrub_rules);
	o->served.scrub_rules = rules;
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		serve_scrub(&o->served);
	return pid;
}

static void end_scrub(pid_t pid)
{
	int status;

	if (!pid)
		return;
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* One server, for some milliseconds, most of them killed.  False when it came to its end by itself. */
static bool one_life(struct owned *o)
{
	char rules[3000], scrub_rules[1000];
	struct timespec t = { .tv_nsec = (long)(1 + roll(12000)) * 1000 };
	sigset_t child;
	int status;
	pid_t pid, scrub;

	add_seeds(rules, sizeof(rules), o->phase->rules);
	o->served.rules = rules;
	o->served.seed = roll(1u << 30);
	o->served.drain_us = roll(8) ? 0 : 1 + (unsigned)roll(12000);
	if (o->served.drain_us)
		t.tv_sec = 60;
	lives++;
	fflush(stdout);
	pid = fork();
	assert_true(pid >= 0);
	if (pid == 0)
		serve(&o->served);
	scrub = start_scrub(o, scrub_rules, sizeof(scrub_rules));
	/* Until it is time, or it has ended by itself. */
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigtimedwait(&child, NULL, &t);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	end_scrub(scrub);
	sigtimedwait(&child, NULL, &(struct timespec){ 0 }); /* that of its death, if it is still to be had */
	if (WIFEXITED(status)) {
		drains += WEXITSTATUS(status) == SERVER_DRAINED;
		assert_true(WEXITSTATUS(status) == 0 || WEXITSTATUS(status) == SERVER_DRAINED);
		return WEXITSTATUS(status) == SERVER_DRAINED;
	}
	assert_int_equal(WTERMSIG(status), SIGKILL);
	kills++;
	return true;
}

static void run_phase(const struct phase *p, uint64_t operations)
{
	struct owned o;
	uint64_t first_life = lives, first = arena->operations, reads_failed = arena->reads_failed, writes_failed = arena->writes_failed;
	struct table_counters *c;
	bool more = true;

	own(&o, p);
	arena->target = first + operations;
	while (more && arena->wrong == 0) {
		more = one_life(&o);
		settle(&o);
	}
	c = table_counters(o.table);
	printf("%-20s %7" PRIu64 " operations in %" PRIu64 " lives; checks failed %" PRIu64 ", second reads good %" PRIu64
	       ", lost pages %" PRIu64 ", retries %" PRIu64 "; EIO: reads %" PRIu64 ", writes %" PRIu64 "\n",
	       p->name, arena->operations - first, lives - first_life, c->checks_failed, c->reread_good, c->lost_pages, c->retries,
	       arena->reads_failed - reads_failed, arena->writes_failed - writes_failed);
	fflush(stdout);
	disown(&o);
}

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *s = getenv(name);

	return s && *s ? strtoull(s, NULL, 10) : otherwise;
}

static void every_answer_is_right(void **state)
{
	uint64_t operations = from_environment("NBDSWAP_MODEL_OPERATIONS", OPERATIONS), eio, parts = 0;
	sigset_t child;

	(void)state;
	/* Blocked, so that a death ends the wait. */
	sigemptyset(&child);
	sigaddset(&child, SIGCHLD);
	sigprocmask(SIG_BLOCK, &child, NULL);
	if (getrandom(&seed, sizeof(seed), 0) != sizeof(seed))
		abort();
	seed = from_environment("NBDSWAP_MODEL_SEED", seed >> 32);
	printf("seed %" PRIu64 "\n", seed);
	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++) {
		run_phase(&phases[i], operations / PARTS * phases[i].parts);
		parts += phases[i].parts;
	}
	assert_int_equal(parts, PARTS);
	eio = arena->reads_failed + arena->writes_failed;
	printf("%" PRIu64 " operations, %" PRIu64 " kills, %" PRIu64 " stops in order, %" PRIu64 " EIO answers, %" PRIu64 " pages read right, %" PRIu64
	       " not to be judged, %" PRIu64 " WRONG\n",
	       arena->operations, kills, drains, eio, arena->reads_right, arena->too_long_ago, arena->wrong);
	printf("after deaths: %" PRIu64 " tables with writes under way, %" PRIu64 " pages new, %" PRIu64 " old, %" PRIu64 " lost\n", busy,
	       kept_new, kept_old, lost_in_settling);
	printf("beside them: %" PRIu64 " pages scrubbed and right, %" PRIu64 " lost\n", arena->scrubbed, arena->scrub_lost);
	printf("faults:");
	for (int k = 0; k < FAULT_DONE; k++)
		printf(" %s %" PRIu64, fault_kind_name((enum fault_kind)k), fault_hits((enum fault_kind)k));
	printf("\n");
	assert_int_equal(arena->wrong, 0);
	/* A run in which nothing happened would show nothing. */
	assert_true(arena->operations >= operations / PARTS * PARTS);
	for (int k = 0; k < FAULT_DONE; k++)
		assert_true(k == FAULT_HANG || fault_hits((enum fault_kind)k) > operations / 100000);
	assert_true(arena->scrubbed > operations / 100);
	assert_true(kills > 20 && drains > 2 && busy > 0 && kept_new > 0 && kept_old > 0);
	assert_true(arena->too_long_ago < arena->reads_right / 100);
	assert_true(eio > 0 && eio < arena->operations / 5);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(every_answer_is_right) };

	/* Nothing here cuts the power, so a file system in memory is as good, and faster. */
	if (getenv("NBDSWAP_MODEL_DIR"))
		setenv("TMPDIR", getenv("NBDSWAP_MODEL_DIR"), 1);
	else if (!getenv("TMPDIR") && access("/dev/shm", W_OK) == 0)
		setenv("TMPDIR", "/dev/shm", 1);
	arena = mmap(NULL, sizeof(*arena), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (arena == MAP_FAILED)
		return 1;
	alarm(900); /* nothing here can hang but by a mistake */
	fault_count_in(&arena->faults);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
