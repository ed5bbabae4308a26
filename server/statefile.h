/* SPDX-License-Identifier: BSD-3-Clause */
/* A text in a memfd that is replaced as a whole: whoever reads it after its writer was killed, at whatever instant, finds the text from before the
 * last replacement or the one from after it.
 *
 *   0       magic and version
 *   64, 128 two heads, each with a sequence number, the length and check value of its text, and a check value of itself
 *   4096    the text of the first head
 *   4096 + STATEFILE_MAX   that of the second
 *
 * A replacement writes the text of the older head, then that head.  What was written by a system call that returned is there, whatever becomes of
 * the process; what was not, a check value tells.  The file is sparse: it takes as much memory as the two texts.
 */
#ifndef NBDSWAP_STATEFILE_H
#define NBDSWAP_STATEFILE_H

#include "common/errbuf.h"

#include <stddef.h>

#define STATEFILE_MAX (64u << 20) /* bytes of a text */

/* A new one, without a text: a descriptor, close-on-exec; -1 with *e. */
int statefile_create(struct errbuf *e);

/* Replaces the text.  0; -1 with *e, and the one from before stands. */
int statefile_write(int fd, const char *text, size_t bytes, struct errbuf *e);

/* The text (the caller's to free, a NUL is put behind it), or NULL with *e: there is none, or it is none of this layout (EPROTO). */
char *statefile_read(int fd, size_t *bytes, struct errbuf *e);

#endif
