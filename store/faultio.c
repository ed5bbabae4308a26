/* SPDX-License-Identifier: BSD-3-Clause */
/* Faults of the calls that move data. */
#include "config.h"

#include "store/fault.h"

#include "store/page.h"

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#define MOST_IOV 66 /* of the store's own calls, and room for one that is split in three */
#define SECTOR 512u

/* What a write with a flipped bit really writes in place of one page: the caller's buffer stays what it is.  One for all, as such writes
 * are rare and no memory is to be taken here.
 */
static pthread_mutex_t bounce_lock = PTHREAD_MUTEX_INITIALIZER;
static _Alignas(PAGE_BYTES) unsigned char bounce[PAGE_BYTES];

static bool has(const struct fault *f, enum fault_kind kind)
{
	return f->kinds >> kind & 1;
}

static size_t total(const struct iovec *iov, int count)
{
	size_t n = 0;

	for (int i = 0; i < count; i++)
		n += iov[i].iov_len;
	return n;
}

/* The first bytes of iov; returns how many vectors they are. */
static int cut(struct iovec *out, const struct iovec *iov, int count, size_t bytes)
{
	int n = 0;

	if (count > MOST_IOV)
		abort();
	for (int i = 0; i < count && bytes > 0; i++) {
		out[n] = iov[i];
		if (out[n].iov_len > bytes)
			out[n].iov_len = bytes;
		bytes -= out[n++].iov_len;
	}
	return n;
}

/* Whole units, at least one and at least one less than all. */
static size_t some(uint64_t random, size_t bytes, size_t unit)
{
	return bytes < 2 * unit ? bytes : (1 + random % (bytes / unit - 1)) * unit;
}

/* Another place for it: a few pages earlier, or one later where there is nothing earlier. */
static off_t elsewhere(uint64_t random, off_t at)
{
	off_t before = at / (off_t)PAGE_BYTES;

	if (before > 8)
		before = 8;
	return before ? at - (1 + (off_t)(random % (uint64_t)before)) * (off_t)PAGE_BYTES : at + (off_t)PAGE_BYTES;
}

/* Which bit of that many bytes is turned over. */
static uint64_t chosen_bit(const struct fault *f, size_t bytes)
{
	uint64_t from = f->flip_bytes && f->flip_bytes < bytes ? f->flip_bytes : bytes;

	return f->random % (from * 8);
}

static void flip_bit(const struct iovec *iov, int count, uint64_t bit)
{
	uint64_t byte = bit / 8;

	for (int i = 0; i < count; i++) {
		if (byte < iov[i].iov_len) {
			((unsigned char *)iov[i].iov_base)[byte] ^= (unsigned char)(1u << bit % 8);
			return;
		}
		byte -= iov[i].iov_len;
	}
}

/* iov with the piece around one byte taken from the bounce page, the bit turned over there.  Returns the number of vectors. */
static int bounced(struct iovec *out, const struct iovec *iov, int count, uint64_t bit)
{
	uint64_t byte = bit / 8;
	int n = 0;

	if (count + 2 > MOST_IOV)
		abort();
	for (int i = 0; i < count; i++) {
		size_t start, length;

		if (byte >= iov[i].iov_len) {
			byte -= byte == UINT64_MAX ? 0 : iov[i].iov_len;
			out[n++] = iov[i];
			continue;
		}
		start = byte / PAGE_BYTES * PAGE_BYTES;
		length = iov[i].iov_len - start < PAGE_BYTES ? iov[i].iov_len - start : PAGE_BYTES;
		memcpy(bounce, (unsigned char *)iov[i].iov_base + start, length);
		bounce[byte - start] ^= (unsigned char)(1u << bit % 8);
		if (start)
			out[n++] = (struct iovec){ iov[i].iov_base, start };
		out[n++] = (struct iovec){ bounce, length };
		if (start + length < iov[i].iov_len)
			out[n++] = (struct iovec){ (unsigned char *)iov[i].iov_base + start + length, iov[i].iov_len - start - length };
		byte = UINT64_MAX; /* the rest goes as it is */
	}
	return n;
}

ssize_t fault_preadv(enum sys_point point, int fd, const struct iovec *iov, int count, off_t at)
{
	struct iovec part[MOST_IOV];
	struct fault f;
	ssize_t r = 0;

	if (fault_before(point, &f)) {
		if (!f.kinds)
			return preadv(fd, iov, count, at);
		if (has(&f, FAULT_MISDIRECT))
			at = elsewhere(f.random >> 16, at);
		if (has(&f, FAULT_SHORT)) {
			count = cut(part, iov, count, some(f.random >> 32, total(iov, count), f.short_unit));
			iov = part;
		}
		r = preadv(fd, iov, count, at);
		if (r > 0 && has(&f, FAULT_FLIP))
			flip_bit(iov, count, chosen_bit(&f, (size_t)r));
	}
	return fault_after(&f) ? -1 : r;
}

static ssize_t write_flipped(int fd, const struct iovec *iov, int count, off_t at, const struct fault *f)
{
	struct iovec out[MOST_IOV];
	ssize_t r;

	pthread_mutex_lock(&bounce_lock);
	count = bounced(out, iov, count, chosen_bit(f, total(iov, count)));
	r = pwritev(fd, out, count, at);
	pthread_mutex_unlock(&bounce_lock);
	return r;
}

ssize_t fault_pwritev(enum sys_point point, int fd, const struct iovec *iov, int count, off_t at)
{
	struct iovec part[MOST_IOV];
	size_t all = total(iov, count);
	struct fault f;
	ssize_t r = (ssize_t)all; /* of a lost write */

	if (fault_before(point, &f)) {
		if (!f.kinds)
			return pwritev(fd, iov, count, at);
		if (has(&f, FAULT_MISDIRECT))
			at = elsewhere(f.random >> 16, at);
		if (has(&f, FAULT_SHORT) || has(&f, FAULT_TORN)) {
			count = cut(part, iov, count, some(f.random >> 32, all, has(&f, FAULT_SHORT) ? f.short_unit : SECTOR));
			iov = part;
		}
		r = has(&f, FAULT_FLIP) ? write_flipped(fd, iov, count, at, &f) : pwritev(fd, iov, count, at);
		if (r >= 0 && has(&f, FAULT_TORN))
			r = (ssize_t)all;
	}
	return fault_after(&f) ? -1 : r;
}
