/* SPDX-License-Identifier: BSD-3-Clause */
/* The worker process: the native engine, or one nbdkit with the swap plugin, that serves all exports of all listening sockets.  Started,
 * watched and restarted here as supervisor.h decides; the messages of its broker socket are taken apart here and handed on.
 */
#ifndef NBDSWAP_WORKER_H
#define NBDSWAP_WORKER_H

#include "common/errbuf.h"
#include "server/conffile.h"
#include "server/poolmem.h"
#include "server/supervisor.h"

#include <ev.h>
#include <jansson.h>
#include <stdbool.h>
#include <sys/types.h>

/* How a worker ended. */
struct worker_end {
	bool drained; /* it had no request at the backend */
	bool killed;  /* by SIGKILL: none of its requests can be the cause */
	int64_t served_ms; /* since it became ready, 0: it never did */
};

struct worker_ops { /* all required but the last, on the loop's thread */
	/* A request, or an event other than ready, drained, log; fds are the callee's. */
	void (*message)(void *arg, const json_t *msg, const int fds[], size_t nfds);
	void (*ready)(void *arg);
	void (*died)(void *arg, const struct worker_end *end); /* reaped.  Before any restart */
	void (*gone)(void *arg);			       /* stopping is complete */
	/* What it is about to hear, a successor of this daemon must know first.  False: it would not. */
	bool (*sync)(void *arg);
};

/* What a predecessor left of a worker (descriptors are taken over). */
struct worker_left {
	enum worker_state state;
	pid_t pid;
	int pidfd, sock;
	enum conf_engine engine;
	uint64_t epoch;
	int64_t ready_ms; /* monotonic clock */
	bool other_interface; /* it speaks otherwise than this daemon */
};

struct worker {
	struct supervisor sup;
	struct ev_loop *loop;
	const struct worker_ops *ops;
	void *arg;
	const struct conf_server *conf; /* borrowed: for the next start */
	const int *listen_fds;		/* borrowed: for the next start */
	size_t nlisten;
	struct poolmem *pool;	 /* borrowed; the native engine's */
	enum conf_engine engine; /* of the present or last one */
	bool no_uring;		 /* the native engine cannot run here: nbdkit takes its place */
	pid_t pid; /* 0: none */
	int pidfd; /* -1: none */
	int sock;  /* the broker's end, -1: none */
	uint64_t epoch; /* how many daemons it has been told of; what it asked before is asked again */
	bool adopted;	/* another daemon's child: how it ends is not told */
	bool unheard;	/* it has not answered yet since it was taken over */
	bool renew;	/* it is to be replaced when it has */
	uint64_t kept_pidfd, kept_sock; /* of keep.h */
	bool drained;
	uint64_t locked_kib; /* as it said when ready */
	json_t *warnings;    /* as it said when ready; may be NULL */
	char last_exit[128]; /* how the one before ended; "": never */
	bool spawn_failed;
	ev_io io;
	ev_io end; /* pidfd, where it is adopted */
	ev_child child;
	ev_timer timer;
};

void worker_init(struct worker *w, struct ev_loop *loop, const struct worker_ops *ops, void *arg);

/* What the next start uses; conf and fds must stay until they are replaced.  The pool is set once, before the first start. */
void worker_set(struct worker *w, const struct conf_server *conf, const int *listen_fds, size_t nlisten);

void worker_event(struct worker *w, enum worker_event ev);

/* Goes on with the worker of a daemon that died, in place of a first start; ops->ready follows when it has answered.  renew: it is replaced then. */
void worker_adopt(struct worker *w, const struct worker_left *left, bool renew);

/* It is ready, and this daemon knows what it has. */
bool worker_serves(const struct worker *w);

/* What the next start executes first. */
const char *worker_program(const struct conf_server *conf);

const char *engine_name(enum conf_engine engine); /* "native" */

/* Ends it at once; another is started.  why goes to the log. */
void worker_kill(struct worker *w, const char *why);

/* Sends a message (consumed) with descriptors.  A worker that cannot take it is killed: it does not read its socket. */
void worker_send(struct worker *w, json_t *msg, const int fds[], size_t nfds);

#endif
