/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/worker.h"

#include "common/broker.h"
#include "common/cleanup.h"
#include "server/log.h"
#include "server/spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define START_SECONDS 30.0

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static void close_socket(struct worker *w)
{
	if (w->sock < 0)
		return;
	ev_io_stop(w->loop, &w->io);
	close(w->sock);
	w->sock = -1;
}

static bool sync_state(struct worker *w)
{
	return !w->ops || !w->ops->sync || w->ops->sync(w->arg);
}

static void kill_it(struct worker *w)
{
	if (w->adopted)
		syscall(SYS_pidfd_send_signal, w->pidfd, SIGKILL, NULL, 0);
	else if (w->pid > 0)
		kill(w->pid, SIGKILL); /* not reaped yet, so the pid is still its own */
}

static void arm(struct worker *w, double seconds)
{
	ev_timer_stop(w->loop, &w->timer);
	ev_timer_set(&w->timer, seconds, 0.);
	ev_timer_start(w->loop, &w->timer);
}

static void take_figures(struct worker *w, const json_t *msg)
{
	const json_t *warnings = json_object_get(msg, "warnings");

	w->locked_kib = (uint64_t)json_integer_value(json_object_get(msg, "locked_kib"));
	json_decref(w->warnings);
	w->warnings = json_is_array(warnings) ? json_deep_copy(warnings) : NULL;
}

static void take_ready(struct worker *w, const json_t *msg)
{
	size_t i;
	json_t *v;

	take_figures(w, msg);
	json_array_foreach(json_object_get(msg, "warnings"), i, v)
		if (json_is_string(v))
			log_line(LOG_WARN, "worker: %s", json_string_value(v));
	worker_event(w, WORKER_EV_READY);
	if (w->sup.state == WORKER_READY) {
		log_line(LOG_NOTE, "worker %d is ready, %llu KiB locked", (int)w->pid, (unsigned long long)w->locked_kib);
		w->ops->ready(w->arg);
	}
}

/* Asks it what it has: from its answer on, this daemon is its daemon. */
static void say_hello(struct worker *w)
{
	worker_send(w, json_pack("{s:s, s:I}", "cmd", "hello", "epoch", (json_int_t)w->epoch), NULL, 0);
}

static void drain(struct worker *w)
{
	worker_send(w, json_pack("{s:s, s:I}", "cmd", "drain", "timeout_ms", (json_int_t)w->conf->stop_timeout * 1000), NULL, 0);
}

/* The answer to hello. */
static void take_here(struct worker *w, const json_t *msg)
{
	const json_t *drained = json_object_get(msg, "drained");
	bool renew = w->renew;

	if (!w->unheard || json_integer_value(json_object_get(msg, "epoch")) != (json_int_t)w->epoch)
		return;
	w->unheard = w->renew = false;
	ev_timer_stop(w->loop, &w->timer);
	take_figures(w, msg);
	w->ops->message(w->arg, msg, NULL, 0);
	if (w->sup.state == WORKER_STARTING)
		worker_event(w, WORKER_EV_READY);
	if (w->sup.state == WORKER_READY) {
		log_line(LOG_NOTE, "worker %d was taken over and serves, %llu KiB locked", (int)w->pid, (unsigned long long)w->locked_kib);
		w->ops->ready(w->arg);
		if (renew)
			worker_event(w, WORKER_EV_RENEW);
	} else if (drained) { /* it was told so by its last daemon */
		w->drained = json_is_true(drained);
		worker_event(w, WORKER_EV_DRAINED);
	} else {
		arm(w, (double)w->conf->stop_timeout);
		drain(w);
	}
}

static void take_log(const json_t *msg)
{
	const char *priority = json_string_value(json_object_get(msg, "priority"));
	const char *text = json_string_value(json_object_get(msg, "text"));

	if (priority && text)
		log_line(strcmp(priority, "err") == 0 ? LOG_ERROR : strcmp(priority, "warning") == 0 ? LOG_WARN : LOG_NOTE,
			 "worker: %s", text);
}

