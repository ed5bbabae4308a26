/* SPDX-License-Identifier: BSD-3-Clause */
/* survive = host: the power fails under an export, at any instant, again and again.
 *
 * The disk is a model (cutdisk.h).  What is left of it is put into a real backing file, which is activated and begun as after a boot.
 *
 * The client has a model of every page.  It sends again what was not answered, as the kernel does.  A page whose last write was answered
 * reads as that; one with a write under way reads as before, as after, or as an error.  That a disk whose flushes do nothing is found out by this
 * is a test too.
 */
#include "config.h"

#include "store/backing.h"
#include "store/records.h"
#include "store/sealkey.h"
#include "store/settle.h"
#include "tests/store/cutdisk.h"
#include "tests/store/support.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REQUESTS 24u
#define REQUEST_PAGES 40u

enum doing { IDLE, AT_DISK, AT_FLUSH, WAITING, ANSWERED_LATER };

struct request {
	struct rw rw; /* first */
	enum doing doing;
	bool woken;
	enum rw_op op;
	uint64_t first, pages;
	uint32_t id; /* of the content; 0: zeros */
	uint32_t recorded; /* pages that were recorded as done */
	uint64_t covers; /* of a flush: what had been written when it began */
	unsigned char *data;
};

struct page {
	uint32_t now;	/* acknowledged content */
	bool busy;	/* a request for it is under way, with this content: */
	uint32_t next;
};

static struct {
	/* the export */
	uint64_t pages;
	bool sealed;
	char *dir, path[300], key[300];
	struct backing *b;
	struct table *table;
	struct pool *pool;
	struct store *store;
	uint64_t activation;
	struct cutdisk disk;
	/* the client */
	struct request request[REQUESTS];
	struct page *page;
	uint32_t last_id;
	uint64_t wrong, errors, answered, records;
} w;

static uint64_t random_state;

static uint32_t dice(uint32_t n)
{
	random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (uint32_t)(entry_mix(random_state) % n);
}

/* Contents with an odd number are pages of one value. */
static void content(uint32_t id, uint64_t page, unsigned char *out)
{
	uint64_t word = id ? entry_mix(id * UINT64_C(1000003) + (id & 1 ? 0 : page)) : 0;

	for (size_t i = 0; i < PAGE_BYTES; i += sizeof(word)) {
		memcpy(out + i, &word, sizeof(word));
		if (id && !(id & 1))
			word += UINT64_C(0x9e3779b97f4a7c15);
	}
}

/* ---- the disk ---- */

static bool is_write(const struct request *r)
{
	return r->rw.aside || r->op == RW_WRITE;
}

static void at_disk(const struct request *r, void (*write_part)(struct cutdisk *d, uint64_t offset, const void *data, size_t bytes))
{
	uint64_t at = (uint64_t)r->rw.position;

	for (int i = 0; i < r->rw.iovcnt; i++) {
		const struct iovec *v = &r->rw.iov[i];

		if (is_write(r))
			write_part(&w.disk, at, v->iov_base, v->iov_len);
		else
			cutdisk_read(&w.disk, at, v->iov_base, v->iov_len);
		at += v->iov_len;
	}
}

static void power_fails(void)
{
	cutdisk_cut(&w.disk);
	for (unsigned i = 0; i < REQUESTS; i++)
		if (w.request[i].doing == AT_DISK && is_write(&w.request[i]))
			at_disk(&w.request[i], cutdisk_torn);
	cutdisk_restart(&w.disk);
}

static void file_put(const unsigned char *from)
{
	int fd = open(w.path, O_WRONLY);

	assert_true(fd >= 0 && pwrite(fd, from, w.disk.bytes, 0) == (ssize_t)w.disk.bytes);
	close(fd);
}

/* What the control side wrote is durable: it syncs. */
static void file_get(void)
{
	int fd = open(w.path, O_RDONLY);

	assert_true(fd >= 0 && pread(fd, w.disk.durable, w.disk.bytes, 0) == (ssize_t)w.disk.bytes);
	close(fd);
	cutdisk_restart(&w.disk);
}

/* ---- requests ---- */

static void wake(struct rw *rw)
{
	((struct request *)(void *)rw)->woken = true;
}

