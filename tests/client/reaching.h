/* SPDX-License-Identifier: BSD-3-Clause */
/* What the tests of reach() share: three servers, wishes, one try, and what must come of it. */
#ifndef NBDSWAP_TESTS_CLIENT_REACHING_H
#define NBDSWAP_TESTS_CLIENT_REACHING_H

#include "client/reach.h"
#include "common/errbuf.h"
#include "tests/client/fakeserver.h"
#include "tests/client/serverwords.h"

#include <stddef.h>
#include <stdint.h>

#define FIXED (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)
#define FLAGS (NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH)
#define SIZE (1u << 20)
#define LONG_MS 60000 /* never waited for */

extern struct fake fakes[3];
extern struct reach r;
extern struct errbuf e;
extern struct reach_wishes wishes;
extern int64_t took_ms; /* by the last try */

int setup(void **state); /* of each test: usual wishes */
int64_t now_ms(void);

/* An export of SIZE and FLAGS, gen=5&lease=2. */
void say_good(struct talk *t);
void say_refusal(struct talk *t, uint32_t reply, const char *text);

/* reach() with the wishes, to the first count servers, within ms. */
int try(size_t count, int64_t ms);

/* What it returned: a failure with this code and these words... */
void must_fail(int fd, int code, const char *words);
/* ... that names this server... */
void must_name(size_t i);
/* ... and took so long, as far as a loaded machine lets that be told. */
void must_take(int64_t ms);

#endif
