/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/errbuf.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int err_set(struct errbuf *e, int code, const char *fmt, ...)
{
	if (e) {
		va_list ap;

		va_start(ap, fmt);
		vsnprintf(e->text, sizeof(e->text), fmt, ap);
		va_end(ap);
		e->code = code ? code : EIO;
	}
	errno = code;
	return -1;
}

int err_errno(struct errbuf *e, const char *fmt, ...)
{
	int code = errno;

	if (e) {
		va_list ap;
		size_t n;

		va_start(ap, fmt);
		vsnprintf(e->text, sizeof(e->text), fmt, ap);
		va_end(ap);
		n = strlen(e->text);
		snprintf(e->text + n, sizeof(e->text) - n, ": %s", strerror(code));
		e->code = code ? code : EIO;
	}
	errno = code;
	return -1;
}

int err_prefix(struct errbuf *e, const char *fmt, ...)
{
	if (e) {
		char old[sizeof(e->text)];
		va_list ap;
		size_t n;

		memcpy(old, e->text, sizeof(old));
		va_start(ap, fmt);
		vsnprintf(e->text, sizeof(e->text), fmt, ap);
		va_end(ap);
		n = strlen(e->text);
		snprintf(e->text + n, sizeof(e->text) - n, ": %s", old);
		errno = e->code;
	}
	return -1;
}