static void record(struct rw *rw, uint32_t pages)
{
	((struct request *)(void *)rw)->recorded += pages;
}

static void answered(struct request *r)
{
	unsigned char expect[PAGE_BYTES];

	r->doing = IDLE;
	w.answered++;
	if (r->op == RW_READ) {
		if (r->rw.error) {
			w.errors++;
			w.wrong += !w.page[r->first].busy;
			return;
		}
		content(w.page[r->first].now, r->first, expect);
		if (memcmp(r->data, expect, PAGE_BYTES) == 0)
			return;
		content(w.page[r->first].next, r->first, expect);
		w.wrong += !w.page[r->first].busy || memcmp(r->data, expect, PAGE_BYTES) != 0;
		return;
	}
	assert_int_equal(r->rw.error, 0);
	for (uint64_t i = r->first; i < r->first + r->pages; i++) {
		w.page[i].now = r->id;
		w.page[i].busy = false;
	}
}

static void take(struct request *r, enum rw_next next)
{
	r->woken = false;
	switch (next) {
	case RW_IO:
		w.records += r->rw.aside;
		r->doing = AT_DISK;
		return;
	case RW_SYNC:
		r->doing = AT_FLUSH;
		r->covers = w.disk.written;
		return;
	case RW_WAIT:
		r->doing = WAITING;
		return;
	case RW_LATER:
		r->doing = ANSWERED_LATER;
		return;
	case RW_DONE:
		answered(r);
		return;
	}
}

static void begin(struct request *r)
{
	rw_init(&r->rw, w.store, r->op, r->first * PAGE_BYTES, r->pages * PAGE_BYTES, r->op == RW_DISCARD ? NULL : r->data, wake);
	if (r->op != RW_READ)
		r->rw.record = record;
	r->recorded = 0;
	take(r, rw_begin(&r->rw));
}

static void step(struct request *r)
{
	size_t bytes = 0;

	switch (r->doing) {
	case IDLE:
		return;
	case AT_DISK:
		for (int i = 0; i < r->rw.iovcnt; i++)
			bytes += r->rw.iov[i].iov_len;
		at_disk(r, cutdisk_write);
		take(r, rw_complete(&r->rw, (ssize_t)bytes));
		return;
	case AT_FLUSH:
		cutdisk_flush(&w.disk, r->covers);
		take(r, rw_complete(&r->rw, 0));
		return;
	case WAITING:
		if (r->woken)
			take(r, rw_begin(&r->rw));
		return;
	case ANSWERED_LATER:
		take(r, rw_begin(&r->rw));
		return;
	}
}

static void fill(struct request *r)
{
	for (uint64_t i = 0; i < r->pages && r->op == RW_WRITE; i++)
		content(r->id, r->first + i, r->data + i * PAGE_BYTES);
}

/* A new request, where no page of it has one: a swapping kernel writes no page again before the first write is answered. */
static void new_request(struct request *r)
{
	r->op = dice(8) == 0 ? RW_READ : dice(6) == 0 ? RW_DISCARD : RW_WRITE;
	r->pages = r->op == RW_READ || dice(2) ? 1 : 1 + dice(REQUEST_PAGES);
	r->first = dice((uint32_t)(w.pages - r->pages + 1));
	r->id = r->op == RW_DISCARD ? 0 : ++w.last_id;
	for (uint64_t i = r->first; i < r->first + r->pages; i++)
		if (w.page[i].busy)
			return;
	for (uint64_t i = r->first; i < r->first + r->pages && r->op != RW_READ; i++) {
		w.page[i].busy = true;
		w.page[i].next = r->id;
	}
	fill(r);
	begin(r);
}

static void finish_all(void)
{
	for (unsigned left = 1, rounds = 0; left; rounds++) {
		left = 0;
		assert_true(rounds < 100000);
		for (unsigned i = 0; i < REQUESTS; i++) {
			step(&w.request[i]);
			left += w.request[i].doing != IDLE;
		}
	}
}

static void expect_content(uint64_t page)
{
	struct request *r = &w.request[0];

	*r = (struct request){ .data = r->data, .op = RW_READ, .first = page, .pages = 1 };
	begin(r);
	finish_all();
}

/* ---- the machine ---- */

