/* SPDX-License-Identifier: BSD-3-Clause */
/* The life of the worker as a table: state x event -> next state and actions.
 * Pure: it decides, the caller acts (struct supervisor_ops) and reports events.  So the whole table is tested without processes.
 */
#ifndef NBDSWAP_SUPERVISOR_H
#define NBDSWAP_SUPERVISOR_H

#include <stdbool.h>
#include <stdint.h>

enum worker_state {
	WORKER_DOWN,	 /* not wanted, not there */
	WORKER_STARTING, /* started, has not said ready */
	WORKER_READY,
	WORKER_RENEWING, /* draining, to be replaced */
	WORKER_DRAINING, /* draining, to be stopped */
	WORKER_KILLED,	 /* killed to be replaced */
	WORKER_STOPPING, /* killed to be stopped */
	WORKER_BACKOFF,	 /* died; waits before the next start */
	WORKER_STATES
};

enum worker_event {
	WORKER_EV_START,   /* it is wanted */
	WORKER_EV_READY,   /* it said so */
	WORKER_EV_DRAINED, /* it said so */
	WORKER_EV_EXIT,	   /* it ended, or could not be started */
	WORKER_EV_TIMER,   /* the timer armed last ran out */
	WORKER_EV_RENEW,   /* replace it by a new one */
	WORKER_EV_STOP,	   /* stop it; again: at once */
	WORKER_EVENTS
};

enum worker_action { /* bits */
	WORKER_SPAWN = 1,	 /* start one; a failure is reported as WORKER_EV_EXIT later, not from within */
	WORKER_DRAIN = 2,	 /* send drain */
	WORKER_KILL = 4,	 /* SIGKILL */
	WORKER_ARM_START = 8,	 /* timer: it must be ready by then */
	WORKER_ARM_DRAIN = 16,	 /* timer: it must be drained by then */
	WORKER_ARM_BACKOFF = 32, /* timer: supervisor.backoff_ms */
	WORKER_DISARM = 64,
	WORKER_DIED = 128, /* say that it died, and how */
	WORKER_LATE = 256, /* say that it did not become ready, or drained, in time */
	WORKER_GONE = 512, /* stopping is complete */
};

#define BACKOFF_FIRST_MS 100
#define BACKOFF_MAX_MS 10000
#define BACKOFF_NONE_MS 1000 /* served for so long: no wait at all, for clients wait; the next death after less is a first one */

struct supervisor {
	enum worker_state state;
	uint32_t backoff_ms; /* the wait to arm */
	uint32_t restarts;   /* deaths since the start of the daemon */
	int64_t ready_ms;    /* when it became ready */
};

/* Moves on; now_ms is a monotonic clock.  Returns the actions, 0 when the event means nothing in this state. */
unsigned supervisor_event(struct supervisor *s, enum worker_event ev, int64_t now_ms);

const char *worker_state_name(enum worker_state state); /* "ready" */

#endif
