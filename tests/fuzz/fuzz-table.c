/* SPDX-License-Identifier: BSD-3-Clause */
/* A page table that is handed down after a death, scribbled on, and its file with it.
 *
 * The input first makes a history with the real store: writes, discards, writes that are not answered any more.  Then it changes bytes of
 * the table (header, slots, entries) and of the file, as if they had been scribbled on, torn or misdirected.  A successor maps the
 * table, settles it and reads every page: what comes is the last acknowledged content, that of a write under way, or an error.
 *
 * An entry's self-check has 16 bits, and an input can also have it made, so there are entries that pass it, as no accident does; of a
 * page with such a forged entry it is only asked that it reads as the entry says.  That those which nobody made are rare is a promise too.
 */
#include "config.h"

#include "tests/fuzz/fuzz.h"

#include "store/mark.h"
#include "store/page.h"
#include "store/sealkey.h"
#include "store/settle.h"
#include "store/store.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGES_MAX 12u
#define UNFINISHED_MAX 4u
#define WRITTEN_BY(id) ((id) & ~1u) /* contents with an even number are no page of one value */

/* What may be read of a page, by the numbers of contents; 0: zeros. */
struct expected {
	uint32_t now;	    /* acknowledged last */
	uint32_t under_way; /* by a write that was not answered; now when there is none */
	bool entry_touched, file_touched;
	bool check_made; /* by the input, with what the code under test makes it with */
	bool forged; /* its entry was changed and passes its self-check */
};

struct unfinished {
	struct rw rw;
	unsigned char data[PAGES_MAX * PAGE_BYTES];
};

static struct world {
	uint64_t pages;
	enum page_check check;
	int file;
	struct table *table;
	struct store *store;
	struct expected page[PAGES_MAX];
	bool header_touched, slots_touched;
	unsigned unfinished;
} w;
static struct unfinished under_way[UNFINISHED_MAX];
static struct pool *pool;
static struct sealkey *key; /* for SPEC */
#define SPEC { .activation = 5, .uuid = "fuzz", .salt = 7 }

static void content(uint32_t id, unsigned char *page)
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
static int request(struct store *s, enum rw_op op, uint64_t page, uint64_t pages, void *data)
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

static struct store *open_store(struct table *t, struct errbuf *e)
{
	struct store_options o = { .name = "fuzz", .fd = w.file, .table = t, .pool = pool };

	return store_create(&o, e);
}

/* ---- the history ---- */

static void range(struct input *in, uint64_t *first, uint64_t *pages)
{
	*first = input_byte(in) % w.pages;
	*pages = 1 + input_byte(in) % (w.pages - *first);
}

static bool in_flight(uint64_t first, uint64_t pages)
{
	for (uint64_t i = first; i < first + pages; i++)
		if (table_page(w.table, i).in_flight)
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
		content(id + (uint32_t)i % 3, data + i * PAGE_BYTES);
	promise(request(w.store, RW_WRITE, first, pages, data) == 0, "a write fails");
	for (uint64_t i = 0; i < pages; i++)
		w.page[first + i].now = w.page[first + i].under_way = id + (uint32_t)i % 3;
}

static void discard_pages(struct input *in)
{
	uint64_t first, pages;

	range(in, &first, &pages);
	promise(request(w.store, RW_DISCARD, first, pages, NULL) == 0, "a discard fails");
	for (uint64_t i = first; i < first + pages; i++) {
		w.page[i].now = 0;
		if (!table_page(w.table, i).in_flight)
			w.page[i].under_way = 0;
	}
}

