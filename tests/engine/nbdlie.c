/* SPDX-License-Identifier: BSD-3-Clause */
/* An NBD server in memory that is right but for lies of one kind: so that nbdcheck is seen to find it. */
#include "config.h"

#include "common/nbdproto.h"
#include "store/page.h"

#include <endian.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PAGES 1024u
#define TRUTHS 3000u /* requests before the lie */

enum lie { NONE, STALE, FOREIGN, TORN, ZEROS, FLIP, LOST, UNDONE, KEPT, TWICE, MISSING, COOKIE, ERROR, CLOSE, SHORT, TAIL, LIES };

static const char *const names[LIES] = {
	"none", "stale", "foreign", "torn", "zeros", "flip", "lost", "undone", "kept", "twice", "missing", "cookie", "error", "close", "short", "tail",
};

static enum lie lie;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned char now_[PAGES][PAGE_BYTES], before[PAGES][PAGE_BYTES]; /* what each page holds, and what it held before that */
static unsigned requests;
static bool told;

static void all(int fd, void *p, size_t n, bool out)
{
	unsigned char *c = p;

	while (n > 0) {
		ssize_t r = out ? send(fd, c, n, MSG_NOSIGNAL) : recv(fd, c, n, 0);

		if (r <= 0)
			pthread_exit(NULL);
		c += r;
		n -= (size_t)r;
	}
}

static void negotiate(int fd)
{
	struct nbd_greeting hello = { htobe64(NBD_MAGIC), htobe64(NBD_OPTION_MAGIC), htobe16(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES) };
	struct nbd_option o;
	struct nbd_option_reply r = { htobe64(NBD_OPTION_REPLY_MAGIC), htobe32(NBD_OPT_GO), htobe32(NBD_REP_INFO),
				      htobe32(sizeof(struct nbd_info_export)) };
	struct nbd_info_export info = { htobe16(NBD_INFO_EXPORT), htobe64((uint64_t)PAGES * PAGE_BYTES),
					htobe16(NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM |
						NBD_FLAG_SEND_WRITE_ZEROES | NBD_FLAG_CAN_MULTI_CONN) };
	unsigned char data[NBD_STRING_MAX + 6];
	uint32_t flags;

	all(fd, &hello, sizeof(hello), true);
	all(fd, &flags, sizeof(flags), false);
	all(fd, &o, sizeof(o), false);
	if (be32toh(o.option) != NBD_OPT_GO || be32toh(o.length) > sizeof(data))
		pthread_exit(NULL);
	all(fd, data, be32toh(o.length), false);
	all(fd, &r, sizeof(r), true);
	all(fd, &info, sizeof(info), true);
	r.reply = htobe32(NBD_REP_ACK);
	r.length = 0;
	all(fd, &r, sizeof(r), true);
}

/* Is it time for this lie? */
static bool tells(enum lie what)
{
	if (lie != what || told || requests < TRUTHS)
		return false;
	/* It may be written over before it is read, or be what may be found yet: so again and again. */
	if (lie == STALE || lie == ZEROS || lie == LOST || lie == UNDONE || lie == KEPT)
		return requests % 8 == 0;
	return told = true;
}

static bool different(const void *a, const void *b)
{
	return memcmp(a, b, PAGE_BYTES) != 0;
}

static const unsigned char zeros[PAGE_BYTES];

static void read_page(uint32_t page, unsigned char *out)
{
	uint32_t other = (page + 1) % PAGES;

	memcpy(out, now_[page], PAGE_BYTES);
	if (different(now_[page], before[page]) && tells(STALE))
		memcpy(out, before[page], PAGE_BYTES);
	if (different(now_[page], before[page]) && tells(TORN))
		memcpy(out + PAGE_BYTES / 2, before[page] + PAGE_BYTES / 2, PAGE_BYTES / 2);
	if (different(now_[page], now_[other]) && different(now_[other], zeros) && tells(FOREIGN))
		memcpy(out, now_[other], PAGE_BYTES);
	if (different(now_[page], zeros) && tells(ZEROS))
		memset(out, 0, PAGE_BYTES);
	if (tells(FLIP))
		out[1234] ^= 16;
}