/* Takes the descriptors over. */
static void take_message(struct worker *w, const char *text, size_t len, const int fds[], size_t nfds)
{
	json_error_t error;
	json_t *msg = json_loadb(text, len, 0, &error);
	const char *event = json_string_value(json_object_get(msg, "event"));
	bool own = true;

	if (!json_is_object(msg)) {
		log_line(LOG_ERROR, "worker %d sent a message that is not a JSON object (%s)", (int)w->pid, error.text);
	} else if (!event) {
		own = false;
	} else if (strcmp(event, "ready") == 0) {
		take_ready(w, msg);
	} else if (strcmp(event, "drained") == 0) {
		w->drained = json_is_true(json_object_get(msg, "ok"));
		worker_event(w, WORKER_EV_DRAINED);
	} else if (strcmp(event, "here") == 0) {
		take_here(w, msg);
	} else if (strcmp(event, "log") == 0) {
		take_log(msg);
	} else {
		own = false;
	}
	if (!own)
		w->ops->message(w->arg, msg, fds, nfds);
	for (size_t i = 0; own && i < nfds; i++)
		close(fds[i]);
	json_decref(msg);
}

/* Takes a message of the worker, if there is one.  Returns as fdmsg_recv. */
static ssize_t receive(struct worker *w, struct errbuf *e)
{
	static char text[FDMSG_MAX + 1]; /* the loop's thread alone comes here */
	int fds[FDMSG_FDS];
	size_t nfds;
	ssize_t n = fdmsg_recv(w->sock, text, fds, &nfds, e);

	if (n > 0)
		take_message(w, text, (size_t)n, fds, nfds);
	return n;
}

static void on_readable(struct ev_loop *loop, ev_io *io, int revents)
{
	struct worker *w = io->data;
	struct errbuf e;
	ssize_t n = receive(w, &e);

	(void)loop;
	(void)revents;
	if (n > 0 || (n < 0 && e.code == EAGAIN))
		return;
	if (n < 0) {
		log_line(LOG_ERROR, "worker %d: %s; it is killed", (int)w->pid, e.text);
		kill_it(w);
	}
	/* Closed: its end will be reported otherwise. */
	close_socket(w);
}

/* Can nbdkit take its place? */
static bool nbdkit_there(const struct conf_server *conf)
{
	const char *plugin = strchr(conf->plugin, '/') ? conf->plugin : NBDKIT_PLUGINDIR "/nbdkit-swap-plugin.so";

	return access(conf->nbdkit, X_OK) == 0 && access(plugin, R_OK) == 0;
}

static void fall_back(struct worker *w)
{
	w->no_uring = nbdkit_there(w->conf);
	if (w->no_uring)
		log_line(LOG_WARN, "the native engine cannot run here, for io_uring is not to be had: nbdkit serves in its place, and sessions"
			 " end with it; allow io_uring (kernel.io_uring_disabled, the kernel, the container), or set engine = nbdkit");
	else
		log_line(LOG_ERROR, "the native engine cannot run here, for io_uring is not to be had, and nbdkit with the swap plugin is not"
			 " there to take its place; install it, or allow io_uring (kernel.io_uring_disabled, the kernel, the container)");
}

/* Wraps up a worker that has been reaped, before its successor may be started. */
static void finish(struct worker *w, bool killed, bool no_uring)
{
	struct worker_end end = { .killed = killed, .served_ms = w->sup.state == WORKER_STARTING ? 0 : now_ms() - w->sup.ready_ms };
	struct errbuf e;

	ev_child_stop(w->loop, &w->child);
	ev_io_stop(w->loop, &w->end);
	if (w->unheard)
		ev_timer_stop(w->loop, &w->timer);
	w->adopted = w->unheard = w->renew = false;
	if (w->pidfd >= 0)
		close(w->pidfd);
	w->pidfd = -1;
	w->pid = 0; /* not its own any more */
	/* What it said last counts: of sessions that it had closed nothing is left to go on with. */
	while (w->sock >= 0 && receive(w, &e) > 0)
		;
	close_socket(w);
	w->kept_pidfd = w->kept_sock = 0; /* not before: of what it still has there is to be no second name */
	end.drained = w->drained;
	w->drained = false;
	if (no_uring && w->engine == ENGINE_NATIVE)
		fall_back(w);
	w->ops->died(w->arg, &end);
}

