/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/notices.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* What becomes of the request, and who has to do something. */
static const struct {
	enum notice_priority priority;
	const char *text;
} kinds[NOTICE_KINDS] = {
	[ERR_PASSING] = { NOTICE_WARNING, "held and tried again" },
	[ERR_PASSING_AWHILE] = { NOTICE_WARNING, "held and tried again for a while" },
	[ERR_SERVER_FULL] = { NOTICE_ERROR, "ALARM: the storage server has no space for a page that it had taken before; make room there, "
					    "and see STORAGE SERVERS in nbdkit-swap-plugin(1); held and tried again" },
	[ERR_STALE] = { NOTICE_WARNING, "held until the file has been opened anew" },
	[ERR_BROKEN_PROMISE] = { NOTICE_ERROR, "ALARM: the space of the file was reserved and is not there any more (a snapshot, a "
					       "reflink, a punched hole, a thin device?); answered with an error" },
	[ERR_LASTING] = { NOTICE_ERROR, "answered with an error" },
	[NOTICE_GIVEN_UP] = { NOTICE_ERROR, "held for too long (retry-time), answered with an error" },
	[NOTICE_LOST_PAGE] = { NOTICE_ERROR, "a page is lost (its content is not known since an unclean end, a failed write or a failed "
					     "check); answered with an error until it is written anew" },
	[NOTICE_BAD_PAGE] = { NOTICE_ERROR, "what was read, twice, is not what was written (did the storage lose a write, or did somebody "
					    "else change the file?); the page is lost, answered with an error until it is written anew" },
	[NOTICE_LOST_FILE] = { NOTICE_ERROR, "THE EXPORT IS LOST, its file is not to be had any more; answered with an error" },
	[NOTICE_REOPENED] = { NOTICE_WARNING, "its handle was stale; the file was opened anew and is the same" },
};

/* Text that is cut rather than allocated for. */
struct text {
	size_t used;
	char s[NOTICE_TEXT];
};

static void add(struct text *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *t, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(t->s + t->used, sizeof(t->s) - t->used, fmt, ap);
	va_end(ap);
	if (n > 0)
		t->used += (size_t)n < sizeof(t->s) - t->used ? (size_t)n : sizeof(t->s) - t->used - 1;
}

static void add_pages(struct text *t, uint64_t first, uint64_t last)
{
	if (first == last)
		add(t, "page %" PRIu64, first);
	else
		add(t, "pages %" PRIu64 " to %" PRIu64, first, last);
}

static void add_held_back(struct text *t, const struct notice_line *l, int64_t now_ms)
{
	if (l->held_back == 0)
		return;
	add(t, " (%" PRIu64 " more like it in %.0f s, ", l->held_back, (double)(now_ms - l->said_ms) / 1000);
	add_pages(t, l->first, l->last);
	add(t, ")");
}

/* No lock held. */
static void emit(struct notices *n, enum notice_priority priority, const struct text *t)
{
	if (n->emit && t->used)
		n->emit(n->arg, priority, t->s);
}

void notices_init(struct notices *n, const char *name, notices_emit *fn, void *arg)
{
	memset(n, 0, sizeof(*n));
	pthread_mutex_init(&n->lock, NULL);
	snprintf(n->name, sizeof(n->name), "%s", name);
	n->emit = fn;
	n->arg = arg;
}

void notices_end(struct notices *n)
{
	for (unsigned kind = 0; kind < NOTICE_KINDS; kind++) {
		const struct notice_line *l = &n->line[kind];
		struct text t = { .used = 0 };

		if (l->held_back == 0)
			continue;
		add(&t, "%s: %" PRIu64 " more since the last message of this kind", n->name, l->held_back);
		if (kind != NOTICE_REOPENED) {
			add(&t, ", ");
			add_pages(&t, l->first, l->last);
		}
		add(&t, ": %s", kinds[kind].text);
		emit(n, kinds[kind].priority, &t);
	}
	pthread_mutex_destroy(&n->lock);
}

/* Not held back: it is said now, and counting begins anew (lock held). */
static bool is_due(const struct notice_line *l, int64_t now_ms)
{
	return !l->said || now_ms - l->said_ms >= NOTICE_INTERVAL_MS;
}