/* A write that comes as far as the input says; nobody is told how it ended. */
static void unfinished_write(struct input *in)
{
	struct unfinished *u = &under_way[w.unfinished];
	uint64_t first, pages;
	uint32_t id;
	size_t bytes;

	range(in, &first, &pages);
	id = WRITTEN_BY(0x1000u + 0x20u * w.unfinished + input_byte(in) % 8);
	bytes = (size_t)input_u16(in) * 2;
	if (w.unfinished == UNFINISHED_MAX || in_flight(first, pages))
		return;
	for (uint64_t i = 0; i < pages; i++) {
		content(id + 2 * (uint32_t)i, u->data + i * PAGE_BYTES);
		w.page[first + i].under_way = id + 2 * (uint32_t)i;
	}
	rw_init(&u->rw, w.store, RW_WRITE, first * PAGE_BYTES, pages * PAGE_BYTES, u->data, no_wake);
	promise(rw_begin(&u->rw) == RW_IO, "it needs no I/O, or waits");
	promise(do_io(&u->rw, bytes) >= 0, "the file cannot be written");
	w.unfinished++;
}

/* Untouched, a page reads as its last acknowledged content. */
static void read_now(struct input *in)
{
	unsigned char data[PAGE_BYTES], wanted[PAGE_BYTES];
	uint64_t page = input_byte(in) % w.pages;

	if (in_flight(page, 1))
		return;
	content(w.page[page].now, wanted);
	promise(request(w.store, RW_READ, page, 1, data) == 0, "page %u is lost", (unsigned)page);
	promise(memcmp(data, wanted, PAGE_BYTES) == 0, "page %u is another", (unsigned)page);
}

static void history(struct input *in)
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

/* ---- the death: what is left are copies of the table and of the file ---- */

static int copy_of(int fd)
{
	int copy = memfd_create("fuzz", MFD_CLOEXEC);
	struct stat st;
	void *bytes;

	promise(copy >= 0 && fstat(fd, &st) == 0 && ftruncate(copy, st.st_size) == 0, "no copy");
	bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	promise(bytes != MAP_FAILED && pwrite(copy, bytes, (size_t)st.st_size, 0) == st.st_size, "no copy");
	munmap(bytes, (size_t)st.st_size);
	return copy;
}

/* The worker that is dead in the copies is ended in order in the original. */
static void end_original(void)
{
	for (unsigned i = 0; i < w.unfinished; i++)
		promise(rw_complete(&under_way[i].rw, -EBADF) == RW_DONE, "an error does not end it");
	store_free(w.store);
	close(w.file);
}

/* ---- the scribbling; table is the copy, mapped by itself ---- */

static void scribble_bytes(struct input *in, unsigned char *at, size_t room)
{
	size_t offset = input_u16(in) % room, n = 1 + input_byte(in) % 8;

	for (size_t i = offset; i < offset + n && i < room; i++)
		at[i] ^= input_byte(in);
}

static void scribble_file(struct input *in)
{
	unsigned char a[PAGE_BYTES], b[PAGE_BYTES];
	uint64_t page = input_byte(in) % w.pages, other;
	off_t at = (off_t)(page * PAGE_BYTES);

	promise(pread(w.file, a, PAGE_BYTES, at) >= 0, "the file cannot be read");
	w.page[page].file_touched = true;
	switch (input_byte(in) % 4) {
	case 0:
		scribble_bytes(in, a, PAGE_BYTES);
		break;
	case 1: /* misdirected */
		other = input_byte(in) % w.pages;
		promise(pread(w.file, b, PAGE_BYTES, (off_t)(other * PAGE_BYTES)) >= 0, "the file cannot be read");
		memcpy(a, b, PAGE_BYTES);
		break;
	case 2: /* some other time's */
		content(1 + input_byte(in), a);
		break;
	case 3: /* cut, or longer */
		for (uint64_t i = 0; i < w.pages; i++)
			w.page[i].file_touched = true;
		promise(ftruncate(w.file, (off_t)input_u16(in)) == 0, "the file cannot be cut");
		return;
	}
	promise(pwrite(w.file, a, PAGE_BYTES, at) == PAGE_BYTES, "the file cannot be written");
}

