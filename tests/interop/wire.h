/* SPDX-License-Identifier: BSD-3-Clause */
/* A client of its own for the cases of interoperability: it puts bytes on the wire that no library would, and looks at each byte that
 * comes back.  Blocking; whatever the server does not do within WIRE_SECONDS fails the case, so none can hang.
 *
 * The numbers are declared here once more, although common/nbdproto.h has them: a wrong one there is to be seen by these tests.
 */
#ifndef NBDSWAP_TEST_WIRE_H
#define NBDSWAP_TEST_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_SECONDS 60

enum { OPT_EXPORT_NAME = 1, OPT_ABORT, OPT_LIST, OPT_STARTTLS = 5, OPT_INFO, OPT_GO, OPT_STRUCTURED, OPT_LIST_META, OPT_SET_META };
enum { REP_ACK = 1, REP_SERVER, REP_INFO };
#define REP_ERR(n) (0x80000000u + (n))
enum { ERR_UNSUP = 1, ERR_POLICY, ERR_INVALID, ERR_PLATFORM, ERR_TLS_REQD, ERR_UNKNOWN, ERR_SHUTDOWN, ERR_BLOCK_SIZE, ERR_TOO_BIG };
enum { INFO_EXPORT = 0, INFO_NAME, INFO_DESCRIPTION, INFO_BLOCK_SIZE };
enum { CMD_READ = 0, CMD_WRITE, CMD_DISC, CMD_FLUSH, CMD_TRIM, CMD_CACHE, CMD_WRITE_ZEROES, CMD_BLOCK_STATUS, CMD_RESIZE };
enum { F_FUA = 1, F_NO_HOLE = 2, F_DF = 4, F_REQ_ONE = 8, F_FAST_ZERO = 16 };
enum { T_READ_ONLY = 2, T_FLUSH = 4, T_FUA = 8, T_TRIM = 32, T_ZEROES = 64, T_MULTI_CONN = 256, T_CACHE = 1024, T_FAST_ZERO = 2048 };
enum { E_PERM = 1, E_IO = 5, E_NOMEM = 12, E_INVAL = 22, E_NOSPC = 28, E_OVERFLOW = 75, E_NOTSUP = 95, E_SHUTDOWN = 108 };

struct conn {
	int fd;
	bool structured;
	uint64_t size;
	uint32_t flags;
	uint32_t min, preferred, max; /* block sizes; 0: not told */
	uint64_t cookie;	      /* of the last request that call() sent */
};

struct option_reply {
	uint32_t option, type, length;
	unsigned char data[8192]; /* the first bytes; the rest is read and forgotten */
};

/* What the program was called with. */
extern const char *address;	/* unix:PATH or HOST:PORT */
extern const char *export_name; /* with ?client=ID where the case wants it */
/* NBD_SERVER=nbdkit in the environment: after DISC it answers what it has not begun with ESHUTDOWN, or not at all. */
extern bool is_nbdkit;

void fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
#define check(condition, ...) \
	do { \
		if (!(condition)) \
			fail(__VA_ARGS__); \
	} while (0)

uint64_t mix(uint64_t n); /* a number to another that looks like chance */

/* Connections.  dial: nothing is said yet.  The caller hangs up. */
void dial(struct conn *c);
void hang_up(struct conn *c);	    /* as a process that ends */
void hang_up_reset(struct conn *c); /* with an RST where there is TCP */
void put(struct conn *c, const void *data, size_t length);
void get(struct conn *c, void *data, size_t length);
bool is_closed(struct conn *c);		   /* waits: true at its end (or reset), false when something comes instead */
void closed(struct conn *c, const char *after); /* fails unless the server ends the connection, whatever it sends before that */
bool quiet(struct conn *c, int ms);	   /* nothing comes for so long, and it is not closed */

/* Negotiation. */
uint16_t greet(struct conn *c, uint32_t client_flags); /* returns the server's flags */
size_t option_bytes(void *out, uint32_t option, const void *data, uint32_t length);
void option(struct conn *c, uint32_t option, const void *data, uint32_t length);
void option_reply(struct conn *c, uint32_t option, struct option_reply *out);
size_t go_data(void *out, const char *name); /* of GO and INFO, asking for block sizes and description; at most strlen(name) + 16 */
uint32_t go(struct conn *c, uint32_t option, const char *name); /* REP_ACK, or the error's type */
void attach(struct conn *c, const char *name);			/* dial, greet, GO, all well */

/* Transmission. */
size_t request_bytes(void *out, uint16_t flags, uint16_t command, uint64_t cookie, uint64_t offset, uint32_t length);
void request(struct conn *c, uint16_t flags, uint16_t command, uint64_t cookie, uint64_t offset, uint32_t length);
/* The next reply; length_of tells how much data a read with this cookie asked for, 0 for all else.  Data goes to buf.  Returns the error. */
uint32_t reply(struct conn *c, uint64_t *cookie, void *buf, uint32_t (*length_of)(uint64_t cookie));
/* One request, and its reply. */
uint32_t do_read(struct conn *c, void *buf, uint64_t offset, uint32_t length);
uint32_t do_write(struct conn *c, uint16_t flags, const void *buf, uint64_t offset, uint32_t length);
uint32_t call(struct conn *c, uint16_t flags, uint16_t command, uint64_t offset, uint32_t length);

/* Content: every page of a seed is another; seed 0 is zeros. */
void fill(void *buf, uint64_t seed, uint64_t offset, uint32_t length);
void write_seed(struct conn *c, uint64_t seed, uint64_t offset, uint32_t length);
void read_seed(struct conn *c, uint64_t seed, uint64_t offset, uint32_t length); /* fails unless it is that */
bool is_seed(const void *buf, uint64_t seed, uint64_t offset, uint32_t length);
void works(struct conn *c); /* the session still answers rightly */
void server_works(void);    /* a new one does */

/* The cases, in files by what they are about. */
struct wire_case {
	const char *name;
	void (*run)(void);
};
extern const struct wire_case negotiation_cases[], request_cases[], rude_cases[];

#endif
