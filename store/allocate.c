/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/allocate.h"

#include "common/cleanup.h"
#include "common/size.h"
#include "store/fullio.h"
#include "store/page.h"
#include "store/sys.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK (1u << 20)	     /* one direct write */
#define REPORT_EVERY (64u << 20)     /* bytes between calls of progress */
#define MARK_EVERY (UINT64_C(256) << 20) /* bytes between durable marks: what a resumed allocation repeats at most */

/* xoshiro256** (Blackman and Vigna, public domain algorithm): not secret, only incompressible and never repeating. */
static uint64_t next_random(uint64_t s[4])
{
	uint64_t x = s[1] * 5, r = (x << 7 | x >> 57) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = s[3] << 45 | s[3] >> 19;
	return r;
}

static int mark(int fd, const char *path, struct trailer *t, uint64_t done, struct errbuf *e)
{
	/* First the pages, then the word that they are there. */
	if (sys_fsync(POINT_ALLOC_SYNC, fd) < 0)
		return err_errno(e, "%s: cannot sync what was allocated", path);
	t->allocated = done;
	return trailer_write(fd, path, t, e);
}

static int write_failed(const char *path, uint64_t done, uint64_t end, struct errbuf *e)
{
	char at[SIZE_TEXT], of[SIZE_TEXT];

	if (errno == ENOSPC || errno == EDQUOT)
		return err_set(e, errno, "%s: %s after %s of %s; free space there or give a smaller size", path,
			       errno == ENOSPC ? "the file system is full" : "the quota is used up", size_format(done, at),
			       size_format(end, of));
	return err_errno(e, "%s: writing at %s", path, size_format(done, at));
}

int allocate_pages(int fd, const char *path, struct trailer *t, const struct backing_options *opt, struct errbuf *e)
{
	CLEANUP_FREE unsigned char *buf = NULL;
	uint64_t seed[4], end = t->table_offset + t->table_bytes, done = t->allocated;
	uint64_t reported = done, marked = done;

	if (posix_memalign((void **)&buf, PAGE_BYTES, CHUNK) != 0)
		return err_set(e, ENOMEM, "%s: no memory to allocate it", path);
	if (getrandom(seed, sizeof(seed), 0) != sizeof(seed))
		return err_errno(e, "%s: no random numbers to fill it with", path);
	t->state = TRAILER_ALLOCATING;
	t->table = TRAILER_TABLE_NONE;
	/* Both header slots: neither may go on telling of what was there before, and both have their blocks from now on. */
	if (trailer_write_both(fd, path, t, e) < 0)
		return -1;

	while (done < end) {
		size_t n = end - done < CHUNK ? (size_t)(end - done) : CHUNK;

		for (size_t i = 0; i < n; i += sizeof(uint64_t)) {
			uint64_t word = next_random(seed);

			memcpy(buf + i, &word, sizeof(word));
		}
		if (full_pwrite(POINT_ALLOC_WRITE, fd, buf, n, (off_t)done) < 0)
			return write_failed(path, done, end, e);
		done += n;
		if (done - marked >= MARK_EVERY) {
			if (mark(fd, path, t, done, e) < 0)
				return -1;
			marked = done;
		}
		if (opt->progress && (done - reported >= REPORT_EVERY || done == end)) {
			reported = done;
			if (!opt->progress(opt->progress_arg, done, end)) {
				if (mark(fd, path, t, done, e) < 0)
					return -1;
				return err_set(e, EINTR, "%s: allocation interrupted; activate it again to go on", path);
			}
		}
	}
	if (mark(fd, path, t, end, e) < 0)
		return -1;
	t->state = TRAILER_CLEAN;
	t->table = TRAILER_TABLE_FRESH;
	trailer_renew(t);
	return trailer_write(fd, path, t, e);
}
