/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/daemon.h"

#include "common/allow.h"
#include "common/exitcodes.h"
#include "server/deactivate.h"
#include "server/holds.h"
#include "server/log.h"
#include "server/opens.h"
#include "server/ops.h"
#include "server/ops_pages.h"
#include "server/protect.h"
#include "server/reload.h"
#include "server/status.h"
#include "server/takeover.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <time.h>

#define BACKEND_JOBS_MAX (4 * CONF_EXPORTS_MAX) /* of an export that is to go and one that comes: a scrub and another job each */
#define QUICK_JOBS_MAX 16
#define RECHECK_SECONDS 60.
#define RELOAD_SECONDS 10 /* a successor waits so long for its exports before it looks for changes of the configuration */

/* Sessions that are to outlive a worker have two descriptors each here, exports up to four, and the worker inherits the limit. */
static void raise_descriptor_limit(const struct conf *c)
{
	rlim_t needed = 64 + 2 * c->server.connections + 4 * c->nexports;
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		return;
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_max < needed)
		log_line(LOG_WARN, "%llu sessions and %zu exports may need %llu open files and the limit is %llu; raise it (LimitNOFILE)",
			 (unsigned long long)c->server.connections, c->nexports, (unsigned long long)needed,
			 (unsigned long long)limit.rlim_max);
}

/* Tells the service manager when there is something new; before every wait of the loop. */
static void notify(struct daemon *d)
{
	char text[sizeof(d->notified)];
	int r;

	status_line(d, text, sizeof(text));
	if (strcmp(text, d->notified) == 0)
		return;
	strcpy(d->notified, text);
	r = sd_notifyf(0, "STATUS=%s", text);
	if (r < 0 && !d->unheard) {
		d->unheard = true;
		log_line(LOG_WARN, "whoever is to start this daemon again when it dies (the keeper, or another service manager) is not there: %s;"
			 " it goes on without", strerror(-r));
	}
}

static void before_wait(struct ev_loop *loop, ev_prepare *w, int revents)
{
	(void)loop;
	(void)revents;
	reload_worker_check(w->data);
	keep_sync(w->data);
	exports_known(&((struct daemon *)w->data)->exports);
	notify(w->data);
}

static void on_worker_message(void *arg, const json_t *msg, const int fds[], size_t nfds)
{
	struct daemon *d = arg;

	sessions_message(&d->sessions, msg, fds, nfds);
}

static void on_worker_ready(void *arg)
{
	struct daemon *d = arg;

	sessions_go_on(&d->sessions);
	if (d->ready)
		return;
	d->ready = true;
	sd_notify(0, "READY=1");
	log_line(LOG_NOTE, "ready");
}

static void on_worker_died(void *arg, const struct worker_end *end)
{
	struct daemon *d = arg;

	sessions_worker_died(&d->sessions, end);
	reload_worker_died(d);
}

static void on_worker_gone(void *arg)
{
	struct daemon *d = arg;

	d->ending = true;
	livesessions_end_all(&d->sessions); /* those that were kept for a worker that will not come */
	for (struct export *x = d->exports.first; x; x = x->next)
		if (x->state == EXPORT_READY)
			export_release(x);
	daemon_step(d);
}

static bool on_sync(void *arg)
{
	return keep_sync(arg);
}

static const struct worker_ops worker_ops = { on_worker_message, on_worker_ready, on_worker_died, on_worker_gone, on_sync };

static void on_progress(void *arg, struct export *x)
{
	ops_progress(arg, x);
}

static void on_activated(void *arg, struct export *x)
{
	struct daemon *d = arg;

	ops_activated(d, x);
	if (d->ending && x->state == EXPORT_READY)
		export_release(x);
	else if (x->removed && x->state == EXPORT_READY)
		sessions_release(&d->sessions, x);
	else if (x->removed && x->state == EXPORT_DOWN)
		exports_remove(&d->exports, x);
	if (!d->stopping)
		exports_unblock(&d->exports); /* it may have failed, and its file be free */
	daemon_step(d);
}