static void said_now(struct notice_line *l, int64_t now_ms)
{
	l->said = true;
	l->said_ms = now_ms;
	l->held_back = 0;
}

static void hold_back(struct notice_line *l, const struct notice_place *at)
{
	if (l->held_back == 0 || at->first < l->first)
		l->first = at->first;
	if (l->held_back == 0 || at->last > l->last)
		l->last = at->last;
	l->held_back++;
}

void notices_error(struct notices *n, unsigned kind, int code, struct notice_place at, int64_t now_ms)
{
	struct notice_line *l = &n->line[kind];
	const char *why = code ? strerrordesc_np(code) : NULL; /* strerror may allocate */
	struct text t = { .used = 0 };

	pthread_mutex_lock(&n->lock);
	if (!is_due(l, now_ms)) {
		hold_back(l, &at);
	} else {
		add(&t, "%s: %s of ", n->name, at.what);
		add_pages(&t, at.first, at.last);
		if (why)
			add(&t, ": %s", why);
		else if (code)
			add(&t, ": error %d", code);
		add(&t, ": %s", kinds[kind].text);
		add_held_back(&t, l, now_ms);
		said_now(l, now_ms);
		if (n->holding)
			n->announced = true;
	}
	pthread_mutex_unlock(&n->lock);
	emit(n, kinds[kind].priority, &t);
}

void notices_held(struct notices *n, int64_t now_ms)
{
	pthread_mutex_lock(&n->lock);
	if (n->holding++ == 0) {
		n->since_ms = now_ms;
		n->held = n->given_up = 0;
		n->announced = false;
	}
	n->held++;
	pthread_mutex_unlock(&n->lock);
}

/* The end of the trouble: what was held back in it is said now, and does not come again later (lock held). */
static void sum_up(struct notices *n, struct text *t, int64_t now_ms)
{
	static const unsigned of_trouble[] = { ERR_PASSING, ERR_PASSING_AWHILE, ERR_SERVER_FULL, ERR_STALE, NOTICE_GIVEN_UP };
	uint64_t held_back = 0;

	add(t, "%s: %s after %.1f s, %" PRIu32 " request%s held", n->name,
	    n->given_up < n->held ? "goes on" : "nothing is held any more", (double)(now_ms - n->since_ms) / 1000, n->held,
	    n->held == 1 ? " was" : "s were");
	if (n->given_up)
		add(t, ", %" PRIu32 " of them given up", n->given_up);
	for (unsigned i = 0; i < sizeof(of_trouble) / sizeof(of_trouble[0]); i++) {
		held_back += n->line[of_trouble[i]].held_back;
		n->line[of_trouble[i]].held_back = 0;
	}
	if (held_back)
		add(t, "; %" PRIu64 " message%s held back", held_back, held_back == 1 ? " was" : "s were");
}

void notices_freed(struct notices *n, bool good, int64_t now_ms)
{
	struct text t = { .used = 0 };

	pthread_mutex_lock(&n->lock);
	n->given_up += !good;
	if (--n->holding == 0 && n->announced)
		sum_up(n, &t, now_ms);
	pthread_mutex_unlock(&n->lock);
	emit(n, NOTICE_WARNING, &t);
}

void notices_reopened(struct notices *n, int64_t now_ms)
{
	struct notice_line *l = &n->line[NOTICE_REOPENED];
	struct text t = { .used = 0 };

	pthread_mutex_lock(&n->lock);
	if (is_due(l, now_ms)) {
		add(&t, "%s: %s", n->name, kinds[NOTICE_REOPENED].text);
		if (l->held_back)
			add(&t, " (%" PRIu64 " times more in %.0f s)", l->held_back, (double)(now_ms - l->said_ms) / 1000);
		said_now(l, now_ms);
	} else {
		l->held_back++;
	}
	pthread_mutex_unlock(&n->lock);
	emit(n, kinds[NOTICE_REOPENED].priority, &t);
}

void notices_say(struct notices *n, enum notice_priority priority, const char *text)
{
	struct text t = { .used = 0 };

	add(&t, "%s: %s", n->name, text);
	emit(n, priority, &t);
}
