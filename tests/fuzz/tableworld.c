/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/fuzz/tableworld.h"

#include "store/mark.h"
#include "store/page.h"
#include "store/sealkey.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define UNFINISHED_MAX 4u
#define WRITTEN_BY(id) ((id) & ~1u) /* contents with an even number are no page of one value */

struct unfinished {
	struct rw rw;
	unsigned char data[PAGES_MAX * PAGE_BYTES];
};

struct world world;
static struct unfinished under_way[UNFINISHED_MAX];
static struct pool *pool;
static struct sealkey *key; /* for SPEC */
#define SPEC { .activation = 5, .uuid = "fuzz", .salt = 7 }

void world_content(uint32_t id, unsigned char *page)
{
	uint64_t word = entry_mix(id);

	if (id == 0 || id & 1) {
		page_fill_same(page, id ? word : 0);
		return;
	}
	for (size_t i = 0; i < PAGE_BYTES; i += sizeof(word)) {
		memcpy(page + i, &word, sizeof(word));
		word += UINT64_C(0x9e3779b97f4a7c15);
	}
}

static void no_wake(struct rw *rw)
{
}

/* Does the I/O that rw asks for, at most limit bytes of it. */
static ssize_t do_io(struct rw *rw, size_t limit)
{
	size_t moved = 0;

	for (int i = 0; i < rw->iovcnt && moved < limit; i++) {
		size_t n = rw->iov[i].iov_len < limit - moved ? rw->iov[i].iov_len : limit - moved;
		ssize_t r = rw->op == RW_WRITE ? pwrite(rw->fd, rw->iov[i].iov_base, n, rw->position + (off_t)moved)
					       : pread(rw->fd, rw->iov[i].iov_base, n, rw->position + (off_t)moved);

		if (r < 0)
			return -errno;
		moved += (size_t)r;
		if ((size_t)r < n)
			break;
	}
	return (ssize_t)moved;
}

/* A whole request.  What is to be tried again later is tried thrice, and then fails for good. */
int world_request(struct store *s, enum rw_op op, uint64_t page, uint64_t pages, void *data)
{
	unsigned later = 0, rounds = 0;
	enum rw_next next;
	struct rw rw;

	rw_init(&rw, s, op, page * PAGE_BYTES, pages * PAGE_BYTES, data, no_wake);
	for (next = rw_begin(&rw); next != RW_DONE;) {
		promise(next != RW_WAIT, "a request waits, and there is nobody to wait for");
		promise(rounds++ < 1000, "a request does not end");
		if (next == RW_LATER)
			later++;
		next = next == RW_LATER ? rw_begin(&rw) : rw_complete(&rw, later > 3 ? -EBADF : do_io(&rw, SIZE_MAX));
	}
	promise(rw.error == 0 || rw.error == EIO, "error %d", rw.error);
	return rw.error;
}

struct store *world_store(struct table *t, struct errbuf *e)
{
	struct store_options o = { .name = "fuzz", .fd = world.file, .table = t, .pool = pool };

	return store_create(&o, e);
}

/* ---- the history ---- */

static void range(struct input *in, uint64_t *first, uint64_t *pages)
{
	*first = input_byte(in) % world.pages;
	*pages = 1 + input_byte(in) % (world.pages - *first);
}

static bool in_flight(uint64_t first, uint64_t pages)
{
	for (uint64_t i = first; i < first + pages; i++)
		if (table_page(world.table, i).in_flight)
			return true;
	return false;
}

static void write_pages(struct input *in)
{
	static unsigned char data[PAGES_MAX * PAGE_BYTES];
	uint64_t first, pages;
	uint32_t id;

	range(in, &first, &pages);
	id = 1 + input_byte(in);
	if (in_flight(first, pages))
		return;
	for (uint64_t i = 0; i < pages; i++)
		world_content(id + (uint32_t)i % 3, data + i * PAGE_BYTES);
	promise(world_request(world.store, RW_WRITE, first, pages, data) == 0, "a write fails");
	for (uint64_t i = 0; i < pages; i++)
		world.page[first + i].now = world.page[first + i].under_way = id + (uint32_t)i % 3;
}

static void discard_pages(struct input *in)
{
	uint64_t first, pages;

	range(in, &first, &pages);
	promise(world_request(world.store, RW_DISCARD, first, pages, NULL) == 0, "a discard fails");
	for (uint64_t i = first; i < first + pages; i++) {
		world.page[i].now = 0;
		if (!table_page(world.table, i).in_flight)
			world.page[i].under_way = 0;
	}
}

