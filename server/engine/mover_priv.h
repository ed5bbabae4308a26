/* SPDX-License-Identifier: BSD-3-Clause */
/* What the parts of the mover share: mover.c (loop), commands.c (what other threads ask), live.c (sessions: their ends, and what is received),
 * replies.c (what is sent), task.c (requests at the store), resume.c (sessions of a predecessor).  All on the mover's thread, but where said.
 */
#ifndef NBDSWAP_MOVER_PRIV_H
#define NBDSWAP_MOVER_PRIV_H

#include "server/engine/mover.h"
#include "server/engine/ring.h"
#include "server/engine/submitter.h"

#include "common/nbdproto.h"

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#define REPLIES_AT_ONCE 64u /* replies in one sendmsg */
#define TASKS_COMMON 512u
#define MOUNTS 16u
#define TASKS_OWN 8u /* that each export is sure to have */

/* Completions of the ring carry a pointer, and in its low bits what they are of. */
enum completion { OF_TASK, OF_RECEIVE, OF_POLL, OF_WAKE, OF_MASK = 7 };

/* A request that is being dealt with. */
struct task {
	struct rw rw; /* first: the store knows the task by it */
	struct live *s;
	uint32_t slot;
	bool flushing;	      /* the data is there, and it is being made durable */
	struct flush flush;
	struct task *next_free, *next_held, *next_woken;
	_Atomic bool woken;
	bool held; /* until: */
	int64_t due_ms;
	struct submitter_job job;
};

/* A file system where submission may block.  Known to those who add and remove exports.  The submitter is made at the start and stays, its thread
 * from its first use on: what a thread waits for on a mount that is stuck must not be waited for by others.
 */
struct mount {
	dev_t dev;
	unsigned users; /* exports; 0: unused */
	struct submitter *submitter;
};

struct mover_export {
	struct mover *m;
	unsigned place; /* of its file among the fixed ones: FILE_OF_EXPORT */
	int fd;
	struct store *store;
	struct buffers_share *share;
	bool direct; /* as in mover_export_options */
	bool registered; /* its buffers, with the ring */
	struct mount *mount; /* whose submitter does its I/O; NULL: the mover's own ring */
	uint64_t size;
	unsigned sessions;
	unsigned tasks; /* in use */
};

/* A session. */
struct live {
	struct mover *m;
	struct mover_export *x; /* NULL: the place is free */
	struct sess_mem *mem;
	int sock;
	unsigned place; /* of its socket among the fixed files */
	void *owner;

	uint64_t received; /* position in the received stream */
	uint64_t sent;	   /* position in the sent stream: taken by the socket */
	int payload_slot;  /* that payload arrives for; -1: a header comes next */
	bool again[SESSMEM_REQUESTS]; /* to be done again, for the predecessor had not answered it, and */
	bool owed[SESSMEM_REQUESTS];  /* that changes pages, which may be lost until then (store_await) */
	uint32_t redo[2];  /* slots below it have been looked at for the others, and for those that change pages */
	int64_t waits_since_ms; /* for those of all sessions of the export; 0: it does not */
	bool receiving;	   /* a receive is in flight, into: */
	struct iovec into[2];
	struct msghdr message;
	bool large;	   /* it writes in large requests */
	bool polling;	   /* waits until the socket takes more */
	bool starved;	   /* the next request waits for buffers, a task or a slot, or for what is done again */
	uint64_t turn;	   /* it waits for buffers, since the one before was given out; 0: it does not */
	bool turn_reads;   /* it is a read that waits */
	bool dirty;	   /* in the list of those to be looked after */
	bool leaving;	   /* has asked to disconnect: what it asked for before is done, and answered as long as it listens */
	bool gone;	   /* has asked to, which may not have been looked at yet, and its connection has ended */
	bool ending, told;
	struct rw_session ended;
	const char *why;
	unsigned running; /* tasks */
	uint32_t pages;	  /* of buffers that it holds */
	struct live *next_dirty;
	uint16_t free[SESSMEM_REQUESTS];
	unsigned nfree;
	bool doing[SESSMEM_REQUESTS]; /* the slot has a task */
	struct iovec iov[2 * REPLIES_AT_ONCE + 1];
	struct nbd_simple_reply header[REPLIES_AT_ONCE];
};

struct command;

struct mover {
	struct mover_options o;
	struct ring ring;
	pthread_t thread;
	bool registered; /* the common buffers, with the ring */
	int wake; /* eventfd: commands, tasks woken by other threads, jobs of submitters */
	_Atomic bool ending;

