/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/snapshot.h"

#include "client/link.h"
#include "client/procswaps.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static enum health look(const struct attach_state *s, bool swap_on, bool *link_known)
{
	const uint16_t port = (uint16_t)strtoul(s->port, NULL, 10);
	enum link_state link = link_state(s->now_inode, s->now_port);

	/* The one that attach made may have been followed by others, of a watch that is not there any more to be asked. */
	if (link == LINK_DEAD && s->watched == WATCHED_NOT && link_any(port))
		link = LINK_UNKNOWN;

	*link_known = link != LINK_UNKNOWN;
	if (s->watched == WATCHED_OVER)
		return HEALTH_OVER;
	/* Not by netlink: a plain user may not, and its lock is the watch's to have (client/nbdnl.c). */
	if (!nbddev_connected(&s->dev))
		return HEALTH_GONE;
	if (link == LINK_DEAD)
		return HEALTH_LINK_DEAD;
	if (!swap_on)
		return HEALTH_NOT_SWAP;
	return link == LINK_STALLED ? HEALTH_STALLED : HEALTH_UP;
}

int snapshot_take(const struct state_list *list, struct snapshot *out, struct errbuf *e)
{
	struct swap_list swaps;
	struct timespec ts;

	if (procswaps_read(&swaps, e) < 0)
		return -1;
	for (size_t i = 0; i < list->count; i++) {
		const struct attach_state *s = &list->states[i];
		const struct swap_entry *swap = procswaps_find(&swaps, s->dev.path);
		struct snapshot *n = &out[i];

		memset(n, 0, sizeof(*n));
		n->state = s;
		if (swap) {
			n->size = swap->size;
			n->used = swap->used;
			n->priority = swap->priority;
		}
		n->health = look(s, swap != NULL, &n->link_known);
		nbddev_stat(&s->dev, &n->stat, NULL);
		clock_gettime(CLOCK_MONOTONIC, &ts);
		n->taken_ms = (uint64_t)ts.tv_sec * 1000 + (uint64_t)ts.tv_nsec / 1000000;
	}
	return 0;
}

const char *health_name(enum health h)
{
	static const char *const names[] = { "up", "stalled", "not-swap", "link-dead", "over", "gone" };

	return names[h];
}

bool health_is_bad(enum health h)
{
	return h >= HEALTH_NOT_SWAP;
}