/* An entry that is changed with a self-check that fits: a forgery. */
static void forge(const struct entries *x, uint64_t page)
{
	struct page_entry *p = entry_at(x, page);
	uint64_t word = atomic_load(&p->word) & ((UINT64_C(1) << ENTRY_SELF_SHIFT) - 1);
	struct page_mark m;

	entry_load_mark(x, page, &m);
	atomic_store(&p->word, word | entry_self(x, page, word, &m) << ENTRY_SELF_SHIFT);
}

static void scribble(struct input *in, struct table *t)
{
	const struct entries *x = table_entries(t);
	unsigned char *base = (unsigned char *)table_slot(t, 0) - PAGE_BYTES; /* the header page is in front of the slots */
	uint64_t page;

	for (unsigned steps = 0; in->left && steps < 40; steps++) {
		switch (input_byte(in) % 6) {
		case 0:
			page = input_byte(in) % w.pages;
			scribble_bytes(in, x->base + page * x->stride, x->stride);
			w.page[page].entry_touched = true;
			break;
		case 1:
			page = input_byte(in) % w.pages;
			forge(x, page);
			w.page[page].check_made = true;
			break;
		case 2: /* they are taken from the last one on */
			scribble_bytes(in, (unsigned char *)table_slot(t, SLOTS - 1 - input_byte(in) % 8), slot_bytes(x->stride));
			w.slots_touched = true;
			break;
		case 3:
			scribble_bytes(in, base, 320);
			w.header_touched = true;
			break;
		case 4:
			scribble_file(in);
			break;
		case 5: { /* an entry at another's place */
			uint64_t from = input_byte(in) % w.pages;

			page = input_byte(in) % w.pages;
			memmove(x->base + page * x->stride, x->base + from * x->stride, x->stride);
			w.page[page].entry_touched = true;
			break;
		}
		}
	}
}

/* ---- the successor ---- */

/* Is the entry as the dead worker left it? */
static bool genuine(const struct table *t, uint64_t page)
{
	const struct entries *now = table_entries(t), *then = table_entries(w.table);

	return now->stride == then->stride &&
	       memcmp(now->base + page * now->stride, then->base + page * then->stride, now->stride) == 0;
}

/* Entries that were scribbled on and pass their self-check: one in 65536 does. */
static void count_lucky(struct table *t)
{
	static struct {
		uint64_t page, word;
	} seen[16]; /* the fuzzer breeds from one that it has found */
	static unsigned long runs, lucky;

	runs++;
	for (uint64_t page = 0; page < w.pages && !w.header_touched; page++) {
		struct page_mark now, then;
		struct page_view v = entry_read(table_entries(t), page, &now), u = entry_read(table_entries(w.table), page, &then);
		bool other = v.word != u.word;
		unsigned long i;

		if (!v.in_flight && v.state == PAGE_SAME)
			other |= now.value != then.value;
		else if (!v.in_flight && v.state == PAGE_WRITTEN)
			other |= memcmp(&now, &then, sizeof(now)) != 0;
		if (!other || !v.valid || w.page[page].check_made || lucky == sizeof(seen) / sizeof(seen[0]))
			continue;
		for (i = 0; i < lucky && (seen[i].page != page || seen[i].word != v.word); i++)
			;
		if (i == lucky) {
			seen[i].page = page;
			seen[i].word = v.word;
			lucky++;
		}
	}
	promise(lucky <= 3 + runs / 2000, "%lu scribbled entries in %lu runs passed their self-checks", lucky, runs);
}

