/* SPDX-License-Identifier: BSD-3-Clause */
/* Threads: this one (libev: connections until their negotiation is over, and sessions that have ended), the mover, the broker's receiver, the
 * exports' attendant and closer, and a submitter for each network mount.
 */
#include "config.h"

#include "server/engine/engine.h"

#include "common/allow.h"
#include "common/procself.h"
#include "server/engine/confine.h"
#include "server/engine/lobby.h"
#include "server/engine/seat.h"
#include "server/engine/served.h"
#include "store/page.h"
#include "store/seal.h"
#include "worker/broker_remote.h"
#include "worker/memory.h"

#include <errno.h>
#include <ev.h>
#include <jansson.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PRIVATE_POOL_PAGES 512u /* for exports whose data cannot go to the file from where it lies */
#define NEGOTIATION_SECONDS 10.
#define EXPORTS_MAX 1024u

struct engine {
	const struct engine_options *o;
	struct ev_loop *loop;
	ev_async ended, orphan;
	_Atomic bool orphaned;
	struct broker broker;
	struct pool *pool;
	struct buffers *buffers;
	struct served_options served;
	struct exports *exports;
	struct mover *mover;
	struct seats *seats;
	struct lobby_ops calls;
	struct lobby *lobby;
};

static struct engine *the_engine; /* for say(), which is given no argument */

/* ---- what the daemon asks, on the broker's thread ---- */

static bool on_drain(void *arg, int timeout_ms)
{
	struct engine *g = arg;

	return exports_drain(g->exports, timeout_ms);
}

static bool on_forget(void *arg, const char *name)
{
	struct engine *g = arg;

	return exports_forget(g->exports, name);
}

static void on_orphaned(void *arg, bool draining)
{
	struct engine *g = arg;

	if (draining)
		_exit(EXIT_SUCCESS);
	exports_with_data(g->exports, NULL, served_complete, NULL); /* no more come */
	atomic_store(&g->orphaned, true);
	ev_async_send(g->loop, &g->orphan);
}

static int on_resume(void *arg, struct grant *grant, int sock, const char *peer, struct errbuf *e)
{
	struct engine *g = arg;

	return seat_resume(g->seats, grant, sock, peer, grant->blame, e);
}

static void on_complete(void *arg, const char *name)
{
	struct engine *g = arg;

	exports_with_data(g->exports, name, served_complete, NULL);
}

static bool on_end(void *arg, uint64_t session)
{
	struct engine *g = arg;

	return seat_end(g->seats, session);
}

static size_t on_sessions(void *arg, uint64_t *out, size_t max)
{
	struct engine *g = arg;

	return exports_list_sessions(g->exports, out, max);
}

/* ---- messages ---- */

static void say(enum notice_priority priority, const char *text)
{
	static const char *const names[] = { [NOTICE_INFO] = "info", [NOTICE_WARNING] = "warning", [NOTICE_ERROR] = "err" };

	if (broker_remote_log(&the_engine->broker, names[priority], text) < 0)
		fprintf(stderr, "nbdswap-engine: %s\n", text);
}

static void say_warning(void *arg, const char *text)
{
	(void)arg;
	say(NOTICE_WARNING, text);
}

/* ---- connections, on this thread ---- */

static int lobby_open(void *arg, const char *name, const struct peer *who, bool live, int sock, struct lobby_export *out,
		      struct errbuf *e)
{
	struct engine *g = arg;
	struct peer peer = *who;
	struct seat *s;

	peer.sock = live ? sock : -1;
	s = seat_open(g->seats, name, &peer, e);
	if (!s)
		return -1;
	*out = (struct lobby_export){ .session = s, .size = seat_size(s), .generation = seat_generation(s) };
	return 0;
}

static void lobby_close(void *arg, void *session)
{
	struct engine *g = arg;

	seat_close(g->seats, session);
}

static void lobby_begin(void *arg, void *session, int sock, const void *answer, size_t bytes)
{
	struct engine *g = arg;

	seat_begin(g->seats, session, sock, answer, bytes);
}

static int lobby_list(void *arg, list_fn *fn, void *fn_arg, struct errbuf *e)
{
	struct engine *g = arg;

	return g->broker.list(g->broker.self, fn, fn_arg, e);
}

static const struct lobby_ops lobby_calls = { .open = lobby_open, .close = lobby_close, .begin = lobby_begin, .list = lobby_list,
					      .warn = say_warning };

/* With the daemon gone nobody can be let in; with the last session there is nothing left to do. */
static void maybe_end(struct engine *g)
{
	if (atomic_load(&g->orphaned) && seats_taken(g->seats) == 0)
		ev_break(g->loop, EVBREAK_ALL);
}

static void on_ended(struct ev_loop *loop, ev_async *w, int revents)
{
	struct engine *g = w->data;

	(void)loop;
	(void)revents;
	seats_clear(g->seats);
	maybe_end(g);
}

static void on_orphan(struct ev_loop *loop, ev_async *w, int revents)
{
	struct engine *g = w->data;

	(void)loop;
	(void)revents;
	lobby_stop(g->lobby);
	maybe_end(g);
}