static void boot(void)
{
	struct backing_options opt = { .dirfd = AT_FDCWD, .size = w.pages * PAGE_BYTES, .provision = PROVISION_CREATE, .allow_unlocked = true,
				       .survive = SURVIVE_HOST, .seal = w.sealed ? PAGE_SEAL_AES_256_GCM : PAGE_SEAL_NONE,
				       .key_file = w.sealed ? w.key : NULL };
	struct errbuf e = { .code = 0 };

	if (backing_activate(w.path, &opt, &w.b, NULL, &e) < 0 || backing_begin(w.b, &w.table, &e) < 0)
		fail_msg("%s", e.text);
}

static void make_store(void)
{
	struct store_options o = { .name = "cut", .fd = backing_fd(w.b), .table = w.table, .kind = BACKEND_EXT4 };
	struct errbuf e;

	o.pool = w.pool = w.sealed ? pool_create(256, true, &e) : NULL;
	assert_true(!w.sealed || w.pool);
	w.store = store_create(&o, &e);
	assert_non_null(w.store);
}

/* The processes of the server are gone, and nothing of theirs is left but what is in the file. */
static void die(void)
{
	static void *volatile graves[20000]; /* read by a leak checker alone */
	static unsigned n;

	/* Its requests are under way for ever, so it is not freed: but it is not lost either. */
	assert_true(n + 2 < sizeof(graves) / sizeof(graves[0]));
	graves[n++] = w.store;
	graves[n++] = w.pool;
}

static bool is_refused_place(const char *text)
{
	return strstr(text, "tmpfs") || strstr(text, "is not one");
}

static void world_make(uint64_t pages, bool sealed)
{
	static const unsigned char key[32] = "the key of a test, of 32 bytes..";
	struct backing_options opt = { .dirfd = AT_FDCWD, .size = pages * PAGE_BYTES, .provision = PROVISION_CREATE, .survive = SURVIVE_HOST };
	struct errbuf e;
	struct backing *b;
	int fd;

	w.pages = pages;
	w.sealed = sealed;
	w.dir = scratch_dir();
	snprintf(w.path, sizeof(w.path), "%s/f", w.dir);
	snprintf(w.key, sizeof(w.key), "%s/key", w.dir);
	fd = open(w.key, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0 && write(fd, key, sizeof(key)) == sizeof(key));
	close(fd);
	if (backing_activate(w.path, &opt, &b, NULL, &e) < 0) {
		if (is_refused_place(e.text)) {
			print_message("skipped: %s; set TMPDIR to a directory on a disk\n", e.text);
			exit(77);
		}
		fail_msg("%s", e.text);
	}
	backing_close(b);
	boot();
	w.activation = backing_activation(w.b);
	cutdisk_init(&w.disk, (uint64_t)lseek(backing_fd(w.b), 0, SEEK_END), dice);
	w.page = calloc(w.pages, sizeof(*w.page));
	for (unsigned i = 0; i < REQUESTS; i++)
		assert_int_equal(posix_memalign((void **)&w.request[i].data, PAGE_BYTES, REQUEST_PAGES * PAGE_BYTES), 0);
	file_get();
	make_store();
}

static void world_free(void)
{
	die();
	cutdisk_free(&w.disk);
	table_free(w.table);
	backing_close(w.b);
	for (unsigned i = 0; i < REQUESTS; i++)
		free(w.request[i].data);
	free(w.page);
	scratch_remove(w.dir);
	memset(&w, 0, sizeof(w));
}

/* What was not answered is sent again; before that, what is there is looked at. */
static void go_on(bool look)
{
	static struct request again[REQUESTS];

	memcpy(again, w.request, sizeof(again));
	for (unsigned i = 0; i < REQUESTS; i++)
		w.request[i].doing = IDLE;
	make_store();
	for (uint64_t page = 0; page < w.pages && look; page++)
		expect_content(page);
	for (unsigned i = 0; i < REQUESTS; i++) {
		w.request[i] = again[i];
		w.request[i].doing = IDLE;
		if (again[i].doing != IDLE && again[i].op != RW_READ) {
			fill(&w.request[i]);
			begin(&w.request[i]);
		}
	}
}