static void on_child(struct ev_loop *loop, ev_child *child, int revents)
{
	struct worker *w = child->data;
	int status = child->rstatus;
	pid_t pid = w->pid;

	(void)loop;
	(void)revents;
	if (WIFEXITED(status))
		snprintf(w->last_exit, sizeof(w->last_exit), "worker %d exited with status %d", (int)pid, WEXITSTATUS(status));
	else
		snprintf(w->last_exit, sizeof(w->last_exit), "worker %d was ended by signal %d (%s)", (int)pid, WTERMSIG(status),
			 strsignal(WTERMSIG(status)));
	finish(w, WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL, WIFEXITED(status) && WEXITSTATUS(status) == BROKER_NO_URING);
	worker_event(w, WORKER_EV_EXIT);
}

/* Of another daemon's child nobody tells how it ended, so none of its requests is blamed: another that dies of one is this daemon's own. */
static void on_adopted_end(struct ev_loop *loop, ev_io *io, int revents)
{
	struct worker *w = io->data;

	(void)loop;
	(void)revents;
	snprintf(w->last_exit, sizeof(w->last_exit), "worker %d, which an earlier nbdswapd had started, has ended", (int)w->pid);
	finish(w, true, false);
	worker_event(w, WORKER_EV_EXIT);
}

static void on_timer(struct ev_loop *loop, ev_timer *timer, int revents)
{
	struct worker *w = timer->data;
	bool failed = w->spawn_failed;

	(void)loop;
	(void)revents;
	if (w->unheard) {
		log_line(LOG_ERROR, "worker %d does not answer since it was taken over and is killed", (int)w->pid);
		kill_it(w);
		return;
	}
	w->spawn_failed = false;
	worker_event(w, failed ? WORKER_EV_EXIT : WORKER_EV_TIMER);
}

static void listen_to(struct worker *w, int sock)
{
	w->sock = sock;
	if (sock < 0)
		return; /* one that is ended for that */
	fcntl(sock, F_SETFL, O_NONBLOCK);
	ev_io_set(&w->io, w->sock, EV_READ);
	ev_io_start(w->loop, &w->io);
}

static int start(struct worker *w, struct errbuf *e)
{
	struct spawn s = { .conf = w->conf, .listen_fds = w->listen_fds, .nlisten = w->nlisten, .pool_fd = poolmem_fd(w->pool),
			   .pool_bytes = poolmem_common(w->pool) };
	int pair[2], gate;

	w->engine = w->conf->engine == ENGINE_NATIVE && !w->no_uring ? ENGINE_NATIVE : ENGINE_NBDKIT;
	s.engine = w->engine;
	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return err_errno(e, "starting a worker: socketpair");
	s.sock = pair[1];
	w->pid = spawn_worker(&s, &w->pidfd, &gate, e);
	close(pair[1]);
	if (w->pid < 0) {
		w->pid = 0;
		close(pair[0]);
		return -1;
	}
	w->epoch = 0;
	listen_to(w, pair[0]);
	ev_child_set(&w->child, w->pid, 0);
	ev_child_start(w->loop, &w->child);
	/* It does not begin before it would be found: there are never two. */
	if (sync_state(w)) {
		spawn_begin(gate);
	} else {
		log_line(LOG_ERROR, "worker %d is not let begin: what a successor of this nbdswapd needs to know of it cannot be written down; it is tried"
			 " again", (int)w->pid);
		close(gate);
	}
	return 0;
}

bool worker_serves(const struct worker *w)
{
	return w->sup.state == WORKER_READY && !w->unheard;
}

static enum worker_state state_left(enum worker_state state)
{
	switch (state) {
	case WORKER_STARTING:
	case WORKER_READY:
	case WORKER_RENEWING:
	case WORKER_KILLED:
		return state;
	case WORKER_DRAINING: /* the daemon was to stop, but this one is not */
		return WORKER_RENEWING;
	default:
		return WORKER_KILLED;
	}
}

