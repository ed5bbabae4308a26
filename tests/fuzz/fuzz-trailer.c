/* SPDX-License-Identifier: BSD-3-Clause */
/* The tail of a backing file: two header slots and the image of a page table.  The input is
 *   1 byte   pages of the export, less one, plus 12 times how it is opened: without a seal, with a key of its own, with a key file,
 *            plus 36 if a page is lost while it is in use
 *   2 x TRAILER_ROOM bytes   the beginnings of the two slots
 *   the rest  the image
 * and is laid out as a file on tmpfs, which is read, activated, begun, ended and begun again.  The checks (XXH3) are put right by the
 * mutator, so that what stands behind them is reached.
 */
#include "config.h"

#include "tests/fuzz/fuzz.h"

#include "store/backing.h"
#include "store/page.h"
#include "store/sealkey.h"
#include "store/trailer.h"
#include "tests/setpage.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#define TRAILER_ROOM 512u
#define PAGES_MAX 12u
#define SEED_PAGES 6u
#define INPUT_MIN (1 + TRAILER_SLOTS * TRAILER_ROOM)

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed);

static int fd = -1; /* of the file, and its name */
static char path[128], key_path[128];

static void open_file(void)
{
	FILE *key;

	if (fd >= 0)
		return;
	snprintf(key_path, sizeof(key_path), "%s/key", fuzz_dir());
	key = fopen(key_path, "we");
	promise(key && fputs("a key of thirty-two bytes, no more", key) >= 0 && fclose(key) == 0 && chmod(key_path, 0600) == 0 &&
		truncate(key_path, SEALKEY_BYTES) == 0, "%s cannot be made", key_path);
	snprintf(path, sizeof(path), "%s/file", fuzz_dir());
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	promise(fd >= 0, "%s cannot be made", path);
}

static uint64_t pages_of(const uint8_t *data)
{
	return 1 + data[0] % PAGES_MAX;
}

static enum trailer_seal seal_of(const uint8_t *data)
{
	return (enum trailer_seal)(data[0] / PAGES_MAX % 3);
}

static struct backing_options options(enum trailer_seal seal)
{
	return (struct backing_options){
		.provision = PROVISION_NEVER,
		.dirfd = AT_FDCWD,
		.allow_unlocked = true,
		.seal = seal == TRAILER_SEAL_NONE ? PAGE_SEAL_NONE : PAGE_SEAL_AES_256_GCM,
		.key_file = seal == TRAILER_SEAL_KEY_FILE ? key_path : NULL,
		.force = true, /* or what "another machine" had in use would never be opened */
	};
}

static uint32_t stride_of(enum trailer_seal seal)
{
	return seal == TRAILER_SEAL_NONE ? ENTRY_BYTES : ENTRY_BYTES_SEALED;
}

/* Lays the input out; *bytes of the file are in the buffer that is returned (static). */
static unsigned char *lay_out(const uint8_t *data, size_t size, size_t *bytes)
{
	static unsigned char whole[(2 * PAGES_MAX + 8) * PAGE_BYTES];
	struct trailer t;
	size_t room;

	trailer_layout(&t, pages_of(data) * PAGE_BYTES);
	promise(t.file_size <= sizeof(whole), "a layout of %llu bytes", (unsigned long long)t.file_size);
	memset(whole, 0, sizeof(whole));
	for (uint64_t i = 0; i < t.data_size; i++)
		whole[i] = (unsigned char)(i / PAGE_BYTES * 7 + i % 251);
	room = size - INPUT_MIN < t.table_bytes ? size - INPUT_MIN : (size_t)t.table_bytes;
	memcpy(whole + t.table_offset, data + INPUT_MIN, room);
	for (unsigned i = 0; i < TRAILER_SLOTS; i++)
		memcpy(whole + t.file_size - (TRAILER_SLOTS - i) * PAGE_BYTES, data + 1 + i * TRAILER_ROOM, TRAILER_ROOM);
	*bytes = (size_t)t.file_size;
	open_file();
	promise(ftruncate(fd, 0) == 0 && pwrite(fd, whole, *bytes, 0) == (ssize_t)*bytes, "%s cannot be written", path);
	return whole;
}

static uint64_t header_check(const struct trailer *t)
{
	return XXH3_64bits(t, offsetof(struct trailer, check));
}

/* ---- the mutator ---- */

static uint32_t dice(unsigned *seed, uint32_t sides)
{
	*seed = *seed * 1103515245u + 12345u;
	return (*seed >> 16) % sides;
}

