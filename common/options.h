/* SPDX-License-Identifier: BSD-3-Clause */
/* Options declared once: a table from which both the parsing (getopt_long) and --help come.
 * Every table ends with an entry whose name is NULL.  "--help" (-h) is in every program: put
 * OPTION_HELP into the table.
 */
#ifndef NBDSWAP_OPTIONS_H
#define NBDSWAP_OPTIONS_H

#include "common/errbuf.h"

#include <stdio.h>

struct option_def {
	int id; /* what options_next returns; a printable ASCII character is the short option too */
	const char *name; /* long name without dashes */
	const char *arg; /* NULL: takes none; "SECONDS": takes one; "[SECONDS]": may take one (--name=VALUE) */
	const char *help; /* one line, a fragment in lower case without a full stop */
};

#define OPTION_HELP                                                                                            \
	{                                                                                                      \
		'h', "help", NULL, "show this help and exit"                                                   \
	}
#define OPTIONS_MAX 40

struct options {
	const struct option_def *defs;
	int argc;
	char **argv;
	const char *value; /* the argument of the option just returned, or NULL; points into argv */
};

/* Begins to parse argv[1] ... argv[argc - 1].  Only one parse can be under way (getopt's state is global). */
void options_begin(struct options *o, const struct option_def *defs, int argc, char **argv);

/* The id of the next option, 0 after the last one, -1 with *e for an unknown option, a missing argument or
 * one too many.
 */
int options_next(struct options *o, struct errbuf *e);

/* Index in argv of the first operand; valid after options_next returned 0. */
int options_operands(const struct options *o);

/* Writes one line per option. */
void options_help(FILE *out, const struct option_def *defs);

#endif
