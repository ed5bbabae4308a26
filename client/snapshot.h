/* SPDX-License-Identifier: BSD-3-Clause */
/* What is attached, as it is at one moment: for status. */
#ifndef NBDSWAP_CLIENT_SNAPSHOT_H
#define NBDSWAP_CLIENT_SNAPSHOT_H

#include "client/nbddev.h"
#include "client/state.h"
#include "client/swapctl.h"
#include "common/errbuf.h"

#include <stdbool.h>
#include <stdint.h>

enum health {
	HEALTH_UP,
	HEALTH_STALLED, /* the server does not acknowledge what is sent */
	HEALTH_NOT_SWAP, /* connected, but swap on it is off: an attach or detach under way, or one that was cut short */
	HEALTH_LINK_DEAD, /* requests wait for a link */
	HEALTH_OVER, /* the server is there, but what was swapped out is not */
	HEALTH_GONE, /* the device is disconnected */
};

struct snapshot {
	const struct attach_state *state;
	enum health health;
	bool link_known;
	uint64_t size, used; /* of the swap area, bytes; 0 when swap is off */
	int priority;
	struct nbddev_stat stat;
	uint64_t taken_ms; /* of a monotonic clock */
};

#define SNAPSHOTS_MAX STATES_MAX

/* Looks at every device in list; out has room for list->count.  0, or -1 with *e. */
int snapshot_take(const struct state_list *list, struct snapshot *out, struct errbuf *e);

const char *health_name(enum health h);
/* A device that needs somebody: its link is dead, or it is gone, or swap on it is off. */
bool health_is_bad(enum health h);

#endif
