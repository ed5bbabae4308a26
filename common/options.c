/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/options.h"

#include <ctype.h>
#include <errno.h>
#include <getopt.h>
#include <stdbool.h>
#include <string.h>

/* Long options without a short one come back from getopt as LONG_BASE + their place in the table. */
#define LONG_BASE 0x10000

static bool is_short(const struct option_def *d)
{
	return d->id > ' ' && d->id < 0x7f;
}

static int arg_kind(const struct option_def *d)
{
	if (!d->arg)
		return no_argument;
	return d->arg[0] == '[' ? optional_argument : required_argument;
}

void options_begin(struct options *o, const struct option_def *defs, int argc, char **argv)
{
	o->defs = defs;
	o->argc = argc;
	o->argv = argv;
	o->value = NULL;
	optind = 0; /* glibc and musl: forget everything about an earlier parse */
	opterr = 0;
}

int options_next(struct options *o, struct errbuf *e)
{
	struct option longs[OPTIONS_MAX + 1] = { 0 };
	char shorts[1 + 3 * OPTIONS_MAX + 1] = ":"; /* ':' tells a missing argument from an unknown option */
	size_t n, at = 1;
	int got;

	for (n = 0; n < OPTIONS_MAX && o->defs[n].name; n++) {
		const struct option_def *d = &o->defs[n];

		longs[n].name = d->name;
		longs[n].has_arg = arg_kind(d);
		longs[n].val = LONG_BASE + (int)n;
		if (!is_short(d))
			continue;
		shorts[at++] = (char)d->id;
		for (int colons = arg_kind(d); colons > 0; colons--)
			shorts[at++] = ':';
	}
	shorts[at] = '\0';

	got = getopt_long(o->argc, o->argv, shorts, longs, NULL);
	o->value = optarg;
	if (got == -1)
		return 0;
	if (got == ':')
		return err_set(e, EINVAL, "option \"%s\" needs an argument; see --help", o->argv[optind - 1]);
	if (got == '?') {
		if (optopt >= LONG_BASE)
			return err_set(e, EINVAL, "option \"--%s\" takes no argument; see --help",
				       o->defs[optopt - LONG_BASE].name);
		if (optopt)
			return err_set(e, EINVAL, "unknown option \"-%c\"; see --help", optopt);
		return err_set(e, EINVAL, "unknown or ambiguous option \"%s\"; see --help",
			       o->argv[optind - 1]);
	}
	return got >= LONG_BASE ? o->defs[got - LONG_BASE].id : got;
}

int options_operands(const struct options *o)
{
	(void)o;
	return optind;
}

void options_help(FILE *out, const struct option_def *defs)
{
	for (const struct option_def *d = defs; d->name; d++) {
		char left[64];
		int n = 0;

		if (is_short(d))
			n = snprintf(left, sizeof(left), "  -%c, --%s", d->id, d->name);
		else
			n = snprintf(left, sizeof(left), "      --%s", d->name);
		if (d->arg)
			snprintf(left + n, sizeof(left) - (size_t)n, d->arg[0] == '[' ? "[=%.*s]" : " %.*s",
				 (int)strcspn(d->arg + (d->arg[0] == '['), "]"), d->arg + (d->arg[0] == '['));
		fprintf(out, "%-34s %s\n", left, d->help);
	}
}
