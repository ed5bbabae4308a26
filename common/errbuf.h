/* SPDX-License-Identifier: BSD-3-Clause */
/* The error a library function gives back: an errno value and one sentence that names the thing,
 * the reason and the remedy.  Library code fills it and returns; only the edge of a program prints
 * it, once.  Fixed size, so that reporting an error allocates nothing.
 */
#ifndef NBDSWAP_ERRBUF_H
#define NBDSWAP_ERRBUF_H

struct errbuf {
	int code;	/* errno value, never 0 once set */
	char text[768]; /* without a newline at its end */
};

/* Fills *e (which may be NULL: then nothing is kept) and returns -1, so that a caller can write
 * `return err_set(e, EINVAL, ...)`.  errno is set to code.
 */
int err_set(struct errbuf *e, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* As err_set with code = errno; adds ": " and the text of errno. */
int err_errno(struct errbuf *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Puts "prefix: " before the text that *e has.  Returns -1. */
int err_prefix(struct errbuf *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