/* Puts something into a header that could have been meant. */
static void meant(struct trailer *t, uint64_t pages, unsigned *seed)
{
	struct trailer layout;

	trailer_layout(&layout, pages * PAGE_BYTES);
	switch (dice(seed, 11)) {
	case 0:
		t->state = dice(seed, 5);
		break;
	case 1:
		t->table = dice(seed, 4);
		break;
	case 2:
		t->sequence += dice(seed, 3) - 1u;
		break;
	case 3:
		t->allocated = dice(seed, 2) ? layout.table_offset + layout.table_bytes : dice(seed, 12) * PAGE_BYTES;
		break;
	case 4: { /* smaller, no whole page, or so large that sums wrap around */
		uint64_t sizes[] = { (pages - dice(seed, (uint32_t)pages)) * PAGE_BYTES, pages * PAGE_BYTES - 512,
				     UINT64_MAX / PAGE_BYTES * PAGE_BYTES - dice(seed, 1000) * PAGE_BYTES };

		trailer_layout(&layout, sizes[dice(seed, 3)]);
		t->data_size = layout.data_size;
		t->table_offset = layout.table_offset;
		t->table_bytes = layout.table_bytes;
		t->allocated = layout.table_offset + layout.table_bytes;
		break;
	}
	case 5:
		t->stride = 8u << dice(seed, 4);
		break;
	case 6:
		t->activation = dice(seed, 2) ? 0 : UINT64_MAX - dice(seed, 3);
		break;
	case 7:
		t->owner_since = (uint64_t)1 << dice(seed, 64);
		break;
	case 8:
		t->seal = dice(seed, 4);
		break;
	default: /* all of it as it should be */
		t->magic = TRAILER_MAGIC;
		t->version = TRAILER_VERSION;
		t->data_size = layout.data_size;
		t->table_offset = layout.table_offset;
		t->table_bytes = layout.table_bytes;
		t->file_size = layout.file_size;
		t->allocated = layout.table_offset + layout.table_bytes;
	}
}

static void put_right(uint8_t *data, size_t size, unsigned *seed)
{
	static unsigned char image[PAGES_MAX * ENTRY_BYTES_SEALED + PAGE_BYTES];
	struct input in = { data + INPUT_MIN, size - INPUT_MIN };

	input_bytes(&in, image, sizeof(image)); /* with the zeros that follow in the file */
	for (unsigned i = 0; i < TRAILER_SLOTS; i++) {
		struct trailer t;

		memcpy(&t, data + 1 + i * TRAILER_ROOM, sizeof(t));
		if (dice(seed, 4) == 0)
			meant(&t, pages_of(data), seed);
		if (dice(seed, 2) == 0) {
			uint32_t stride = t.stride == ENTRY_BYTES_SEALED ? ENTRY_BYTES_SEALED : ENTRY_BYTES;
			XXH128_hash_t h = XXH3_128bits(image, pages_of(data) * stride);

			t.table_check[0] = h.low64;
			t.table_check[1] = h.high64;
		}
		if (dice(seed, 16) != 0)
			t.check = header_check(&t);
		memcpy(data + 1 + i * TRAILER_ROOM, &t, sizeof(t));
	}
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned int seed)
{
	if (max_size < INPUT_MIN)
		return LLVMFuzzerMutate(data, size, max_size);
	if (size < INPUT_MIN) {
		memset(data + size, 0, INPUT_MIN - size);
		size = INPUT_MIN;
	}
	if (dice(&seed, 3) != 0)
		size = LLVMFuzzerMutate(data, size, max_size);
	if (size < INPUT_MIN) {
		memset(data + size, 0, INPUT_MIN - size);
		size = INPUT_MIN;
	}
	put_right(data, size, &seed);
	return size;
}

/* ---- what is promised ---- */

/* A header that is accepted says nothing that cannot be. */
static void check_header(const struct trailer *t, uint64_t file_size)
{
	uint64_t end = t->table_offset + t->table_bytes;

	promise(t->data_size > 0 && t->data_size % PAGE_BYTES == 0, "data of %llu bytes", (unsigned long long)t->data_size);
	promise(t->table_offset == t->data_size && t->table_bytes % PAGE_BYTES == 0, "the image is not behind the data");
	promise(t->table_bytes / ENTRY_BYTES_SEALED >= t->data_size / PAGE_BYTES, "the image has no room for all entries");
	promise(end <= file_size - TRAILER_SLOTS * PAGE_BYTES && t->file_size == file_size, "more than the file has");
	promise(t->state >= TRAILER_ALLOCATING && t->state <= TRAILER_IN_USE, "state %u", t->state);
	promise(t->table <= TRAILER_TABLE_RECORDS && t->seal <= TRAILER_SEAL_KEY_FILE, "table %u, seal %u", t->table, t->seal);
	promise(t->allocated % PAGE_BYTES == 0 && t->allocated <= end, "allocated up to %llu of %llu", (unsigned long long)t->allocated,
		(unsigned long long)end);
	promise(t->state == TRAILER_ALLOCATING || t->allocated == end, "in use before it is allocated");
	promise(memchr(t->owner_host, '\0', sizeof(t->owner_host)) && memchr(t->owner_boot, '\0', sizeof(t->owner_boot)),
		"an owner without an end");
	promise(t->check == header_check(t), "a wrong check");
}

