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
#include "store/settle.h"
#include "tests/fuzz/tableworld.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

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
	uint64_t page = input_byte(in) % world.pages, other;
	off_t at = (off_t)(page * PAGE_BYTES);

	promise(pread(world.file, a, PAGE_BYTES, at) >= 0, "the file cannot be read");
	world.page[page].file_touched = true;
	switch (input_byte(in) % 4) {
	case 0:
		scribble_bytes(in, a, PAGE_BYTES);
		break;
	case 1: /* misdirected */
		other = input_byte(in) % world.pages;
		promise(pread(world.file, b, PAGE_BYTES, (off_t)(other * PAGE_BYTES)) >= 0, "the file cannot be read");
		memcpy(a, b, PAGE_BYTES);
		break;
	case 2: /* some other time's */
		world_content(1 + input_byte(in), a);
		break;
	case 3: /* cut, or longer */
		for (uint64_t i = 0; i < world.pages; i++)
			world.page[i].file_touched = true;
		promise(ftruncate(world.file, (off_t)input_u16(in)) == 0, "the file cannot be cut");
		return;
	}
	promise(pwrite(world.file, a, PAGE_BYTES, at) == PAGE_BYTES, "the file cannot be written");
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
			page = input_byte(in) % world.pages;
			scribble_bytes(in, x->base + page * x->stride, x->stride);
			world.page[page].entry_touched = true;
			break;
		case 1:
			page = input_byte(in) % world.pages;
			forge(x, page);
			world.page[page].check_made = true;
			break;
		case 2: /* they are taken from the last one on */
			scribble_bytes(in, (unsigned char *)table_slot(t, SLOTS - 1 - input_byte(in) % 8), slot_bytes(x->stride));
			world.slots_touched = true;
			break;
		case 3:
			scribble_bytes(in, base, 320);
			world.header_touched = true;
			break;
		case 4:
			scribble_file(in);
			break;
		case 5: { /* an entry at another's place */
			uint64_t from = input_byte(in) % world.pages;

			page = input_byte(in) % world.pages;
			memmove(x->base + page * x->stride, x->base + from * x->stride, x->stride);
			world.page[page].entry_touched = true;
			break;
		}
		}
	}
}

/* ---- the successor ---- */

