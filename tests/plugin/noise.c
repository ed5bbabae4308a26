/* SPDX-License-Identifier: BSD-3-Clause */
/* Can part of a file be told from random bytes?   noise FILE OFFSET LENGTH   (bytes, whole pages of 4096)
 *
 * Looks at how often each byte value comes in each page and in all of them (chi-square), at how often a byte equals
 * the one 1, 8, 16, 64 and 512 before it, and for blocks of 16 bytes that occur twice anywhere.  Random bytes fail
 * one of these less than once in a million runs.  Ends with 0 when nothing was found, 1 with a sentence on stdout
 * when something was, 2 when the file cannot be read.
 */
#include "config.h"

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096u
#define BLOCK 16u

/* Chi-square with 255 degrees of freedom has mean 255 and deviation 22.6. */
#define CHI_MAX 450.

static double chi_square(const uint64_t count[256], uint64_t n)
{
	double expected = (double)n / 256, sum = 0;

	for (int i = 0; i < 256; i++)
		sum += ((double)count[i] - expected) * ((double)count[i] - expected) / expected;
	return sum;
}

static int found(const char *what, double value)
{
	printf("not random: %s (%.1f)\n", what, value);
	return 1;
}

static int look_at_page(const unsigned char *p, uint64_t total[256])
{
	static const unsigned lags[] = { 1, 8, 16, 64, 512 };
	uint64_t count[256] = { 0 };

	for (unsigned i = 0; i < PAGE; i++)
		count[p[i]]++;
	for (int i = 0; i < 256; i++)
		total[i] += count[i];
	if (chi_square(count, PAGE) > CHI_MAX)
		return found("byte values of a page", chi_square(count, PAGE));
	for (size_t k = 0; k < sizeof(lags) / sizeof(lags[0]); k++) {
		unsigned equal = 0;

		for (unsigned i = lags[k]; i < PAGE; i++)
			equal += p[i] == p[i - lags[k]];
		if (equal > 60) /* mean 16, deviation 4 */
			return found("bytes like those before them", equal);
	}
	return 0;
}

static int compare_blocks(const void *a, const void *b)
{
	return memcmp(a, b, BLOCK);
}

int main(int argc, char **argv)
{
	uint64_t offset, length, total[256] = { 0 };
	unsigned char *data;
	int fd;

	if (argc != 4)
		return 2;
	offset = strtoull(argv[2], NULL, 0);
	length = strtoull(argv[3], NULL, 0);
	fd = open(argv[1], O_RDONLY | O_CLOEXEC);
	data = length && length % PAGE == 0 ? malloc(length) : NULL;
	if (fd < 0 || !data || pread(fd, data, length, (off_t)offset) != (ssize_t)length) {
		fprintf(stderr, "noise: cannot read %s bytes of %s\n", argv[3], argv[1]);
		return 2;
	}
	close(fd);
	for (uint64_t i = 0; i < length; i += PAGE)
		if (look_at_page(data + i, total))
			return 1;
	if (chi_square(total, length) > CHI_MAX)
		return found("byte values of all pages", chi_square(total, length));
	qsort(data, length / BLOCK, BLOCK, compare_blocks);
	for (uint64_t i = BLOCK; i < length; i += BLOCK)
		if (memcmp(data + i, data + i - BLOCK, BLOCK) == 0)
			return found("a block of 16 bytes that occurs twice", 2);
	free(data);
	return 0;
}
