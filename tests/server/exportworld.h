/* SPDX-License-Identifier: BSD-3-Clause */
/* One export over a file of its own, on a loop that ends when something is over; the barrier is replaced (--wrap=backend_barrier), to see that it
 * is asked and to have it fail.
 */
#ifndef NBDSWAP_TESTS_SERVER_EXPORTWORLD_H
#define NBDSWAP_TESTS_SERVER_EXPORTWORLD_H

#include "server/exports.h"
#include "store/page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

enum { PAGES = 256 };

extern struct exports set;
extern int barriers, barrier_error, barrier_errors; /* how many times it is an error; 0: always */
extern const struct export *last_settled;
extern unsigned scrubs_ended;

void begin(void);
void end(struct export *x); /* it is down, and nothing is under way */

const char *export_file(void); /* its path */

struct export *activate(struct export *x); /* NULL: a new one */
void release(struct export *x);
void until_idle(void);

void write_one(struct export *x); /* page 1 */
void write_two(struct export *x); /* page 1 written, page 2 written and again in flight */

/* The exit code of the program: in a directory that is fit for files to swap on, else 77. */
#define EXPORT_TESTS_RUN(tests) export_tests_run(#tests, tests, sizeof(tests) / sizeof(tests[0]))
int export_tests_run(const char *name, const struct CMUnitTest *tests, size_t count);

#endif
