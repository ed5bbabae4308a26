/* SPDX-License-Identifier: BSD-3-Clause */
/* Conversations with the machine of server/engine/negotiate.h, for cmocka tests.  Each is held four times, in pieces of 1, 7 and 4096 bytes and
 * all at once, and must be the same every time.
 */
#ifndef NBDSWAP_TESTS_ENGINE_CONVERSE_H
#define NBDSWAP_TESTS_ENGINE_CONVERSE_H

#include "server/engine/negotiate.h"
#include "server/engine/sessmem.h"
#include "tests/engine/talk.h"

#define FIXED (NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES)
#define CONVERSE_SOCK 77

/* What this server says of every export. */
#define FLAGS                                                                                                                    \
	(NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES |        \
	 NBD_FLAG_SEND_FAST_ZERO | \
	 NBD_FLAG_CAN_MULTI_CONN)

/* What came of a conversation. */
struct course {
	struct owner owner;
	enum negotiate_state state;
	size_t taken; /* bytes of the talk */
	unsigned char out[1 << 20];
	size_t out_bytes;
	unsigned char answer[SESSMEM_PREAMBLE];
	size_t answer_bytes;
	char told[1024]; /* the last */
	unsigned completed;
};

extern struct talk talk;	 /* what the client says */
extern struct course course;	 /* and what comes of it */
extern struct answers answers;	 /* what of the server's output was not looked at yet, from behind the greeting on */
extern struct answer x;		 /* the last answer that was */

/* Holds the talk against an owner like o, or one of three exports. */
void converse_with(const struct owner *o);
void converse(void);

/* The next answer is an error of this type to this option, with a sentence that has these words. */
void expect_error(uint32_t option, uint32_t type, const char *words);
void expect_ack(uint32_t option);
void expect_info(uint32_t option, uint16_t info, uint32_t bytes);
void expect_export(uint32_t option, uint16_t flags);
void expect_goes_on(void);	    /* nothing more was said, and the server waits for the next option */
void expect_end(const char *told);  /* nothing more was said, and the server closes the connection; these words are for the log */
void expect_begin(void);	    /* the client may begin; its answer is read next */

#endif
