/* SPDX-License-Identifier: BSD-3-Clause */
/* The cases of interoperability that need another client than the usual ones:  protocol ADDRESS EXPORT CASE, where ADDRESS is unix:PATH or
 * HOST:PORT and EXPORT is one of at least 16 MiB, whose first MiBs are overwritten.  protocol --list prints the names of the cases.
 * Ends with 0, or with 1 and a sentence on stderr.
 */
#include "config.h"

#include "tests/interop/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct wire_case *const lists[] = { negotiation_cases, request_cases, rude_cases };
#define LISTS (sizeof(lists) / sizeof(lists[0]))

/* Whatever was there before (a server that died leaves lost pages): now it is zeros. */
static void clear(void)
{
	struct conn c;

	attach(&c, export_name);
	check(c.size <= 0xfffff000 && call(&c, 0, CMD_WRITE_ZEROES, 0, (uint32_t)c.size) == 0, "the export cannot be cleared");
	request(&c, 0, CMD_DISC, 0, 0, 0);
	closed(&c, "DISC");
}

int main(int argc, char **argv)
{
	const char *wanted = argc == 4 ? argv[3] : NULL;

	if (!wanted && !(argc == 2 && strcmp(argv[1], "--list") == 0)) {
		fprintf(stderr, "Usage: protocol ADDRESS EXPORT CASE, or protocol --list\n");
		return 2;
	}
	is_nbdkit = getenv("NBD_SERVER") && strcmp(getenv("NBD_SERVER"), "nbdkit") == 0;
	address = argv[1];
	export_name = argv[2];
	for (size_t i = 0; i < LISTS; i++)
		for (const struct wire_case *c = lists[i]; c->name; c++)
			if (!wanted) {
				puts(c->name);
			} else if (strcmp(c->name, wanted) == 0) {
				clear();
				c->run();
				return 0;
			}
	if (wanted)
		fail("there is no case %s", wanted);
	return 0;
}
