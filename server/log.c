/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void log_line(enum log_priority priority, const char *fmt, ...)
{
	const char *name = priority == LOG_ERROR ? "error: " : priority == LOG_WARN ? "warning: " : "";
	char text[3072];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	/* One write per line, so that lines of several threads do not mix. */
	if (getenv("JOURNAL_STREAM"))
		fprintf(stderr, "<%d>%s\n", (int)priority, text);
	else
		fprintf(stderr, "nbdswapd: %s%s\n", name, text);
}
