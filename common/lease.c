/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/lease.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int lease_holder(const char *client, const char *peer, char out[LEASE_HOLDER_MAX], struct errbuf *e)
{
	const char *begin = peer, *end = peer + strlen(peer);

	if (client[0]) {
		if (snprintf(out, LEASE_HOLDER_MAX, "%s", client) >= LEASE_HOLDER_MAX)
			return err_set(e, ENAMETOOLONG, "the client id is too long");
		return 0;
	}
	if (*begin == '[') {
		begin++;
		end = strchr(begin, ']');
	} else if (strcmp(peer, "unix") != 0) {
		end = strrchr(peer, ':');
	}
	if (!end || end == begin || end - begin >= LEASE_HOLDER_MAX)
		return err_set(e, EINVAL, "the client's address \"%.64s\" cannot be told; use a client id (NAME?client=ID)",
			       peer);
	memcpy(out, begin, (size_t)(end - begin));
	out[end - begin] = '\0';
	return 0;
}

void lease_keep(struct lease *l, const struct lease_clock *now, int64_t keep_ms)
{
	if (l->holder[0] && l->sessions == 0)
		l->kept_until_ms = now->ms + keep_ms;
}

bool lease_held(const struct lease *l, const struct lease_clock *now)
{
	return l->holder[0] && (l->sessions > 0 || now->ms < l->kept_until_ms);
}

void lease_pass(struct lease *l, bool resumes, const struct lease_clock *now)
{
	if (!resumes && (l->number == 0 || strcmp(l->last, l->holder) != 0)) {
		l->number++;
		if (now->wall > 0 && l->number < (uint64_t)now->wall)
			l->number = (uint64_t)now->wall;
	}
	snprintf(l->last, sizeof(l->last), "%s", l->holder);
}

void lease_begin(struct lease *l, uint64_t number)
{
	l->number = number;
	l->last[0] = '\0';
}

void lease_recall(struct lease *l, const char *holder, const struct lease_clock *now, int64_t keep_ms)
{
	snprintf(l->last, sizeof(l->last), "%s", holder);
	snprintf(l->holder, sizeof(l->holder), "%s", holder);
	snprintf(l->peer, sizeof(l->peer), "its address is not known");
	l->since = now->wall;
	l->sessions = 0;
	l->kept_until_ms = now->ms + keep_ms;
}

int lease_resumes(const struct lease *l, const char *export_name, const char *holder, uint64_t activation, const struct generation *g,
		  struct errbuf *e)
{
	if (g->activation != activation)
		return err_set(e, ESTALE, "export \"%.64s\" has lost what client %s swapped out: its content is of generation %" PRIu64
			       ", not %" PRIu64 "; it must not resume", export_name, holder, activation, g->activation);
	if (g->lease == l->number && (!l->last[0] || strcmp(l->last, holder) == 0))
		return 0;
	return err_set(e, ESTALE, "export \"%.64s\" has passed to another client%s%s (lease %" PRIu64 ", not %" PRIu64 "): nothing of what client %s"
		       " swapped out is there any more; it must not resume", export_name, l->last[0] ? ", " : "", l->last, l->number, g->lease,
		       holder);
}

void lease_expire(struct lease *l, const struct lease_clock *now)
{
	if (!lease_held(l, now))
		l->holder[0] = '\0';
}

int lease_open(struct lease *l, const char *export_name, const char *holder, const char *peer,
	       const struct lease_clock *now, struct errbuf *e)
{
	bool held = lease_held(l, now);

	if (held && strcmp(l->holder, holder) != 0) {
		struct tm tm;
		char since[32];

		gmtime_r(&l->since, &tm);
		strftime(since, sizeof(since), "%Y-%m-%d %H:%M:%S UTC", &tm);
		if (l->sessions == 0)
			return err_set(e, EBUSY, "export \"%.64s\" is kept for client %s (%s), which held it since %s and lost"
				       " its connection; it is free in %lld s if that client does not come back",
				       export_name, l->holder, l->peer, since,
				       (long long)(l->kept_until_ms - now->ms + 999) / 1000);
		return err_set(e, EBUSY, "export \"%.64s\" is in use by client %s (%s) since %s; it must detach first",
			       export_name, l->holder, l->peer, since);
	}
	if (!held) {
		snprintf(l->holder, sizeof(l->holder), "%s", holder);
		l->since = now->wall;
		l->sessions = 0;
		l->kept_until_ms = 0;
	}
	snprintf(l->peer, sizeof(l->peer), "%s", peer);
	l->sessions++;
	return 0;
}

void lease_returned(struct lease *l)
{
	l->kept_until_ms = 0;
}

void lease_close(struct lease *l, const struct lease_clock *now)
{
	if (l->sessions > 0)
		l->sessions--;
	if (!lease_held(l, now))
		l->holder[0] = '\0';
}

void lease_lose(struct lease *l, const struct lease_clock *now, int64_t keep_ms)
{
	if (l->sessions == 0)
		return;
	l->sessions--;
	l->kept_until_ms = keep_ms > 0 ? now->ms + keep_ms : 0;
	if (!lease_held(l, now))
		l->holder[0] = '\0';
}
