/* SPDX-License-Identifier: BSD-3-Clause */
/* What the fuzz targets share.  A target is one file fuzz-NAME.c with LLVMFuzzerTestOneInput; it goes beyond "does not crash": what the
 * code under it accepts is held against what its header promises, and a promise that is broken ends the program like a crash.
 */
#ifndef NBDSWAP_TESTS_FUZZ_H
#define NBDSWAP_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* Ends the program, with the place and the words, when a promise is broken. */
#define promise(ok, ...) ((ok) ? (void)0 : promise_broken(__FILE__, __LINE__, #ok, __VA_ARGS__))
void promise_broken(const char *file, int line, const char *promised, const char *fmt, ...)
	__attribute__((format(printf, 4, 5), noreturn));

/* A text that a message or a structure carries: ends within its size bytes and is not empty. */
void promise_text(const char *text, size_t size);

/* An input that is read from the front; reading behind its end gives zeros. */
struct input {
	const uint8_t *at;
	size_t left;
};
uint8_t input_byte(struct input *in);
uint16_t input_u16(struct input *in);
/* Copies n bytes, zeros for those that are not there. */
void input_bytes(struct input *in, void *to, size_t n);

/* Makes the memfd *fd (-1: a new one) hold exactly these bytes and leaves its position at the start.  path (FUZZ_PATH bytes) becomes a
 * name under which it can be opened.
 */
#define FUZZ_PATH 64
void memory_file(int *fd, const void *data, size_t size, char *path);

/* A directory of this process on tmpfs, below FUZZ_TMP (/dev/shm), made at the first call, removed at the end. */
const char *fuzz_dir(void);

/* A target whose seeds are best made by what it tests has this function, which writes them below dir with seed(); `FUZZ_SEEDS=DIR TARGET`
 * calls it, so the seeds are always of the layout that is compiled.
 */
void make_seeds(const char *dir) __attribute__((weak));
void seed(const char *dir, const char *name, const void *data, size_t size);

#endif
