/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/fuzz/fuzz.h"

#include "common/cleanup.h"
#include "server/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

void promise_broken(const char *file, int line, const char *promised, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%s:%d: broken promise: %s: ", file, line, promised);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	abort();
}

void promise_text(const char *text, size_t size)
{
	promise(memchr(text, '\0', size), "a text of %zu bytes has no end", size);
	promise(*text, "a text is empty");
}

uint8_t input_byte(struct input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->at++;
}

uint16_t input_u16(struct input *in)
{
	uint16_t low = input_byte(in);

	return (uint16_t)(low | input_byte(in) << 8);
}

void input_bytes(struct input *in, void *to, size_t n)
{
	size_t have = in->left < n ? in->left : n;

	memcpy(to, in->at, have);
	memset((char *)to + have, 0, n - have);
	in->at += have;
	in->left -= have;
}

void memory_file(int *fd, const void *data, size_t size, char *path)
{
	if (*fd < 0)
		*fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (*fd < 0 || ftruncate(*fd, 0) < 0 || (size && pwrite(*fd, data, size, 0) != (ssize_t)size) || lseek(*fd, 0, SEEK_SET) < 0) {
		perror("the input does not go into a file in memory");
		exit(1);
	}
	snprintf(path, FUZZ_PATH, "/proc/self/fd/%d", *fd);
}

static char scratch[64];

static void remove_dir(void)
{
	CLEANUP_CLOSEDIR DIR *d = opendir(scratch);
	struct dirent *x;

	while (d && (x = readdir(d)))
		if (x->d_name[0] != '.')
			unlinkat(dirfd(d), x->d_name, 0);
	rmdir(scratch);
}

const char *fuzz_dir(void)
{
	static int made;
	const char *parent = getenv("FUZZ_TMP");

	if (!made++) {
		snprintf(scratch, sizeof(scratch), "%.40s/fuzz.XXXXXX", parent ? parent : "/dev/shm");
		if (!mkdtemp(scratch)) {
			perror(scratch);
			exit(1);
		}
		atexit(remove_dir);
	}
	return scratch;
}

void seed(const char *dir, const char *name, const void *data, size_t size)
{
	char path[4096];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "we");
	if (!f || fwrite(data, 1, size, f) != size || fclose(f) != 0) {
		perror(path);
		exit(1);
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	const char *dir = getenv("FUZZ_SEEDS");

	if (!dir)
		return 0;
	if (make_seeds)
		make_seeds(dir);
	exit(0);
}

/* The log of the daemon, in place of server/log.c: put together like there, for what is printed comes from outside too, and thrown away. */
void log_line(enum log_priority priority, const char *fmt, ...)
{
	char text[3072];
	va_list ap;

	(void)priority;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	promise_text(text, sizeof(text));
}