/* A write that comes as far as the input says; nobody is told how it ended. */
static void unfinished_write(struct input *in)
{
	struct unfinished *u = &under_way[world.unfinished];
	uint64_t first, pages;
	uint32_t id;
	size_t bytes;

	range(in, &first, &pages);
	id = WRITTEN_BY(0x1000u + 0x20u * world.unfinished + input_byte(in) % 8);
	bytes = (size_t)input_u16(in) * 2;
	if (world.unfinished == UNFINISHED_MAX || in_flight(first, pages))
		return;
	for (uint64_t i = 0; i < pages; i++) {
		world_content(id + 2 * (uint32_t)i, u->data + i * PAGE_BYTES);
		world.page[first + i].under_way = id + 2 * (uint32_t)i;
	}
	rw_init(&u->rw, world.store, RW_WRITE, first * PAGE_BYTES, pages * PAGE_BYTES, u->data, no_wake);
	promise(rw_begin(&u->rw) == RW_IO, "it needs no I/O, or waits");
	promise(do_io(&u->rw, bytes) >= 0, "the file cannot be written");
	world.unfinished++;
}

/* Untouched, a page reads as its last acknowledged content. */
static void read_now(struct input *in)
{
	unsigned char data[PAGE_BYTES], wanted[PAGE_BYTES];
	uint64_t page = input_byte(in) % world.pages;

	if (in_flight(page, 1))
		return;
	world_content(world.page[page].now, wanted);
	promise(world_request(world.store, RW_READ, page, 1, data) == 0, "page %u is lost", (unsigned)page);
	promise(memcmp(data, wanted, PAGE_BYTES) == 0, "page %u is another", (unsigned)page);
}

void world_history(struct input *in)
{
	for (unsigned steps = 0; in->left && steps < 40; steps++) {
		switch (input_byte(in) % 6) {
		case 0:
			write_pages(in);
			break;
		case 1:
			discard_pages(in);
			break;
		case 2:
			unfinished_write(in);
			break;
		case 3:
			read_now(in);
			break;
		default:
			return; /* the death */
		}
	}
}

static void make_once(const struct table_spec *spec)
{
	char path[128];
	struct sealkey *master;
	struct errbuf e;
	FILE *f;

	if (pool)
		return;
	pool = pool_create(64, true, &e);
	promise(pool, "%s", e.text);
	snprintf(path, sizeof(path), "%s/key", fuzz_dir());
	f = fopen(path, "we");
	promise(f && fputs("0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef", f) >= 0 && fclose(f) == 0 &&
		chmod(path, 0600) == 0, "%s cannot be made", path);
	master = sealkey_load(path, true, &e);
	key = master ? sealkey_derive(master, spec->uuid, spec->activation, true, &e) : NULL;
	promise(key, "%s", e.text);
	sealkey_free(master);
}

void world_begin(struct input *in)
{
	uint8_t first = input_byte(in);
	struct table_spec spec = SPEC;
	struct errbuf e;

	memset(&world, 0, sizeof(world));
	world.pages = spec.pages = 1 + first % PAGES_MAX;
	spec.check = (uint8_t)(world.check = first >= 240 ? CHECK_NONE : CHECK_XXH3);
	spec.seal = first >= 192 && first < 240 ? PAGE_SEAL_AES_256_GCM : PAGE_SEAL_NONE;
	make_once(&spec);
	world.file = memfd_create("fuzz", MFD_CLOEXEC);
	promise(world.file >= 0 && ftruncate(world.file, (off_t)(world.pages * PAGE_BYTES)) == 0, "no file");
	world.table = table_create(&spec, PAGE_FRESH, true, &e);
	promise(world.table && (!spec.seal || table_unlock_seal(world.table, key, &e) == 0), "%s", e.text);
	world.store = world_store(world.table, &e);
	promise(world.store, "%s", e.text);
}

void world_end(void)
{
	for (unsigned i = 0; i < world.unfinished; i++)
		promise(rw_complete(&under_way[i].rw, -EBADF) == RW_DONE, "an error does not end it");
	store_free(world.store);
	close(world.file);
}

struct table *world_map(int fd, struct errbuf *e)
{
	struct table *t = table_map(fd, true, e);

	if (t && table_spec(t)->seal != PAGE_SEAL_NONE && table_unlock_seal(t, key, e) < 0) {
		table_free(t);
		return NULL;
	}
	return t;
}