static void write_page(uint32_t page, const unsigned char *data, bool discard)
{
	if (!discard && tells(LOST))
		return;
	if (discard && different(now_[page], zeros) && tells(KEPT))
		return;
	if (memcmp(now_[page], data, PAGE_BYTES) == 0)
		return;
	memcpy(before[page], now_[page], PAGE_BYTES);
	memcpy(now_[page], data, PAGE_BYTES);
}

/* A write of long ago is done once more: of the page that comes behind this one. */
static void maybe_undo(uint32_t page)
{
	uint32_t other = (page + PAGES / 2) % PAGES;

	if (different(now_[other], before[other]) && different(before[other], zeros) && tells(UNDONE))
		memcpy(now_[other], before[other], PAGE_BYTES);
}

static void *serve(void *arg)
{
	int fd = (int)(intptr_t)arg;
	static _Thread_local unsigned char data[64 * PAGE_BYTES];

	negotiate(fd);
	for (;;) {
		struct nbd_request q;
		struct nbd_simple_reply r = { .magic = htobe32(NBD_SIMPLE_REPLY_MAGIC) };
		uint32_t page, pages, type;
		size_t n;

		all(fd, &q, sizeof(q), false);
		type = be16toh(q.type);
		page = (uint32_t)(be64toh(q.offset) / PAGE_BYTES);
		pages = be32toh(q.length) / PAGE_BYTES;
		if (be32toh(q.magic) != NBD_REQUEST_MAGIC || page > PAGES || pages > 64)
			abort();
		if (type == NBD_CMD_WRITE)
			all(fd, data, (size_t)pages * PAGE_BYTES, false);
		if (type == NBD_CMD_DISC) {
			pthread_mutex_lock(&lock);
			if (tells(TAIL))
				all(fd, &r, 7, true);
			pthread_mutex_unlock(&lock);
			close(fd);
			return NULL;
		}
		pthread_mutex_lock(&lock);
		requests++;
		for (uint32_t i = 0; i < pages; i++)
			if (type == NBD_CMD_READ)
				read_page(page + i, data + (size_t)i * PAGE_BYTES);
			else
				write_page(page + i, type == NBD_CMD_WRITE ? data + (size_t)i * PAGE_BYTES : zeros, type != NBD_CMD_WRITE);
		maybe_undo(page);
		r.cookie = q.cookie ^ (tells(COOKIE) ? htobe64(UINT64_C(1) << 20) : 0);
		if (tells(ERROR))
			r.error = htobe32(NBD_EIO);
		if (tells(CLOSE))
			shutdown(fd, SHUT_RDWR);
		n = type == NBD_CMD_READ && !r.error ? (size_t)pages * PAGE_BYTES : 0;
		if (!tells(MISSING)) {
			for (int times = type != NBD_CMD_READ && tells(TWICE) ? 2 : 1; times > 0; times--)
				all(fd, &r, sizeof(r), true);
			all(fd, data, n - (n && tells(SHORT)), true);
		}
		pthread_mutex_unlock(&lock);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	for (unsigned i = 0; argc == 3 && i < LIES; i++)
		if (strcmp(argv[1], names[i]) == 0)
			lie = (enum lie)i;
	if (argc != 3 || strcmp(argv[1], names[lie]) != 0) {
		fputs("usage: nbdlie LIE SOCKET\n", stderr);
		return 2;
	}
	snprintf(a.sun_path, sizeof(a.sun_path), "%s", argv[2]);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || listen(fd, 16) < 0)
		return 1;
	for (;;) {
		int c = accept(fd, NULL, NULL);
		pthread_t t;

		if (c < 0 || pthread_create(&t, NULL, serve, (void *)(intptr_t)c) != 0)
			return 1;
		pthread_detach(t);
	}
}