static void cut(void)
{
	uint64_t nonce = atomic_load(table_nonce(w.table));

	power_fails();
	die();
	table_free(w.table);
	backing_close(w.b);
	file_put(w.disk.durable);
	boot();
	assert_true(backing_was_resumed(w.b) && !backing_was_unclean(w.b));
	assert_int_equal(backing_activation(w.b), w.activation);
	assert_true(atomic_load(table_nonce(w.table)) >= nonce);
	file_get();
	go_on(true);
}

/* The worker alone dies.  Its writes land, and its successor does again what was not recorded as done; what was, it answers. */
static void kill_worker(void)
{
	static struct request again[REQUESTS];
	struct errbuf e;

	for (unsigned i = 0; i < REQUESTS; i++)
		if (w.request[i].doing == AT_DISK && is_write(&w.request[i]))
			at_disk(&w.request[i], cutdisk_write);
	die();
	file_put(w.disk.current);
	assert_int_equal(table_settle(w.table, backing_fd(w.b), NULL, &e), 0);
	memcpy(again, w.request, sizeof(again));
	make_store();
	for (unsigned i = 0; i < REQUESTS; i++) {
		struct request *r = &w.request[i];
		uint64_t done = again[i].recorded;

		r->doing = IDLE;
		if (again[i].doing == IDLE || r->op == RW_READ)
			continue;
		rw_init(&r->rw, w.store, r->op, (r->first + done) * PAGE_BYTES, (r->pages - done) * PAGE_BYTES,
			r->op == RW_DISCARD ? NULL : r->data + done * PAGE_BYTES, wake);
		r->rw.first_page = r->first;
		r->rw.record = record;
		take(r, rw_begin(&r->rw));
	}
}

static void run(unsigned cuts, unsigned deaths)
{
	for (unsigned n = 0; n < cuts; n++) {
		for (unsigned steps = 20 + dice(1200); steps; steps--) {
			struct request *r = &w.request[dice(REQUESTS)];

			if (r->doing == IDLE)
				new_request(r);
			else
				step(r);
			if (deaths && dice(deaths) == 0)
				kill_worker();
		}
		cut();
	}
	finish_all();
	for (uint64_t page = 0; page < w.pages; page++)
		expect_content(page);
}

static void say(const char *what)
{
	print_message("%s: %llu requests answered, %llu writes of records, %llu flushes, %llu errors at pages under way, %llu pages wrong\n", what,
		      (unsigned long long)w.answered, (unsigned long long)w.records, (unsigned long long)w.disk.flushes,
		      (unsigned long long)w.errors, (unsigned long long)w.wrong);
}

static void every_page_is_right(void **state)
{
	(void)state;
	random_state = 1;
	world_make(600, false);
	run(200, 0);
	say("plain");
	assert_int_equal(w.wrong, 0);
	assert_true(w.disk.flushes > 0 && w.answered > 1000);
	world_free();
}

static void sealed_pages_too(void **state)
{
	(void)state;
	random_state = 2;
	world_make(600, true);
	run(100, 0);
	say("sealed");
	assert_int_equal(w.wrong, 0);
	world_free();
}

/* More blocks than there are buffers for. */
static void many_blocks(void **state)
{
	(void)state;
	random_state = 3;
	world_make(120 * (RECORD_WRITERS + 20), true);
	run(4, 0);
	say("many blocks");
	assert_int_equal(w.wrong, 0);
	world_free();
}

static void workers_die_too(void **state)
{
	(void)state;
	random_state = 4;
	world_make(600, false);
	run(60, 150);
	say("with deaths of workers");
	assert_int_equal(w.wrong, 0);
	world_free();
}

/* Without this the tests above would say nothing. */
static void a_disk_that_ignores_flushes_is_found_out(void **state)
{
	(void)state;
	random_state = 5;
	world_make(600, false);
	w.disk.ignores_flushes = true;
	run(20, 0);
	say("without flushes");
	assert_true(w.wrong > 0);
	world_free();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_page_is_right),
		cmocka_unit_test(sealed_pages_too),
		cmocka_unit_test(many_blocks),
		cmocka_unit_test(workers_die_too),
		cmocka_unit_test(a_disk_that_ignores_flushes_is_found_out),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