static void on_released(void *arg, struct export *x)
{
	struct daemon *d = arg;

	holds_export_released(&d->sessions, x);
	if (x->again && !d->stopping && !x->removed) {
		export_activate(x, x->provision, x->force);
		return;
	}
	deactivate_released(d, x);
	ops_activated(d, x); /* nobody is to wait for what will not come */
	if (x->removed)
		exports_remove(&d->exports, x);
	if (!d->stopping)
		exports_unblock(&d->exports);
	daemon_step(d);
}

static void on_settled(void *arg, struct export *x)
{
	struct daemon *d = arg;

	if (d->ending)
		export_release(x);
	else
		sessions_settled(&d->sessions, x);
	daemon_step(d);
}

/* Nobody may have heard of it, or its worker may have died, since its last daemon did. */
static void on_adopted(void *arg, struct export *x, const struct adopting *a)
{
	struct daemon *d = arg;

	if (x->state == EXPORT_DOWN) {
		if (a->marking && !d->stopping && !x->removed)
			exports_provide(x);
		else
			on_released(d, x);
		return;
	}
	/* Nothing tells a worker that serves it, and what is there now may be somebody else's.  The next one hears that it is lost. */
	if (x->used && a->lost.code)
		worker_kill(&d->worker, "it has a file that was lost while there was no nbdswapd");
	if (d->ending || a->release) {
		export_release(x);
	} else if (x->dirty && a->forget) {
		export_release(x);
	} else if (x->dirty) {
		sessions_settle(&d->sessions, x);
	} else if (a->forget) {
		sessions_release(&d->sessions, x);
	} else {
		table_set_retry_time(x->table, (uint32_t)x->conf.retry_time);
		livesessions_resume(&d->sessions);
	}
	daemon_step(d);
}

static void on_reopened(void *arg, struct export *x)
{
	struct daemon *d = arg;

	sessions_reopened(&d->sessions, x);
}

static void on_kept(void *arg)
{
	struct daemon *d = arg;

	opens_complete(&d->sessions);
}

static void on_loaded(void *arg, struct export *x)
{
	(void)x;
	keep_sync(arg);
}

static void on_counted(void *arg)
{
	ops_counted(arg);
}

static void on_scrub_progress(void *arg, struct export *x)
{
	ops_scrub_progress(arg, x);
}

static void on_scrubbed(void *arg, struct export *x)
{
	ops_scrubbed(arg, x);
}

static const struct exports_ops exports_ops = {
	on_progress, on_activated, on_released, on_settled, on_reopened, on_counted, on_scrub_progress, on_scrubbed,
	on_adopted, on_kept, on_loaded,
};

/* The end of stopping: all exports have been released. */
void daemon_step(struct daemon *d)
{
	if (!d->ending)
		return;
	for (const struct export *x = d->exports.first; x; x = x->next)
		if (x->state != EXPORT_DOWN)
			return;
	ev_break(d->loop, EVBREAK_ALL);
}

/* Somebody is in a hurry: what has not been released stays marked in use. */
static void give_up(struct daemon *d)
{
	for (const struct export *x = d->exports.first; x; x = x->next)
		if (x->state != EXPORT_DOWN)
			log_line(LOG_ERROR, "export %s was not ended (%s); its pages are lost", x->conf.name, export_state_name(x));
	d->exit_code = EX_FAIL;
	d->hurried = true;
	ev_break(d->loop, EVBREAK_ALL);
}

void daemon_stop(struct daemon *d)
{
	if (d->stopping++ == 0) {
		log_line(LOG_NOTE, "stopping");
		sd_notify(0, "STOPPING=1");
		d->sessions.closing = true;
		exports_interrupt(&d->exports);
	} else if (d->ending) {
		give_up(d);
		return;
	}
	worker_event(&d->worker, WORKER_EV_STOP);
}

int daemon_leave(struct daemon *d, struct errbuf *e)
{
	if (!d->keep.on)
		return err_set(e, ENOTSUP, "nobody would start nbdswapd again and keep its workers for it: neither a service manager nor the keeper is"
			       " there");
	if (d->stopping)
		return err_set(e, ESHUTDOWN, "the daemon is stopping");
	if (sd_notify(0, "STATUS=leaving") <= 0)
		return err_set(e, ENOTSUP, "whoever was to start nbdswapd again is not there any more");
	keep_sync(d);
	log_line(LOG_NOTE, "leaving; the worker goes on");
	d->leaving = true;
	d->exit_code = EX_RENEW;
	ev_break(d->loop, EVBREAK_ALL);
	return 0;
}