static void wake(void *arg)
{
	struct engine *g = arg;

	ev_async_send(g->loop, &g->ended);
}

/* ---- life ---- */

static void warn_unless(struct engine *g, unsigned bit, int result, const struct errbuf *e)
{
	if (result < 0 && !(g->o->allow & bit))
		broker_remote_warn(&g->broker, e->text);
}

static int make_loop(struct engine *g, struct errbuf *e)
{
	g->loop = ev_loop_new(EVFLAG_AUTO | EVFLAG_NOENV);
	if (!g->loop)
		return err_set(e, EIO, "the event loop cannot be made");
	ev_async_init(&g->ended, on_ended);
	ev_async_init(&g->orphan, on_orphan);
	g->ended.data = g->orphan.data = g;
	ev_async_start(g->loop, &g->ended);
	ev_async_start(g->loop, &g->orphan);
	return 0;
}

static int make_parts(struct engine *g, struct errbuf *e)
{
	const struct engine_options *o = g->o;
	bool unlocked = o->allow & ALLOW_MEMLOCK;
	struct remote_commands commands = { .arg = g, .drain = on_drain, .forget = on_forget, .orphaned = on_orphaned,
					    .resume = on_resume, .complete = on_complete, .end = on_end, .sessions = on_sessions };
	struct seats_options seats = { .connections = o->connections, .allow_unlocked = unlocked, .wake = wake, .say = say_warning, .arg = g };
	struct exports_options exports = { .broker = &g->broker, .allow_unlocked = unlocked, .say = say };
	struct mover_options mover = { .sessions = o->connections, .exports = EXPORTS_MAX, .ended = seats_ended };
	struct lobby_options lobby = { .loop = g->loop, .listen_fds = o->listen_fds, .nlisten = o->nlisten, .places = o->connections,
				       .seconds = NEGOTIATION_SECONDS };

	if (broker_remote_create(o->broker, unlocked, &commands, &g->broker, e) < 0)
		return -1;
	if (!(g->buffers = buffers_create(o->pool_fd, (uint32_t)(o->pool / PAGE_BYTES), unlocked, e)))
		return -1;
	if (!(g->pool = pool_create(PRIVATE_POOL_PAGES, unlocked, e)) || !(g->seats = seats_create(&seats, e)))
		return -1;
	mover.buffers = g->buffers;
	mover.arg = g->seats;
	if (!(g->mover = mover_create(&mover, e)))
		return -1;
	g->served = (struct served_options){ .mover = g->mover, .buffers = g->buffers };
	exports.pool = g->pool;
	exports.hooks = served_hooks(&g->served);
	if (!(g->exports = exports_create(&exports, e)))
		return -1;
	seats_serve(g->seats, g->exports, g->mover);
	g->calls = lobby_calls;
	g->calls.arg = g;
	lobby.ops = &g->calls;
	g->lobby = lobby_create(&lobby, e);
	return g->lobby ? 0 : -1;
}

static int confine(struct engine *g, struct errbuf *e)
{
	struct confined c;

	if (g->o->allow & ALLOW_CONFINE)
		return 0;
	if (confine_process(&c, e) < 0)
		return err_prefix(e, "rights that the worker does not need cannot be given up (allow = confine: it serves with them)");
	if (!c.landlock)
		broker_remote_warn(&g->broker, "this kernel has no Landlock; a filter of system calls alone keeps the worker from opening files");
	return 0;
}

static int begin(struct engine *g, struct errbuf *e)
{
	uint64_t locked_kib;
	struct errbuf no_oom, no_flusher;
	int oom, flusher;

	if (worker_memory_lock(g->o->allow, &locked_kib, e) < 0 || make_loop(g, e) < 0)
		return -1;
	/* Before there are threads: one has it from who starts it. */
	flusher = procself_io_flusher(&no_flusher);
	oom = procself_oom_score(-1000, &no_oom);
	if (make_parts(g, e) < 0)
		return -1;
	warn_unless(g, ALLOW_OOM, oom, &no_oom);
	warn_unless(g, ALLOW_IO_FLUSHER, flusher, &no_flusher);
	/* What libraries read of files at a first use. */
	json_object_seed(0);
	seal_prepare();
	/* Again, now that all is there: what is reported is what a worker at rest holds. */
	if (worker_memory_lock(g->o->allow, &locked_kib, e) < 0 || confine(g, e) < 0)
		return -1;
	return g->broker.ready(g->broker.self, locked_kib, e);
}

static void free_parts(struct engine *g)
{
	lobby_free(g->lobby);
	exports_free(g->exports);
	mover_free(g->mover);
	seats_free(g->seats);
	pool_free(g->pool);
	buffers_free(g->buffers);
	if (g->broker.finish)
		g->broker.finish(g->broker.self);
	if (g->loop)
		ev_loop_destroy(g->loop);
}

int engine_run(const struct engine_options *o, struct errbuf *e)
{
	struct engine g = { .o = o };
	int result;

	the_engine = &g;
	worker_memory_tame();
	signal(SIGPIPE, SIG_IGN);
	result = begin(&g, e);
	if (result == 0)
		ev_run(g.loop, 0);
	free_parts(&g);
	return result;
}