static int read_trailer(struct trailer *t, uint64_t file_size)
{
	struct errbuf e = { .code = 0 };
	int found = trailer_read(fd, path, file_size, t, &e);

	promise(found >= 0 || e.code, "refused without a reason");
	if (found == 1)
		check_header(t, file_size);
	return found;
}

/* Are there records, which tell of the pages after an end of whatever kind?  Those of another machine, which may be alive, are not believed: only force
 * opens its file.
 */
static bool has_records(const struct trailer *t, enum trailer_seal seal)
{
	return t->table == TRAILER_TABLE_RECORDS && t->seal == seal &&
	       (t->state == TRAILER_CLEAN || (t->state == TRAILER_IN_USE && (trailer_owned_since_boot(t) || trailer_owned_here(t))));
}

/* May the file be opened so?  What was there may not be lost to a seal, nor lie open beside one. */
static bool may_open(const struct trailer *t, enum trailer_seal seal)
{
	bool records = t->table == TRAILER_TABLE_RECORDS, in_use = t->state == TRAILER_IN_USE;
	struct sealkey *key;
	uint8_t id[SEALKEY_ID_BYTES];
	bool same;

	if (t->state == TRAILER_ALLOCATING)
		return false;
	if (!in_use && t->table != TRAILER_TABLE_IMAGE && !records)
		return true;
	if (t->seal == TRAILER_SEAL_NONE && seal != TRAILER_SEAL_NONE)
		return false;
	if ((in_use && !records) || t->seal != TRAILER_SEAL_KEY_FILE)
		return true;
	if (seal != TRAILER_SEAL_KEY_FILE)
		return false;
	key = sealkey_load(key_path, true, NULL);
	same = sealkey_id(key, t->uuid, id, NULL) == 0 && memcmp(id, t->key_id, sizeof(id)) == 0;
	sealkey_free(key);
	return same;
}

/* Is the image what the header says, as far as it can be used?  Whether a sealed one opens is not asked. */
static bool image_is_good(const struct trailer *t, enum trailer_seal seal, const unsigned char *whole)
{
	XXH128_hash_t h = XXH3_128bits(whole + t->table_offset, t->data_size / PAGE_BYTES * stride_of(seal));

	return t->seal == seal && t->stride == stride_of(seal) && h.low64 == t->table_check[0] && h.high64 == t->table_check[1];
}

static bool same_data(const unsigned char *whole, uint64_t bytes)
{
	static unsigned char now[PAGES_MAX * PAGE_BYTES];

	return pread(fd, now, (size_t)bytes, 0) == (ssize_t)bytes && memcmp(now, whole, (size_t)bytes) == 0;
}

/* After backing_begin: was said what the trailer promised, and nothing of the pages themselves touched? */
static void check_begun(const struct trailer *before, enum trailer_seal seal, struct backing *b, struct table *t,
			const unsigned char *whole)
{
	bool fresh = before->state == TRAILER_CLEAN && before->table == TRAILER_TABLE_FRESH;
	bool image = before->state == TRAILER_CLEAN && before->table == TRAILER_TABLE_IMAGE &&
		     image_is_good(before, seal, whole);
	struct table_totals n;
	struct trailer now;

	promise(table_pages(t) == before->data_size / PAGE_BYTES, "a table of %llu pages", (unsigned long long)table_pages(t));
	table_count(t, &n);
	promise(n.fresh + n.same + n.written + n.lost == table_pages(t), "pages without a state");
	if (has_records(before, seal)) {
		promise(backing_activation(b) == before->activation, "records that are given up");
	} else if (fresh) {
		promise(n.fresh == table_pages(t), "not all fresh after the allocation");
	} else if (image && (seal != TRAILER_SEAL_KEY_FILE || backing_activation(b) == before->activation)) {
		uint64_t bytes;
		void *entries = table_image(t, &bytes);

		promise(seal == TRAILER_SEAL_KEY_FILE || memcmp(entries, whole + before->table_offset, (size_t)bytes) == 0,
			"another table than the image");
	} else {
		promise(n.lost == table_pages(t), "%llu pages of an unclean end are not lost",
			(unsigned long long)(table_pages(t) - n.lost));
		promise(backing_activation(b) != before->activation, "lost pages in the old generation");
	}
	promise(backing_activation(b) == table_spec(t)->activation, "table and file are of two generations");
	promise(same_data(whole, before->data_size), "pages were written over");
	promise(read_trailer(&now, before->file_size) == 1 && now.state == TRAILER_IN_USE && now.table == TRAILER_TABLE_NONE,
		"begun, but not marked in use");
	promise(now.data_size == before->data_size && now.activation == backing_activation(b) &&
		memcmp(now.uuid, before->uuid, sizeof(now.uuid)) == 0, "the mark is of another content");
}

