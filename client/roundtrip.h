/* SPDX-License-Identifier: BSD-3-Clause */
/* Sends pages to an export and fetches them back: saves what the chosen pages hold, writes a pattern
 * to all of them, reads it back and compares, and puts the old content back.  A page that cannot be
 * read at first is left alone, since what it holds could not be put back.
 */
#ifndef NBDSWAP_CLIENT_ROUNDTRIP_H
#define NBDSWAP_CLIENT_ROUNDTRIP_H

#include "client/latency.h"
#include "client/session.h"
#include "common/errbuf.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define ROUNDTRIP_PAGES_MAX 1000000

struct roundtrip_options {
	uint64_t pages; /* wished number, 1 to ROUNDTRIP_PAGES_MAX; spread evenly, at most the whole export */
	uint64_t size; /* of the export, bytes */
	uint64_t seed; /* of the pattern */
	bool can_trim;
	FILE *bar; /* for a progress bar, or NULL */
	const volatile int *stop; /* set by a signal handler: ends the test after putting the content back */
};

struct roundtrip_result {
	uint64_t pages; /* that were tried */
	uint64_t unreadable; /* could not be read at first and were left alone */
	uint64_t write_errors, read_errors;
	uint64_t mismatches; /* came back other than they were written */
	uint64_t not_restored; /* the old content could not be put back, or reads back other */
	bool interrupted;
	struct latency write, read;
	char first_error[832]; /* "" when there was none */
};

/* Returns 0 when it could be carried out, whatever it found; -1 with *e when memory is missing or the
 * connection was lost (result->not_restored then says how many pages keep the pattern).
 */
int roundtrip_run(struct session *s, const struct roundtrip_options *o, struct roundtrip_result *out,
		  struct errbuf *e);

#endif
