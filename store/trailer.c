/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/trailer.h"

#include "common/cleanup.h"
#include "store/fullio.h"
#include "store/page.h"
#include "store/records.h"
#include "store/sys.h"
#include "store/table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <xxhash.h>

void trailer_layout(struct trailer *t, uint64_t data_size)
{
	t->data_size = data_size;
	t->table_offset = data_size;
	t->table_bytes = records_blocks(data_size / PAGE_BYTES, ENTRY_BYTES_SEALED) * PAGE_BYTES;
	t->file_size = t->table_offset + t->table_bytes + TRAILER_SLOTS * PAGE_BYTES;
}

uint64_t trailer_fit(uint64_t file_size)
{
	uint64_t pages = file_size / PAGE_BYTES, data;
	struct trailer t;

	if (pages < TRAILER_SLOTS + 2)
		return 0;
	pages -= TRAILER_SLOTS;
	data = pages - records_blocks(pages, ENTRY_BYTES_SEALED); /* never too much */
	for (;; data++) {
		trailer_layout(&t, (data + 1) * PAGE_BYTES);
		if (t.file_size > file_size)
			return data * PAGE_BYTES;
	}
}

static uint64_t header_check(const struct trailer *t)
{
	return XXH3_64bits(t, offsetof(struct trailer, check));
}

/* A check that is right says only that this was written; a header that contradicts itself is none whoever wrote it. */
static bool header_valid(const struct trailer *t, uint64_t file_size)
{
	struct trailer expect;
	uint64_t end;

	if (t->magic != TRAILER_MAGIC || t->check != header_check(t) || t->version != TRAILER_VERSION)
		return false;
	if (t->data_size == 0 || t->data_size % PAGE_BYTES || t->data_size > file_size)
		return false;
	trailer_layout(&expect, t->data_size);
	end = expect.table_offset + expect.table_bytes;
	if (t->allocated > end || t->allocated % PAGE_BYTES || (t->allocated < end && t->state != TRAILER_ALLOCATING))
		return false;
	if (t->owner_host[sizeof(t->owner_host) - 1] || t->owner_boot[sizeof(t->owner_boot) - 1] ||
	    t->lease_holder[sizeof(t->lease_holder) - 1])
		return false;
	return t->table_offset == expect.table_offset && t->table_bytes == expect.table_bytes &&
	       t->file_size == file_size && expect.file_size <= file_size &&
	       t->state >= TRAILER_ALLOCATING && t->state <= TRAILER_IN_USE && t->table <= TRAILER_TABLE_RECORDS &&
	       t->seal <= TRAILER_SEAL_KEY_FILE;
}

/* Header slots lie at the end of the file or device, so that they are found without knowing the layout. */
static off_t slot_offset(uint64_t file_size, unsigned slot)
{
	return (off_t)(file_size / PAGE_BYTES * PAGE_BYTES - (TRAILER_SLOTS - slot) * PAGE_BYTES);
}

int trailer_read(int fd, const char *path, uint64_t file_size, struct trailer *t, struct errbuf *e)
{
	CLEANUP_FREE void *buf = NULL;
	uint32_t other_version = 0;
	int found = 0;

	if (file_size < (TRAILER_SLOTS + 2) * PAGE_BYTES)
		return 0;
	if (posix_memalign(&buf, PAGE_BYTES, PAGE_BYTES) != 0)
		return err_set(e, ENOMEM, "%s: no memory to read its trailer", path);
	for (unsigned slot = 0; slot < TRAILER_SLOTS; slot++) {
		struct trailer h;

		if (full_pread(POINT_TRAILER_READ, fd, buf, PAGE_BYTES, slot_offset(file_size, slot)) < 0)
			return err_errno(e, "%s: cannot read its trailer", path);
		memcpy(&h, buf, sizeof(h));
		if (header_valid(&h, file_size) && (!found || h.sequence > t->sequence)) {
			*t = h;
			found = 1;
		} else if (h.magic == TRAILER_MAGIC && h.version != TRAILER_VERSION) {
			other_version = h.version;
		}
	}
	/* What another version means by its trailer is not known, so the file is neither trusted nor written over. */
	if (!found && other_version)
		return err_set(e, EPROTO, "%s: its trailer has layout version %u, this nbdswap knows %u; use the version that made it, "
			       "or remove the file", path, other_version, TRAILER_VERSION);
	return found;
}

int trailer_write(int fd, const char *path, struct trailer *t, struct errbuf *e)
{
	CLEANUP_FREE void *buf = NULL;

	if (posix_memalign(&buf, PAGE_BYTES, PAGE_BYTES) != 0)
		return err_set(e, ENOMEM, "%s: no memory to write its trailer", path);
	t->magic = TRAILER_MAGIC;
	t->version = TRAILER_VERSION;
	t->sequence++;
	t->check = header_check(t);
	memset(buf, 0, PAGE_BYTES);
	memcpy(buf, t, sizeof(*t));
	if (full_pwrite(POINT_TRAILER_WRITE, fd, buf, PAGE_BYTES, slot_offset(t->file_size, t->sequence % TRAILER_SLOTS)) < 0 ||
	    sys_fsync(POINT_TRAILER_SYNC, fd) < 0)
		return err_errno(e, "%s: cannot write its trailer", path);
	return 0;
}

int trailer_write_both(int fd, const char *path, struct trailer *t, struct errbuf *e)
{
	if (trailer_write(fd, path, t, e) < 0)
		return -1;
	return trailer_write(fd, path, t, e);
}

void trailer_renew(struct trailer *t)
{
	struct timespec t_now;
	uint64_t now;

	/* Milliseconds: an activation takes longer than that, so the count cannot run ahead of the clock. */
	clock_gettime(CLOCK_REALTIME, &t_now);
	now = (uint64_t)t_now.tv_sec * 1000 + (uint64_t)t_now.tv_nsec / 1000000;
	t->activation = t->activation < now ? now : t->activation + 1;
}

void trailer_own(struct trailer *t)
{
	CLEANUP_FCLOSE FILE *f = fopen("/proc/sys/kernel/random/boot_id", "re");

	memset(t->owner_host, 0, sizeof(t->owner_host));
	memset(t->owner_boot, 0, sizeof(t->owner_boot));
	if (gethostname(t->owner_host, sizeof(t->owner_host) - 1) < 0)
		strcpy(t->owner_host, "unknown");
	if (f && fgets(t->owner_boot, sizeof(t->owner_boot), f))
		t->owner_boot[strcspn(t->owner_boot, "\n")] = '\0';
	t->owner_pid = (uint32_t)getpid();
	t->owner_since = (uint64_t)time(NULL);
}

bool trailer_owned_since_boot(const struct trailer *t)
{
	struct trailer here = { .magic = 0 };

	trailer_own(&here);
	return here.owner_boot[0] && strcmp(here.owner_boot, t->owner_boot) == 0;
}

bool trailer_owned_here(const struct trailer *t)
{
	struct trailer here = { .magic = 0 };

	trailer_own(&here);
	/* Names that a machine has before it is given one tell nothing. */
	return strcmp(here.owner_host, t->owner_host) == 0 && here.owner_host[0] && strcmp(here.owner_host, "(none)") != 0 &&
	       strcmp(here.owner_host, "localhost") != 0;
}