/* Begins, ends, and comes back to the same table; with a key that is gone, to its pages being lost. */
static void use(struct backing *b, const struct trailer *before, enum trailer_seal seal, bool lose, const unsigned char *whole)
{
	static unsigned char entries[PAGES_MAX * ENTRY_BYTES_SEALED];
	struct backing_options opt = options(seal);
	struct errbuf e = { .code = 0 };
	struct table_totals was, is;
	struct backing *again;
	struct table *t;
	uint64_t bytes, activation;
	bool fresh = before->state == TRAILER_CLEAN && before->table == TRAILER_TABLE_FRESH, forgotten;
	void *image;

	if (backing_begin(b, &t, &e) < 0) {
		promise(e.code, "refused without a reason");
		backing_close(b);
		return;
	}
	check_begun(before, seal, b, t, whole);
	if (lose)
		set_page(t, 0, PAGE_LOST, false);
	image = table_image(t, &bytes);
	memcpy(entries, image, (size_t)bytes);
	table_count(t, &was);
	/* Where nothing was written there is nothing to forget. */
	forgotten = seal == TRAILER_SEAL_EPHEMERAL && !(fresh && was.fresh == table_pages(t));
	activation = backing_activation(b);
	promise(backing_end(b, t, &e) == 0, "it cannot be ended: %s", e.text);
	table_free(t);
	backing_close(b);
	promise(backing_activate(path, &opt, &again, NULL, &e) == 0 && backing_begin(again, &t, &e) == 0,
		"it cannot be used again: %s", e.text);
	image = table_image(t, &bytes);
	table_count(t, &is);
	promise(!backing_was_unclean(again), "it comes back as unclean");
	promise((backing_activation(again) == activation) == (seal != TRAILER_SEAL_EPHEMERAL), "the generation of a key that is %s",
		seal == TRAILER_SEAL_EPHEMERAL ? "gone" : "there");
	if (forgotten)
		promise(is.fresh == was.fresh && is.lost == table_pages(t) - was.fresh, "pages outlive their key");
	else
		promise(is.lost == was.lost && is.fresh == was.fresh && is.same == was.same && is.written == was.written,
			"it comes back otherwise");
	if (was.lost == 0 && seal != TRAILER_SEAL_EPHEMERAL) /* whose entries are bound to the next generation */
		promise(memcmp(entries, image, (size_t)bytes) == 0, "its table comes back otherwise");
	table_free(t);
	backing_close(again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct backing_options opt;
	static unsigned char now[(2 * PAGES_MAX + 8) * PAGE_BYTES];
	static struct report report;
	struct errbuf e = { .code = 0 };
	unsigned char *whole;
	struct trailer t;
	struct backing *b;
	size_t bytes;
	int found;

	if (size < INPUT_MIN)
		return -1;
	whole = lay_out(data, size, &bytes);
	opt = options(seal_of(data));
	found = read_trailer(&t, bytes);
	promise(backing_check(path, &report, &e) == 0, "%s", e.text);
	if (backing_activate(path, &opt, &b, &report, &e) < 0) {
		promise(e.code, "refused without a reason");
		promise_text(e.text, sizeof(e.text));
		b = NULL;
	}
	promise(pread(fd, now, sizeof(now), 0) == (ssize_t)bytes && memcmp(now, whole, bytes) == 0, "looking has changed it");
	promise((b != NULL) == (found == 1 && may_open(&t, seal_of(data))), "%s: %s", b ? "accepted" : "refused", b ? "" : e.text);
	if (b) {
		promise(backing_data_size(b) == t.data_size && backing_was_unclean(b) == (t.state == TRAILER_IN_USE && !has_records(&t, seal_of(data))),
			"not what the trailer says");
		use(b, &t, seal_of(data), data[0] / (3 * PAGES_MAX) % 2, whole);
	}
	return 0;
}

/* ---- seeds: the tails of real files ---- */

static void keep(const char *dir, const char *what, enum trailer_seal seal, int spoil)
{
	static const char *const seals[] = { "plain", "ephemeral", "key-file" };
	uint8_t data[INPUT_MIN + PAGES_MAX * ENTRY_BYTES_SEALED] = { (uint8_t)(SEED_PAGES - 1 + PAGES_MAX * seal) };
	struct trailer t;
	char name[64];

	trailer_layout(&t, SEED_PAGES * PAGE_BYTES);
	for (unsigned i = 0; i < TRAILER_SLOTS; i++)
		promise(pread(fd, data + 1 + i * TRAILER_ROOM, TRAILER_ROOM,
			      (off_t)(t.file_size - (TRAILER_SLOTS - i) * PAGE_BYTES)) == TRAILER_ROOM, "no slot");
	promise(pread(fd, data + INPUT_MIN, SEED_PAGES * ENTRY_BYTES_SEALED, (off_t)t.table_offset) > 0, "no image");
	if (spoil == 0)
		data[0] = (uint8_t)(data[0] + 3 * PAGES_MAX);
	else if (spoil > 0)
		data[spoil] ^= 1;
	snprintf(name, sizeof(name), "%s-%s", seals[seal], what);
	seed(dir, name, data, INPUT_MIN + SEED_PAGES * ENTRY_BYTES_SEALED);
}

/* One whose headers contradict themselves, with right checks. */
static void keep_contradiction(const char *dir, const char *what, enum trailer_seal seal, uint64_t data_size)
{
	struct trailer real, t;
	unsigned char page[PAGE_BYTES] = "";

	trailer_layout(&real, SEED_PAGES * PAGE_BYTES);
	promise(read_trailer(&t, real.file_size) == 1, "no trailer");
	trailer_layout(&t, data_size);
	t.file_size = real.file_size;
	t.state = TRAILER_ALLOCATING; /* then nothing else stands in the way */
	t.allocated = 0;
	t.check = header_check(&t);
	memcpy(page, &t, sizeof(t));
	for (unsigned i = 1; i <= TRAILER_SLOTS; i++)
		promise(pwrite(fd, page, sizeof(page), (off_t)(real.file_size - i * PAGE_BYTES)) == PAGE_BYTES, "not written");
	keep(dir, what, seal, -1);
}

static bool no_further(void *arg, uint64_t done, uint64_t total)
{
	return false;
}

static void make_seeds_of(const char *dir, enum trailer_seal seal)
{
	struct backing_options opt = options(seal);
	struct backing *b;
	struct table *t;
	struct errbuf e;

	promise(ftruncate(fd, 0) == 0, "%s", path);
	opt.size = SEED_PAGES * PAGE_BYTES;
	opt.provision = PROVISION_CREATE;
	opt.progress = no_further;
	promise(backing_activate(path, &opt, &b, NULL, &e) < 0 && e.code == EINTR, "not interrupted");
	keep(dir, "allocating", seal, -1);
	opt.progress = NULL;
	promise(backing_activate(path, &opt, &b, NULL, &e) == 0, "%s", e.text);
	keep(dir, "fresh", seal, -1);
	keep(dir, "fresh-and-lost", seal, 0);
	promise(backing_begin(b, &t, &e) == 0, "%s", e.text);
	keep(dir, "in-use", seal, -1);
	set_page(t, 0, PAGE_WRITTEN, false);
	set_page(t, 1, PAGE_SAME, false);
	atomic_store(&table_counters(t)->writes, 2);
	promise(backing_end(b, t, &e) == 0, "%s", e.text);
	keep(dir, "clean", seal, -1);
	keep(dir, "torn-slot-0", seal, 1 + 100);
	keep(dir, "torn-slot-1", seal, 1 + TRAILER_ROOM + 100);
	keep(dir, "damaged-image", seal, INPUT_MIN + 17);
	keep(dir, "other-version", seal, 1 + offsetof(struct trailer, version));
	table_free(t);
	backing_close(b);
	keep_contradiction(dir, "smaller", seal, PAGE_BYTES);
	keep_contradiction(dir, "no-whole-page", seal, SEED_PAGES * PAGE_BYTES - 512);
}

void make_seeds(const char *dir)
{
	open_file();
	for (unsigned seal = TRAILER_SEAL_NONE; seal <= TRAILER_SEAL_KEY_FILE; seal++)
		make_seeds_of(dir, (enum trailer_seal)seal);
}