static void on_leave_signal(struct ev_loop *loop, ev_signal *w, int revents)
{
	struct errbuf e;

	(void)loop;
	(void)revents;
	if (daemon_leave(w->data, &e) < 0)
		log_line(LOG_ERROR, "told to leave (SIGUSR2), and it stays: %s", e.text);
}

static void on_stop_signal(struct ev_loop *loop, ev_signal *w, int revents)
{
	(void)loop;
	(void)revents;
	daemon_stop(w->data);
}

static void on_hup(struct ev_loop *loop, ev_signal *w, int revents)
{
	struct daemon *d = w->data;
	struct timespec ts;

	(void)loop;
	(void)revents;
	clock_gettime(CLOCK_MONOTONIC, &ts);
	if (d->ready)
		sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%llu",
			   (unsigned long long)ts.tv_sec * 1000000 + (unsigned long long)ts.tv_nsec / 1000);
	json_decref(daemon_reload(d));
	if (d->ready)
		sd_notify(0, "READY=1");
}

/* Of what was taken over is all known, as far as it does not take too long? */
static bool looked_at(const struct daemon *d)
{
	for (const struct export *x = d->exports.first; x; x = x->next)
		if (x->state == EXPORT_ADOPTING)
			return time(NULL) - d->started >= RELOAD_SECONDS;
	return true;
}

static void on_tick(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct daemon *d = w->data;

	(void)loop;
	(void)revents;
	exports_try_again(&d->exports);
	if (d->stopping)
		return;
	exports_retry(&d->exports);
	sessions_tick(&d->sessions);
	deactivate_tick(d);
	if (d->took_over && looked_at(d)) {
		d->took_over = false;
		json_decref(daemon_reload(d));
	}
}

static void on_recheck(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct daemon *d = w->data;

	(void)loop;
	(void)revents;
	for (struct export *x = d->exports.first; x && !d->stopping; x = x->next)
		export_recheck(x);
}

