/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests to an NBD server one by one, for shell tests:  nbdcmd URI COMMAND...,  or  nbdcmd URI list  for the names of its exports.
 *
 *   write OFFSET LENGTH BYTE    writefua OFFSET LENGTH BYTE
 *   read OFFSET LENGTH BYTE     fails unless every byte is BYTE, but for the one that write turns over
 *   writesame OFFSET LENGTH BYTE, readsame OFFSET LENGTH BYTE   really every byte; write, unless BYTE is 0, turns over one byte of
 *                               each page, for pages of one value never reach the file
 *   text OFFSET LENGTH SEED     writes lines of text that tell the seed and their place, so no page is all one value
 *   readtext OFFSET LENGTH SEED fails unless it is that text
 *   trim OFFSET LENGTH          zero OFFSET LENGTH      flush
 *   pause                       says "paused" on stdout and waits for a line on stdin
 *   connect N                   goes on with connection N (0 is the first; opened when first named)
 *   expect ERRNO COMMAND...     the command must fail so: EINVAL, EIO, EPERM, ENOSPC
 *
 * Offsets and lengths in bytes, with k, M or G.  NBDCMD_SPLIT in the environment: a request larger than the server takes is sent in pieces.  Ends with 0, or with 1 and a sentence on stderr.
 */
#include "config.h"

#include <errno.h>
#include <libnbd.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECTIONS 16

static const char *uri;
static bool split;
static struct nbd_handle *handles[CONNECTIONS];

static void fail(const char *what) __attribute__((noreturn));
static void fail(const char *what)
{
	fprintf(stderr, "nbdcmd: %s: %s\n", what, nbd_get_error() ? nbd_get_error() : "");
	exit(1);
}

static uint64_t number(const char *text)
{
	char *end;
	uint64_t n = text ? strtoull(text, &end, 0) : 0;

	if (!text || end == text) {
		fprintf(stderr, "nbdcmd: a number is missing\n");
		exit(2);
	}
	return *end == 'k' ? n << 10 : *end == 'M' ? n << 20 : *end == 'G' ? n << 30 : n;
}

static struct nbd_handle *connection(unsigned i)
{
	if (i >= CONNECTIONS)
		fail("too many connections");
	if (!handles[i]) {
		handles[i] = nbd_create();
		/* What the server refuses is to be seen, not what the library would refuse before. */
		if (!handles[i] || nbd_set_strict_mode(handles[i], 0) < 0 || nbd_connect_uri(handles[i], uri) < 0)
			fail("connect");
	}
	return handles[i];
}

#define ODD_BYTE 100 /* of each page */

/* Calls one for each piece of a request, until one fails. */
static int in_pieces(struct nbd_handle *h, int (*one)(struct nbd_handle *, char *, size_t, uint64_t, uint32_t), char *buf, uint64_t length,
		     uint64_t offset, uint32_t flags)
{
	int64_t max = split ? nbd_get_block_size(h, LIBNBD_SIZE_MAXIMUM) : 0;
	uint64_t piece = max > 0 && (uint64_t)max < length ? (uint64_t)max : length;
	int r;

	do {
		r = one(h, buf, piece, offset, flags);
		buf += piece;
		offset += piece;
		length -= piece;
		piece = piece < length ? piece : length;
	} while (r == 0 && length > 0);
	return r;
}

static int write_piece(struct nbd_handle *h, char *buf, size_t length, uint64_t offset, uint32_t flags)
{
	return nbd_pwrite(h, buf, length, offset, flags);
}

static int read_piece(struct nbd_handle *h, char *buf, size_t length, uint64_t offset, uint32_t flags)
{
	return nbd_pread(h, buf, length, offset, flags);
}

static bool is_odd(uint64_t at, bool same, int byte)
{
	return !same && byte && at % 4096 == ODD_BYTE;
}

static int do_write(struct nbd_handle *h, uint64_t offset, uint64_t length, int byte, bool same, uint32_t flags)
{
	char *buf = malloc(length + 1);
	int r;

	if (!buf)
		fail("malloc");
	memset(buf, byte, length);
	for (uint64_t i = 0; i < length; i++)
		if (is_odd(offset + i, same, byte))
			buf[i] ^= 0xff;
	r = in_pieces(h, write_piece, buf, length, offset, flags);
	free(buf);
	return r;
}

static int do_read(struct nbd_handle *h, uint64_t offset, uint64_t length, unsigned char byte, bool same)
{
	unsigned char *buf = malloc(length + 1);
	int r;

	if (!buf)
		fail("malloc");
	memset(buf, byte ^ 0xff, length);
	r = in_pieces(h, read_piece, (char *)buf, length, offset, 0);
	for (uint64_t i = 0; r == 0 && i < length; i++)
		if (buf[i] != (is_odd(offset + i, same, byte) ? byte ^ 0xff : byte)) {
			fprintf(stderr, "nbdcmd: byte %llu is 0x%02x, not 0x%02x\n", (unsigned long long)(offset + i), buf[i],
				byte);
			exit(1);
		}
	free(buf);
	return r;
}