/* Were the slots touched in such a way that they have an old entry that passes for one, and is none of the dead worker's? */
static bool slots_are_forged(struct table *t)
{
	for (uint32_t i = 0; i < SLOTS; i++) {
		struct slot *now = table_slot(t, i), *then = table_slot(w.table, i);
		struct entries old = *table_entries(t);

		if (atomic_load(&now->use) == SLOT_FREE || memcmp(now, then, slot_bytes(old.stride)) == 0)
			continue;
		for (uint32_t k = 0; k < SLOT_PAGES; k++) {
			uint64_t page = now->first_page + k;
			struct page_mark m;

			if (page >= table_pages(t))
				continue;
			old.base = now->old + k * old.stride - page * old.stride;
			if (entry_read(&old, page, &m).valid &&
			    (now->first_page != then->first_page || memcmp(now->old + k * old.stride, then->old + k * old.stride, old.stride)))
				return true;
		}
	}
	return false;
}

static void check_read(struct table *t, uint64_t page, const struct page_view *v, const struct page_mark *m, const unsigned char *data)
{
	unsigned char wanted[PAGE_BYTES];
	const struct expected *x = page < w.pages ? &w.page[page] : NULL;
	unsigned char stored[PAGE_BYTES] = "";
	struct marker marker;

	marker_init(&marker, t);
	promise(v->state != PAGE_LOST, "page %u is lost and was read", (unsigned)page);
	if (v->state == PAGE_WRITTEN) {
		promise(pread(w.file, stored, PAGE_BYTES, (off_t)(page * PAGE_BYTES)) >= 0, "the file cannot be read");
		promise(mark_verify(&marker, page, m, stored, wanted), "page %u does not match its mark", (unsigned)page);
	} else {
		page_fill_same(wanted, v->state == PAGE_SAME ? m->value : 0);
	}
	promise(memcmp(data, wanted, PAGE_BYTES) == 0, "page %u is not what its entry says", (unsigned)page);
	if (!x || x->forged || (w.check == CHECK_NONE && !table_seal(t) && (x->file_touched || x->now != x->under_way)))
		return;
	content(x->now, wanted);
	if (memcmp(data, wanted, PAGE_BYTES) == 0)
		return;
	content(x->under_way, wanted);
	promise(memcmp(data, wanted, PAGE_BYTES) == 0, "page %u (%s) is neither what was acknowledged (%u) nor what was under way (%u)",
		(unsigned)page, v->state == PAGE_WRITTEN ? "written" : v->state == PAGE_SAME ? "same" : "fresh", x->now, x->under_way);
}

static void read_all(struct table *t, struct store *s)
{
	for (uint64_t page = 0; page < table_pages(t); page++) {
		const struct expected *x = page < w.pages ? &w.page[page] : NULL;
		unsigned char data[PAGE_BYTES];
		struct page_mark m;
		struct page_view v = entry_read(table_entries(t), page, &m);

		promise(!v.in_flight, "page %u is in flight after it was settled", (unsigned)page);
		if (request(s, RW_READ, page, 1, data) == 0)
			check_read(t, page, &v, &m, data);
		else
			promise(!x || x->entry_touched || x->file_touched || x->now != x->under_way || w.slots_touched ||
				w.header_touched, "page %u is lost for no reason", (unsigned)page);
	}
}

/* Whatever it was, what is written now is there. */
static void write_all(struct table *t, struct store *s)
{
	for (uint64_t page = 0; page < w.pages && page < table_pages(t); page++) {
		unsigned char data[PAGE_BYTES], wanted[PAGE_BYTES];

		content(0x2000 + 2 * (uint32_t)page, wanted);
		promise(request(s, RW_WRITE, page, 1, wanted) == 0 && request(s, RW_READ, page, 1, data) == 0 &&
			memcmp(data, wanted, PAGE_BYTES) == 0, "page %u does not take what is written", (unsigned)page);
		promise(request(s, RW_DISCARD, page, 1, NULL) == 0 && table_page(t, page).state == PAGE_FRESH,
			"page %u is not discarded", (unsigned)page);
	}
}

static bool any_busy(struct table *t)
{
	for (uint32_t i = 0; i < SLOTS; i++)
		if (atomic_load(&table_slot(t, i)->use) != SLOT_FREE)
			return true;
	return false;
}

