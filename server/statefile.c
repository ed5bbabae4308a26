/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/statefile.h"

#include "common/cleanup.h"
#include "store/page.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#define MAGIC UINT64_C(0x3154535753444e4e) /* "NNDSWST1" */
#define LAYOUT 1u

struct top {
	uint64_t magic;
	uint32_t version, reserved;
};

struct head {
	uint64_t sequence, bytes, text_check;
	uint64_t check; /* of all before it */
};

static off_t head_at(unsigned i)
{
	return 64 + 64 * (off_t)i;
}

static off_t text_at(unsigned i)
{
	return PAGE_BYTES + (off_t)i * STATEFILE_MAX;
}

static uint64_t head_check(const struct head *h)
{
	return XXH3_64bits(h, offsetof(struct head, check));
}

static int write_all(int fd, const void *from, size_t bytes, off_t at)
{
	const char *p = from;

	while (bytes > 0) {
		ssize_t n = pwrite(fd, p, bytes, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -1;
		p += n;
		bytes -= (size_t)n;
		at += n;
	}
	return 0;
}

static int read_all(int fd, void *to, size_t bytes, off_t at)
{
	char *p = to;

	while (bytes > 0) {
		ssize_t n = pread(fd, p, bytes, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0) {
			errno = n < 0 ? errno : EPROTO;
			return -1;
		}
		p += n;
		bytes -= (size_t)n;
		at += n;
	}
	return 0;
}

/* One that was never written, or only in part, has the sequence 0. */
static struct head read_head(int fd, unsigned i)
{
	struct head h;

	if (read_all(fd, &h, sizeof(h), head_at(i)) < 0 || h.check != head_check(&h) || h.bytes > STATEFILE_MAX)
		h.sequence = 0;
	return h;
}

int statefile_create(struct errbuf *e)
{
	struct top top = { .magic = MAGIC, .version = LAYOUT };
	CLEANUP_CLOSE int fd = memfd_create("nbdswap-state", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, text_at(2)) < 0 || write_all(fd, &top, sizeof(top), 0) < 0)
		return err_errno(e, "the memory for what a successor needs to know");
	return steal_fd(&fd);
}

int statefile_write(int fd, const char *text, size_t bytes, struct errbuf *e)
{
	struct head h[2] = { read_head(fd, 0), read_head(fd, 1) };
	unsigned older = h[1].sequence < h[0].sequence;
	struct head new = { .sequence = h[!older].sequence + 1, .bytes = bytes, .text_check = XXH3_64bits(text, bytes) };

	if (bytes > STATEFILE_MAX)
		return err_set(e, EFBIG, "what a successor needs to know has %zu bytes, and %u fit", bytes, STATEFILE_MAX);
	new.check = head_check(&new);
	if (write_all(fd, text, bytes, text_at(older)) < 0 || write_all(fd, &new, sizeof(new), head_at(older)) < 0)
		return err_errno(e, "what a successor needs to know cannot be written down");
	return 0;
}

static char *read_text(int fd, unsigned i, const struct head *h)
{
	char *text = malloc(h->bytes + 1);

	if (!text)
		return NULL;
	if (read_all(fd, text, h->bytes, text_at(i)) < 0 || XXH3_64bits(text, h->bytes) != h->text_check) {
		free(text);
		return NULL;
	}
	text[h->bytes] = '\0';
	return text;
}

char *statefile_read(int fd, size_t *bytes, struct errbuf *e)
{
	struct head h[2] = { read_head(fd, 0), read_head(fd, 1) };
	unsigned newer = h[1].sequence > h[0].sequence;
	struct top top;
	char *text = NULL;

	if (read_all(fd, &top, sizeof(top), 0) < 0 || top.magic != MAGIC || top.version != LAYOUT) {
		err_set(e, EPROTO, "it has another layout");
		return NULL;
	}
	errno = 0;
	if (h[newer].sequence > 0)
		text = read_text(fd, newer, &h[newer]);
	if (!text) {
		if (errno == ENOMEM)
			err_set(e, ENOMEM, "no memory to read it");
		else
			err_set(e, EPROTO, "it is damaged");
		return NULL;
	}
	*bytes = h[newer].bytes;
	return text;
}