/* Lines of 64 bytes. */
static void fill_text(char *buf, uint64_t offset, uint64_t length, unsigned seed)
{
	for (uint64_t i = 0; i + 64 <= length; i += 64) {
		char line[80];

		snprintf(line, sizeof(line), "a client's secret, seed %10u, at %14llu .........\n", seed,
			 (unsigned long long)(offset + i));
		memcpy(buf + i, line, 64);
	}
}

static int do_text(struct nbd_handle *h, uint64_t offset, uint64_t length, unsigned seed, bool verify)
{
	char *want = malloc(length + 1), *buf = malloc(length + 1);
	int r;

	if (!want || !buf)
		fail("malloc");
	memset(want, '\n', length);
	memset(buf, 0, length);
	fill_text(want, offset, length, seed);
	r = verify ? in_pieces(h, read_piece, buf, length, offset, 0) : in_pieces(h, write_piece, want, length, offset, 0);
	if (verify && r == 0 && memcmp(buf, want, length) != 0) {
		fprintf(stderr, "nbdcmd: from byte %llu on there is another text than was written with seed %u\n",
			(unsigned long long)offset, seed);
		exit(1);
	}
	free(want);
	free(buf);
	return r;
}

static void wait_for_line(void)
{
	char line[64];

	puts("paused");
	fflush(stdout);
	if (!fgets(line, sizeof(line), stdin))
		exit(1);
}

static void check(int r, const char *command, const char *expected)
{
	static const struct { const char *name; int code; } codes[] = {
		{ "EINVAL", EINVAL }, { "EIO", EIO }, { "EPERM", EPERM }, { "ENOSPC", ENOSPC },
	};
	int code = r < 0 ? nbd_get_errno() : 0;

	if (!expected && r < 0)
		fail(command);
	for (size_t i = 0; expected && i < sizeof(codes) / sizeof(codes[0]); i++)
		if (strcmp(codes[i].name, expected) == 0 && code == codes[i].code)
			return;
	if (expected) {
		fprintf(stderr, "nbdcmd: %s: expected %s, got %s\n", command, expected, r < 0 ? strerror(code) : "success");
		exit(1);
	}
}

static int print_name(void *data, const char *name, const char *description)
{
	puts(name);
	return 0;
}

static int list(void)
{
	struct nbd_handle *h = nbd_create();

	if (!h || nbd_set_opt_mode(h, true) < 0 || nbd_connect_uri(h, uri) < 0 ||
	    nbd_opt_list(h, (nbd_list_callback){ .callback = print_name }) < 0)
		fail("list");
	nbd_opt_abort(h);
	nbd_close(h);
	return 0;
}

int main(int argc, char **argv)
{
	struct nbd_handle *h;
	const char *expected = NULL;
	int i = 2;

	if (argc < 2)
		return 2;
	uri = argv[1];
	split = getenv("NBDCMD_SPLIT") != NULL;
	if (argc == 3 && strcmp(argv[2], "list") == 0)
		return list();
	h = connection(0);
	while (i < argc) {
		const char *c = argv[i];
		uint64_t n[3] = { 0, 0, 0 };
		int args, r = 0;

		if (strcmp(c, "expect") == 0 && i + 1 < argc) {
			expected = argv[i + 1];
			i += 2;
			continue;
		}
		args = strcmp(c, "flush") == 0 || strcmp(c, "pause") == 0 ? 0 : strcmp(c, "connect") == 0 ? 1
			: strcmp(c, "trim") == 0 || strcmp(c, "zero") == 0 ? 2 : 3;
		for (int k = 0; k < args; k++)
			n[k] = number(argv[i + 1 + k]);
		if (strcmp(c, "write") == 0)
			r = do_write(h, n[0], n[1], (int)n[2], false, 0);
		else if (strcmp(c, "writefua") == 0)
			r = do_write(h, n[0], n[1], (int)n[2], false, LIBNBD_CMD_FLAG_FUA);
		else if (strcmp(c, "writesame") == 0)
			r = do_write(h, n[0], n[1], (int)n[2], true, 0);
		else if (strcmp(c, "readsame") == 0)
			r = do_read(h, n[0], n[1], (unsigned char)n[2], true);
		else if (strcmp(c, "read") == 0)
			r = do_read(h, n[0], n[1], (unsigned char)n[2], false);
		else if (strcmp(c, "text") == 0 || strcmp(c, "readtext") == 0)
			r = do_text(h, n[0], n[1], (unsigned)n[2], c[0] == 'r');
		else if (strcmp(c, "trim") == 0)
			r = nbd_trim(h, n[1], n[0], 0);
		else if (strcmp(c, "zero") == 0)
			r = nbd_zero(h, n[1], n[0], 0);
		else if (strcmp(c, "flush") == 0)
			r = nbd_flush(h, 0);
		else if (strcmp(c, "pause") == 0)
			wait_for_line();
		else if (strcmp(c, "connect") == 0)
			h = connection((unsigned)n[0]);
		else {
			fprintf(stderr, "nbdcmd: what is %s?\n", c);
			return 2;
		}
		check(r, c, expected);
		expected = NULL;
		i += 1 + args;
	}
	for (i = 0; i < CONNECTIONS; i++)
		if (handles[i]) {
			nbd_shutdown(handles[i], 0);
			nbd_close(handles[i]);
		}
	return 0;
}
