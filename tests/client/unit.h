/* SPDX-License-Identifier: BSD-3-Clause */
/* What every unit test of the client begins with. */
#ifndef NBDSWAP_TESTS_CLIENT_UNIT_H
#define NBDSWAP_TESTS_CLIENT_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A stream that reads text; closed by the caller. */
static inline FILE *text_stream(const char *text)
{
	FILE *f = tmpfile();

	if (!f)
		fail_msg("no temporary file");
	fputs(text, f);
	rewind(f);
	return f;
}

#endif