	pthread_mutex_t lock; /* commands */
	struct command *commands;

	struct live *session;	     /* o.sessions of them */
	struct mover_export *export; /* o.exports of them */
	struct task *task;
	unsigned ntasks, common_tasks; /* in all; in use beyond what the exports are sure to have */
	unsigned in_ring; /* tasks: queued or submitted, not completed */
	unsigned nexports;
	struct task *free_tasks;
	struct task *held;
	_Atomic(struct task *) woken;
	struct live *dirty;
	unsigned starved; /* sessions */
	unsigned waiting; /* of these, for buffers */
	bool freed;	  /* a buffer, a slot or a task, since they were looked at last */
	uint64_t turns;	  /* given out to sessions that wait for buffers */
	struct submitter *submitter[MOUNTS]; /* as the loop knows them */
	struct mount mount[MOUNTS];	     /* not the loop's */
	pthread_mutex_t adding;		     /* of exports: their places and mounts */
	sem_t ready;
	struct errbuf start_error;
};

/* The fixed files: the eventfd, then the sockets, then the exports' files. */
static inline unsigned file_of_session(const struct mover *m, unsigned i)
{
	return 1 + i;
}

static inline unsigned file_of_export(const struct mover *m, unsigned i)
{
	return 1 + m->o.sessions + i;
}

/* The registered buffers: the common part, then the exports' reserves. */
#define COMMON_BUFFER 0

static inline unsigned buffer_of_export(unsigned i)
{
	return 1 + i;
}

static inline void *tagged(void *p, enum completion of)
{
	return (void *)((uintptr_t)p | of);
}

/* ---- live.c ---- */

/* A receive has ended with this. */
void live_received(struct live *s, int result);
void live_polled(struct live *s);
/* Has it looked after before the loop sleeps: parse, send, receive. */
void live_touch(struct live *s);
/* Looks after it: as live_touch() asked for. */
void live_work(struct live *s);
/* Sends of the replies that are queued what the socket takes; frees their slots. */
void live_send(struct live *s);
/* All of the request in this slot is there: it goes to the store, or is answered at once. */
void live_execute(struct live *s, uint32_t slot);
/* The request in this slot is dealt with: its reply goes into the queue.  error: NBD's. */
void live_answer(struct live *s, uint32_t slot, uint32_t error);
/* No request of it begins from now on.  why: as in mover_options.ended. */
void live_end(struct live *s, const char *why);
/* Once nothing of it is under way any more, its owner is told. */
void live_maybe_ended(struct live *s);
void live_free_slot(struct live *s, uint32_t slot);
/* The request in this slot is dealt with, or will not be. */
void live_settle_owed(struct live *s, uint32_t slot);
/* What is wrong with a request, as far as it can be told without the store: NBD's error, 0: nothing. */
uint32_t live_refusal(const struct live *s, const struct sess_request *r);

static inline uint64_t live_payload(const struct sess_request *r)
{
	return r->command == NBD_CMD_WRITE ? r->length : 0;
}

/* ---- task.c ---- */

/* Is there a task for one more request of this export? */
bool task_available(const struct mover_export *x);
/* Begins what the slot says (a task is available). */
void task_begin(struct live *s, uint32_t slot);
void task_completed(struct task *t, ssize_t result);
/* Runs what was woken and what is due. */
void task_run_woken(struct mover *m);
void task_run_due(struct mover *m, int64_t now_ms);
/* In how many ms the next one is due; -1: none. */
int task_next_due(const struct mover *m, int64_t now_ms);
void task_take_jobs(struct mover *m);
/* Gives up what waits of a session that ends. */
void task_cancel(struct live *s);

/* ---- resume.c ---- */

/* Takes over what the predecessor has left: slots, buffers, positions.  -1 with *e: the memory says what cannot be; nothing is claimed then. */
int resume(struct live *s, const struct tcp_account *account, bool blame, struct errbuf *e);
/* Executes requests that the predecessor had not answered: those that change pages, or the others.  False: there are more, and no task for
 * them now.
 */
bool resume_redo(struct live *s, bool changes);
/* Nothing else begins on an export before all has been done again that changes pages, on all its sessions: a page whose write had arrived
 * is nobody's any more, so another session could read it and write it anew, and have that undone when the first write is done again.  Once all
 * have begun, at most AWAIT_MS: a write may be held for long.
 */
bool resume_must_wait(struct live *s);

/* ---- commands.c ---- */

void commands_run(struct mover *m);

/* ---- mover.c ---- */

int64_t mover_now_ms(void);
/* Any thread. */
void mover_wake(struct mover *m);

#endif