/* The keeper starts the daemon with these blocked, so that one that comes before there is a handler waits and does not kill. */
static void let_signals_in(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

static void start_watchers(struct daemon *d)
{
	ev_signal_init(&d->sigterm, on_stop_signal, SIGTERM);
	ev_signal_init(&d->sigint, on_stop_signal, SIGINT);
	ev_signal_init(&d->sighup, on_hup, SIGHUP);
	ev_signal_init(&d->sigusr2, on_leave_signal, SIGUSR2);
	d->sigterm.data = d->sigint.data = d->sighup.data = d->sigusr2.data = d;
	ev_signal_start(d->loop, &d->sigterm);
	ev_signal_start(d->loop, &d->sigint);
	ev_signal_start(d->loop, &d->sighup);
	ev_signal_start(d->loop, &d->sigusr2);
	let_signals_in();
	ev_timer_init(&d->tick, on_tick, 1., 1.);
	ev_timer_init(&d->recheck, on_recheck, RECHECK_SECONDS, RECHECK_SECONDS);
	d->tick.data = d->recheck.data = d;
	ev_timer_start(d->loop, &d->tick);
	ev_timer_start(d->loop, &d->recheck);
	ev_prepare_init(&d->before_wait, before_wait);
	d->before_wait.data = d;
	ev_prepare_start(d->loop, &d->before_wait);
}

static int setup(struct daemon *d, struct takeover *t, struct errbuf *e)
{
	const struct conf_server *s = &d->conf->server;

	d->loop = ev_default_loop(EVFLAG_AUTO | EVFLAG_NOENV);
	if (!d->loop)
		return err_set(e, EIO, "the event loop cannot be made");
	if (protect_process(s->allow, "", e) < 0)
		return -1;
	raise_descriptor_limit(d->conf);
	/* Before there is a second one of anything. */
	d->control = control_create(d->loop, s->control, ops_request, d, e);
	if (!d->control)
		return -1;
	takeover_begin(t);
	d->pool = takeover_pool(t, s->allow & ALLOW_MEMLOCK);
	if (t->failed.code) {
		*e = t->failed;
		return -1;
	}
	if (listeners_prepare(s, &t->listeners, &d->listeners, e) < 0)
		return -1;
	if (!d->pool)
		d->pool = poolmem_create(s->pool, s->allow & ALLOW_MEMLOCK, e);
	d->exports = (struct exports){ .ops = &exports_ops, .arg = d, .allow_unlocked = s->allow & ALLOW_MEMLOCK, .pool = d->pool };
	d->exports.backends = job_runner_create(d->loop, BACKEND_JOBS_MAX, e);
	d->exports.checks = job_runner_create(d->loop, QUICK_JOBS_MAX, e);
	d->exports.quick = job_runner_create(d->loop, QUICK_JOBS_MAX, e);
	if (fdstore_there() && keep_begin(&d->keep, t->fd, e) < 0) {
		log_line(LOG_WARN, "%s; should nbdswapd die, nobody takes over from it", e->text);
		e->code = 0;
	}
	return d->pool && d->exports.backends && d->exports.checks && d->exports.quick ? 0 : -1;
}

/* -1 with t->failed. */
static int begin(struct daemon *d, struct takeover *t)
{
	start_watchers(d);
	d->sessions = (struct sessions){ .exports = &d->exports, .worker = &d->worker, .resumption = { .ms = -1 } };
	worker_init(&d->worker, d->loop, &worker_ops, d);
	d->worker.pool = d->pool;
	worker_set(&d->worker, &d->conf->server, d->listeners.fd, d->listeners.count);
	if (takeover_run(t, d)) {
		listeners_close_others(&t->listeners, &d->listeners);
		return 0;
	}
	if (t->failed.code)
		return -1;
	worker_event(&d->worker, WORKER_EV_START);
	for (size_t i = 0; i < d->conf->nexports; i++)
		exports_provide(exports_add(&d->exports, &d->conf->exports[i]));
	return 0;
}

/* false: helper threads are still at work, and nothing of theirs was taken away. */
static bool teardown(struct daemon *d)
{
	if (d->stop_client && d->exit_code != EX_OK_)
		control_refuse(d->control, d->stop_client, "it was told to end at once, and exports were not ended: their pages are lost;"
			       " its log says which");
	else if (d->stop_client)
		control_answer(d->control, d->stop_client, json_pack("{s:b}", "ok", 1));
	control_free(d->control);
	if (d->leaving)
		return false;
	keep_end(&d->keep);
	for (size_t i = 0; i < d->listeners.count; i++) {
		close(d->listeners.fd[i]);
		listen_unlink(&d->listeners.addr[i]);
	}
	if (d->hurried)
		return false;
	while (d->exports.first)
		exports_remove(&d->exports, d->exports.first);
	job_runner_free(d->exports.backends);
	job_runner_free(d->exports.checks);
	job_runner_free(d->exports.quick);
	holds_free(&d->sessions);
	poolmem_free(d->pool);
	json_decref(d->worker.warnings);
	conf_free(d->conf);
	return true;
}

static int failed_code(int error)
{
	switch (error) {
	case EADDRINUSE:
		return EX_BUSY;
	case EPERM: /* of a capability; a port below 1024 is EACCES, a limit on locked memory one of the others */
	case EACCES:
	case ENOMEM:
	case EAGAIN:
		return EX_PRIV;
	}
	return EX_FAIL;
}

int daemon_run(struct conf *conf)
{
	struct daemon *d = calloc(1, sizeof(*d));
	struct errbuf e = { .code = 0 };
	struct takeover t = { .fd = -1 };
	int code;

	if (!d)
		abort();
	d->conf = conf;
	d->started = time(NULL);
	if (setup(d, &t, &e) < 0 && !t.failed.code) {
		log_line(LOG_ERROR, "%s", e.text);
		d->exit_code = failed_code(e.code);
		/* What a predecessor left stays for the next one. */
		d->leaving = d->keep.on || t.state;
	} else if (t.failed.code || begin(d, &t) < 0) {
		log_line(LOG_ERROR, "what an earlier nbdswapd left cannot be taken over just now, and is left to the next one: %s", t.failed.text);
		d->exit_code = EX_FAIL; /* to be started again, whatever it was for want of */
		d->leaving = true;
	} else {
		ev_run(d->loop, 0);
		if (!d->leaving)
			log_line(LOG_NOTE, "stopped");
	}
	code = d->exit_code;
	if (teardown(d))
		free(d);
	return code;
}