/* As a worker does it that was handed the descriptor, and the key where pages are sealed. */
static struct table *map(int fd, struct errbuf *e)
{
	struct table *t = table_map(fd, true, e);

	if (t && table_spec(t)->seal != PAGE_SEAL_NONE && table_unlock_seal(t, key, e) < 0) {
		table_free(t);
		return NULL;
	}
	return t;
}

static void succeed(int fd)
{
	struct errbuf e = { .code = 0 };
	struct table *t = map(fd, &e);
	struct table_totals n;
	struct store *s;
	struct stat st;
	uint64_t bytes;
	bool slots_forged, busy;

	if (!t) {
		promise(e.code && w.header_touched, "a good table is refused: %s", e.text);
		return;
	}
	promise(w.header_touched || table_pages(t) == w.pages, "%u pages", (unsigned)table_pages(t));
	/* Behind the mapping there may be another one, so it would not be seen. */
	promise(fstat(fd, &st) == 0 && table_pages(t) <= (uint64_t)st.st_size / ENTRY_BYTES &&
		(unsigned char *)table_slot(t, 0) - PAGE_BYTES + st.st_size >= (unsigned char *)table_image(t, &bytes) + bytes,
		"%llu pages are more than the mapping has", (unsigned long long)table_pages(t));
	count_lucky(t);
	slots_forged = w.slots_touched && slots_are_forged(t);
	for (uint64_t page = 0; page < w.pages && page < table_pages(t); page++)
		w.page[page].forged = slots_forged || (!genuine(t, page) && table_page(t, page).valid);
	busy = any_busy(t);
	s = open_store(t, &e);
	promise((s == NULL) == busy, "unfinished writes are %s", busy ? "not seen" : "seen where there are none");
	store_free(s);
	promise(table_settle(t, w.file, NULL, &e) == 0, "%s", e.text);
	s = open_store(t, &e);
	promise(s, "%s", e.text);
	table_count(t, &n);
	promise(n.fresh + n.same + n.written + n.lost == table_pages(t) && n.zero <= n.same, "pages without a state");
	read_all(t, s);
	write_all(t, s);
	store_free(s);
	table_free(t);
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

static void begin(struct input *in)
{
	uint8_t first = input_byte(in);
	struct table_spec spec = SPEC;
	struct errbuf e;

	memset(&w, 0, sizeof(w));
	w.pages = spec.pages = 1 + first % PAGES_MAX;
	spec.check = (uint8_t)(w.check = first >= 240 ? CHECK_NONE : CHECK_XXH3);
	spec.seal = first >= 192 && first < 240 ? PAGE_SEAL_AES_256_GCM : PAGE_SEAL_NONE;
	make_once(&spec);
	w.file = memfd_create("fuzz", MFD_CLOEXEC);
	promise(w.file >= 0 && ftruncate(w.file, (off_t)(w.pages * PAGE_BYTES)) == 0, "no file");
	w.table = table_create(&spec, PAGE_FRESH, true, &e);
	promise(w.table && (!spec.seal || table_unlock_seal(w.table, key, &e) == 0), "%s", e.text);
	w.store = open_store(w.table, &e);
	promise(w.store, "%s", e.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct table *mapped, *dead;
	struct errbuf e;
	int table, then, file;

	begin(&in);
	history(&in);
	table = copy_of(table_fd(w.table));
	then = copy_of(table_fd(w.table)); /* to compare with */
	file = copy_of(w.file);
	mapped = map(then, &e);
	close(then);
	promise(mapped, "%s", e.text);
	end_original();
	w.file = file;
	dead = w.table;
	w.table = mapped;
	mapped = map(table, &e);
	promise(mapped, "%s", e.text);
	scribble(&in, mapped);
	table_free(mapped);
	succeed(table);
	table_free(w.table);
	table_free(dead);
	close(table);
	close(w.file);
	return 0;
}
