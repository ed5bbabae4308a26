/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/supervisor.h"

struct step {
	enum worker_state next;
	unsigned actions; /* 0: the event means nothing here and the state stays */
};

#define START_IT (WORKER_SPAWN | WORKER_ARM_START)
#define DRAIN_IT (WORKER_DRAIN | WORKER_ARM_DRAIN)
#define FAILED (WORKER_DIED | WORKER_ARM_BACKOFF)
#define END (WORKER_DISARM | WORKER_GONE)

static const struct step table[WORKER_STATES][WORKER_EVENTS] = {
	[WORKER_DOWN] = {
		[WORKER_EV_START] = { WORKER_STARTING, START_IT },
		[WORKER_EV_STOP] = { WORKER_DOWN, END },
	},
	[WORKER_STARTING] = {
		[WORKER_EV_READY] = { WORKER_READY, WORKER_DISARM },
		[WORKER_EV_EXIT] = { WORKER_BACKOFF, FAILED },
		[WORKER_EV_TIMER] = { WORKER_STARTING, WORKER_LATE | WORKER_KILL },
		[WORKER_EV_RENEW] = { WORKER_KILLED, WORKER_KILL | WORKER_DISARM },
		[WORKER_EV_STOP] = { WORKER_STOPPING, WORKER_KILL | WORKER_DISARM },
	},
	[WORKER_READY] = {
		[WORKER_EV_EXIT] = { WORKER_BACKOFF, FAILED },
		[WORKER_EV_RENEW] = { WORKER_RENEWING, DRAIN_IT },
		[WORKER_EV_STOP] = { WORKER_DRAINING, DRAIN_IT },
	},
	[WORKER_RENEWING] = {
		[WORKER_EV_DRAINED] = { WORKER_KILLED, WORKER_KILL | WORKER_DISARM },
		[WORKER_EV_TIMER] = { WORKER_KILLED, WORKER_KILL | WORKER_LATE },
		[WORKER_EV_EXIT] = { WORKER_STARTING, WORKER_DIED | START_IT },
		[WORKER_EV_STOP] = { WORKER_DRAINING, WORKER_ARM_DRAIN },
	},
	[WORKER_DRAINING] = {
		[WORKER_EV_DRAINED] = { WORKER_STOPPING, WORKER_KILL | WORKER_DISARM },
		[WORKER_EV_TIMER] = { WORKER_STOPPING, WORKER_KILL | WORKER_LATE },
		[WORKER_EV_EXIT] = { WORKER_DOWN, WORKER_DIED | END },
		[WORKER_EV_STOP] = { WORKER_STOPPING, WORKER_KILL | WORKER_DISARM },
	},
	[WORKER_KILLED] = {
		[WORKER_EV_EXIT] = { WORKER_STARTING, START_IT },
		[WORKER_EV_STOP] = { WORKER_STOPPING, WORKER_DISARM },
	},
	[WORKER_STOPPING] = {
		[WORKER_EV_EXIT] = { WORKER_DOWN, END },
	},
	[WORKER_BACKOFF] = {
		[WORKER_EV_TIMER] = { WORKER_STARTING, START_IT },
		[WORKER_EV_RENEW] = { WORKER_STARTING, START_IT },
		[WORKER_EV_STOP] = { WORKER_DOWN, END },
	},
};

unsigned supervisor_event(struct supervisor *s, enum worker_event ev, int64_t now_ms)
{
	const struct step *step = &table[s->state][ev];

	if (!step->actions)
		return 0;
	if (ev == WORKER_EV_READY)
		s->ready_ms = now_ms;
	if (step->actions & WORKER_ARM_BACKOFF) {
		int64_t served = s->state == WORKER_READY ? now_ms - s->ready_ms : 0;

		if (served >= BACKOFF_NONE_MS)
			s->backoff_ms = 0;
		else if (s->backoff_ms == 0)
			s->backoff_ms = BACKOFF_FIRST_MS;
		else
			s->backoff_ms = s->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : s->backoff_ms * 2;
	}
	if (step->actions & WORKER_DIED)
		s->restarts++;
	s->state = step->next;
	return step->actions;
}

const char *worker_state_name(enum worker_state state)
{
	static const char *const names[WORKER_STATES] = {
		[WORKER_DOWN] = "down",		[WORKER_STARTING] = "starting", [WORKER_READY] = "ready",
		[WORKER_RENEWING] = "renewing", [WORKER_DRAINING] = "draining", [WORKER_KILLED] = "renewing",
		[WORKER_STOPPING] = "stopping", [WORKER_BACKOFF] = "backoff",
	};

	return names[state];
}