void worker_adopt(struct worker *w, const struct worker_left *left, bool renew)
{
	w->sup.state = state_left(left->state);
	w->sup.ready_ms = left->ready_ms;
	w->pid = left->pid;
	w->pidfd = left->pidfd;
	w->engine = left->engine;
	w->epoch = left->epoch + 1;
	w->adopted = w->unheard = true;
	w->renew = renew || left->other_interface;
	ev_io_set(&w->end, w->pidfd, EV_READ);
	ev_io_start(w->loop, &w->end);
	listen_to(w, left->sock);
	if (w->sup.state == WORKER_KILLED) {
		kill_it(w);
		return;
	}
	/* One that drains answers when that is over. */
	arm(w, START_SECONDS + (w->sup.state == WORKER_RENEWING ? (double)w->conf->stop_timeout : 0));
	say_hello(w);
}

static void act(struct worker *w, unsigned actions)
{
	struct errbuf e;

	if (actions & WORKER_LATE)
		log_line(LOG_ERROR, "worker %d did not %s in time and is killed", (int)w->pid,
			 w->sup.state == WORKER_STARTING ? "become ready" : "finish its requests");
	if ((actions & WORKER_DISARM) && !w->spawn_failed) /* then the timer brings the end of what never began */
		ev_timer_stop(w->loop, &w->timer);
	if (actions & WORKER_KILL)
		kill_it(w);
	if (actions & WORKER_DIED)
		log_line(LOG_ERROR, "%s%s", w->last_exit, actions & WORKER_ARM_BACKOFF ? "; it is started again" : "");
	if (actions & WORKER_ARM_START)
		arm(w, START_SECONDS);
	if (actions & WORKER_ARM_BACKOFF)
		arm(w, w->sup.backoff_ms / 1000.);
	if (actions & WORKER_ARM_DRAIN)
		arm(w, (double)w->conf->stop_timeout);
	if (actions & WORKER_DRAIN)
		drain(w);
	if ((actions & WORKER_SPAWN) && start(w, &e) < 0) {
		snprintf(w->last_exit, sizeof(w->last_exit), "%.120s", e.text);
		w->spawn_failed = true;
		arm(w, 0.); /* reported from the loop, not from within */
	}
	if (actions & WORKER_GONE)
		w->ops->gone(w->arg);
}

void worker_event(struct worker *w, enum worker_event ev)
{
	act(w, supervisor_event(&w->sup, ev, now_ms()));
}

void worker_send(struct worker *w, json_t *msg, const int fds[], size_t nfds)
{
	CLEANUP_FREE char *text = json_dumps(msg, JSON_COMPACT);
	struct errbuf e = { .code = ENOMEM };

	json_decref(msg);
	if (w->sock < 0)
		return;
	sync_state(w);
	if (!text || fdmsg_send(w->sock, text, strlen(text), fds, nfds, &e) < 0) {
		if (e.code == EPIPE)
			return; /* its end will be reported */
		log_line(LOG_ERROR, "worker %d does not take a message and is killed: %s", (int)w->pid, e.text);
		kill_it(w);
	}
}

void worker_kill(struct worker *w, const char *why)
{
	if (w->pid <= 0)
		return;
	log_line(LOG_ERROR, "worker %d is killed: %s", (int)w->pid, why);
	kill_it(w);
}

const char *worker_program(const struct conf_server *conf)
{
	return conf->engine == ENGINE_NATIVE ? conf->native : conf->nbdkit;
}

const char *engine_name(enum conf_engine engine)
{
	return engine == ENGINE_NATIVE ? "native" : "nbdkit";
}

void worker_init(struct worker *w, struct ev_loop *loop, const struct worker_ops *ops, void *arg)
{
	memset(w, 0, sizeof(*w));
	w->loop = loop;
	w->ops = ops;
	w->arg = arg;
	w->sock = w->pidfd = -1;
	ev_init(&w->io, on_readable);
	ev_init(&w->end, on_adopted_end);
	ev_init(&w->timer, on_timer);
	ev_child_init(&w->child, on_child, 0, 0);
	w->io.data = w->end.data = w->timer.data = w->child.data = w;
}

void worker_set(struct worker *w, const struct conf_server *conf, const int *listen_fds, size_t nlisten)
{
	w->conf = conf;
	w->listen_fds = listen_fds;
	w->nlisten = nlisten;
}
