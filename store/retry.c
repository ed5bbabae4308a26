/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/retry.h"

#include <errno.h>

static int back_off(uint32_t tries)
{
	int ms = RETRY_FIRST_MS;

	while (--tries > 0 && ms < RETRY_MOST_MS)
		ms *= 2;
	return ms < RETRY_MOST_MS ? ms : RETRY_MOST_MS;
}

int retry_next(struct retry *r, int code, enum err_class c, bool is_write, int64_t now_ms, uint32_t retry_s)
{
	int64_t left;
	int ms;

	if (!errclass_is_held(c))
		return -1;
	if (r->tries == 0)
		r->since_ms = now_ms;
	if (r->tries < UINT32_MAX)
		r->tries++;
	ms = code == EINTR && r->tries == 1 ? 0 : back_off(r->tries);
	if (r->tries == 1 || (!is_write && c != ERR_PASSING_AWHILE))
		return ms;
	left = r->since_ms + (int64_t)retry_s * 1000 - now_ms;
	if (left <= 0)
		return -1;
	return left < ms ? (int)left : ms;
}
