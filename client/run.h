/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs a program directly, without a shell, and keeps what it says. */
#ifndef NBDSWAP_CLIENT_RUN_H
#define NBDSWAP_CLIENT_RUN_H

#include "common/errbuf.h"

#include <stddef.h>

/* Finds program (a name, or a path with '/') in PATH and then in the sbin directories, which the PATH of
 * many a shell lacks.  0 with out filled, -1 with *e.
 */
int run_find(const char *program, char *out, size_t size, struct errbuf *e);

/* Runs argv[0] (a path) with no input; standard output and error go into output (cut to size, always
 * terminated, without blanks at its end).  It is killed after timeout_s seconds.
 * Returns its exit code, 128 + N when signal N ended it, or -1 with *e when it could not be run or
 * took too long (ETIMEDOUT).
 */
int run_program(char *const argv[], char *output, size_t size, int timeout_s, struct errbuf *e);

#endif