/* Is the entry as the dead worker left it? */
static bool genuine(const struct table *t, uint64_t page)
{
	const struct entries *now = table_entries(t), *then = table_entries(world.table);

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
	for (uint64_t page = 0; page < world.pages && !world.header_touched; page++) {
		struct page_mark now, then;
		struct page_view v = entry_read(table_entries(t), page, &now), u = entry_read(table_entries(world.table), page, &then);
		bool other = v.word != u.word;
		unsigned long i;

		if (!v.in_flight && v.state == PAGE_SAME)
			other |= now.value != then.value;
		else if (!v.in_flight && v.state == PAGE_WRITTEN)
			other |= memcmp(&now, &then, sizeof(now)) != 0;
		if (!other || !v.valid || world.page[page].check_made || lucky == sizeof(seen) / sizeof(seen[0]))
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
		struct slot *now = table_slot(t, i), *then = table_slot(world.table, i);
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
	const struct expected *x = page < world.pages ? &world.page[page] : NULL;
	unsigned char stored[PAGE_BYTES] = "";
	struct marker marker;

	marker_init(&marker, t);
	promise(v->state != PAGE_LOST, "page %u is lost and was read", (unsigned)page);
	if (v->state == PAGE_WRITTEN) {
		promise(pread(world.file, stored, PAGE_BYTES, (off_t)(page * PAGE_BYTES)) >= 0, "the file cannot be read");
		promise(mark_verify(&marker, page, m, stored, wanted), "page %u does not match its mark", (unsigned)page);
	} else {
		page_fill_same(wanted, v->state == PAGE_SAME ? m->value : 0);
	}
	promise(memcmp(data, wanted, PAGE_BYTES) == 0, "page %u is not what its entry says", (unsigned)page);
	if (!x || x->forged || (world.check == CHECK_NONE && !table_seal(t) && (x->file_touched || x->now != x->under_way)))
		return;
	world_content(x->now, wanted);
	if (memcmp(data, wanted, PAGE_BYTES) == 0)
		return;
	world_content(x->under_way, wanted);
	promise(memcmp(data, wanted, PAGE_BYTES) == 0, "page %u (%s) is neither what was acknowledged (%u) nor what was under way (%u)",
		(unsigned)page, v->state == PAGE_WRITTEN ? "written" : v->state == PAGE_SAME ? "same" : "fresh", x->now, x->under_way);
}

static void read_all(struct table *t, struct store *s)
{
	for (uint64_t page = 0; page < table_pages(t); page++) {
		const struct expected *x = page < world.pages ? &world.page[page] : NULL;
		unsigned char data[PAGE_BYTES];
		struct page_mark m;
		struct page_view v = entry_read(table_entries(t), page, &m);

		promise(!v.in_flight, "page %u is in flight after it was settled", (unsigned)page);
		if (world_request(s, RW_READ, page, 1, data) == 0)
			check_read(t, page, &v, &m, data);
		else
			promise(!x || x->entry_touched || x->file_touched || x->now != x->under_way || world.slots_touched ||
				world.header_touched, "page %u is lost for no reason", (unsigned)page);
	}
}

/* Whatever it was, what is written now is there. */
static void write_all(struct table *t, struct store *s)
{
	for (uint64_t page = 0; page < world.pages && page < table_pages(t); page++) {
		unsigned char data[PAGE_BYTES], wanted[PAGE_BYTES];

		world_content(0x2000 + 2 * (uint32_t)page, wanted);
		promise(world_request(s, RW_WRITE, page, 1, wanted) == 0 && world_request(s, RW_READ, page, 1, data) == 0 &&
			memcmp(data, wanted, PAGE_BYTES) == 0, "page %u does not take what is written", (unsigned)page);
		promise(world_request(s, RW_DISCARD, page, 1, NULL) == 0 && table_page(t, page).state == PAGE_FRESH,
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

static void succeed(int fd)
{
	struct errbuf e = { .code = 0 };
	struct table *t = world_map(fd, &e);
	struct table_totals n;
	struct store *s;
	struct stat st;
	uint64_t bytes;
	bool slots_forged, busy;

	if (!t) {
		promise(e.code && world.header_touched, "a good table is refused: %s", e.text);
		return;
	}
	promise(world.header_touched || table_pages(t) == world.pages, "%u pages", (unsigned)table_pages(t));
	/* Behind the mapping there may be another one, so it would not be seen. */
	promise(fstat(fd, &st) == 0 && table_pages(t) <= (uint64_t)st.st_size / ENTRY_BYTES &&
		(unsigned char *)table_slot(t, 0) - PAGE_BYTES + st.st_size >= (unsigned char *)table_image(t, &bytes) + bytes,
		"%llu pages are more than the mapping has", (unsigned long long)table_pages(t));
	count_lucky(t);
	slots_forged = world.slots_touched && slots_are_forged(t);
	for (uint64_t page = 0; page < world.pages && page < table_pages(t); page++)
		world.page[page].forged = slots_forged || (!genuine(t, page) && table_page(t, page).valid);
	busy = any_busy(t);
	s = world_store(t, &e);
	promise((s == NULL) == busy, "unfinished writes are %s", busy ? "not seen" : "seen where there are none");
	store_free(s);
	promise(table_settle(t, world.file, NULL, &e) == 0, "%s", e.text);
	s = world_store(t, &e);
	promise(s, "%s", e.text);
	table_count(t, &n);
	promise(n.fresh + n.same + n.written + n.lost == table_pages(t) && n.zero <= n.same, "pages without a state");
	read_all(t, s);
	write_all(t, s);
	store_free(s);
	table_free(t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	struct table *mapped, *dead;
	struct errbuf e;
	int table, then, file;

	world_begin(&in);
	world_history(&in);
	table = copy_of(table_fd(world.table));
	then = copy_of(table_fd(world.table)); /* to compare with */
	file = copy_of(world.file);
	mapped = world_map(then, &e);
	close(then);
	promise(mapped, "%s", e.text);
	world_end();
	world.file = file;
	dead = world.table;
	world.table = mapped;
	mapped = world_map(table, &e);
	promise(mapped, "%s", e.text);
	scribble(&in, mapped);
	table_free(mapped);
	succeed(table);
	table_free(world.table);
	table_free(dead);
	close(table);
	close(world.file);
	return 0;
}
