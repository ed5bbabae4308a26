/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon as a whole: what belongs to it, how it begins and how it ends. */
#ifndef NBDSWAP_DAEMON_H
#define NBDSWAP_DAEMON_H

#include "server/conffile.h"
#include "server/control.h"
#include "server/exports.h"
#include "server/keep.h"
#include "server/sessions.h"
#include "server/reload_worker.h"
#include "server/worker.h"

#include <stdbool.h>
#include <stdint.h>

struct listeners {
	struct listen_addr addr[CONF_LISTEN_MAX];
	int fd[CONF_LISTEN_MAX];
	uint64_t kept[CONF_LISTEN_MAX]; /* of keep.h */
	size_t count;
};

/* Beside those of common/exitcodes.h: it ended to be started again, and left its worker to the next. */
#define EX_RENEW 10

enum control_wait_for {
	WAIT_COUNT, /* of all exports' pages; x is NULL */
	WAIT_ACTIVATION,
	WAIT_SCRUB,
	WAIT_DEACTIVATION,
	WAIT_RELOAD, /* x is NULL */
};

/* A control client that waits for an answer. */
struct control_wait {
	struct control_wait *next;
	uint64_t client;
	enum control_wait_for what;
	const struct export *x;
};

struct upgrade;

struct daemon {
	struct ev_loop *loop;
	struct conf *conf;
	struct listeners listeners;
	struct poolmem *pool;
	struct exports exports;
	struct worker worker;
	struct sessions sessions;
	struct control *control;
	struct control_wait *waits;
	unsigned counting; /* exports whose pages are being counted */
	struct keep keep;
	uint64_t pool_kept;
	unsigned takeovers; /* how many daemons before this one its workers may have had */
	bool took_over;	    /* this one did, and has not looked yet whether the configuration is still the same */
	ev_signal sigterm, sigint, sighup, sigusr2;
	ev_timer tick, recheck;
	ev_prepare before_wait;
	char notified[256]; /* the status the service manager has */
	time_t started;
	enum reload_step reload;
	bool reload_kept; /* sessions waited for the new worker */
	bool ready;	   /* the service manager has been told */
	bool unheard;	   /* it could not be told something, which the log says */
	unsigned stopping; /* how often it has been asked to stop */
	bool ending;	   /* the worker is gone, exports are being released */
	bool hurried;	   /* it ends before they are */
	bool leaving;	   /* it ends, and leaves all to its successor */
	struct upgrade *upgrade; /* under way */
	uint64_t stop_client; /* control client that waits for the end, 0: none */
	int exit_code;
};

/* Runs until it is stopped.  conf is consumed.  Returns the exit code. */
int daemon_run(struct conf *conf);

/* Begins to stop; a second call shortens it. */
void daemon_stop(struct daemon *d);

/* Ends this process alone: its worker goes on, and a successor takes over.  -1 with *e: there will be none. */
int daemon_leave(struct daemon *d, struct errbuf *e);

/* After something that changes who has jobs to do: goes on with stopping. */
void daemon_step(struct daemon *d);

#endif
