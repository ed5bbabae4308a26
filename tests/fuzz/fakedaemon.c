/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/fuzz/fakedaemon.h"

#include "common/allow.h"
#include "common/fdmsg.h"
#include "server/engine/sessmem.h"
#include "tests/fuzz/fakeparts.h"
#include "tests/fuzz/fuzz.h"

#include <ev.h>
#include <sys/socket.h>
#include <sys/un.h>

/* Its parts are static: setup, begin and teardown are to be those of the daemon. */
static bool ended;
static void note_break(void)
{
	ended = true;
}
#define ev_break(loop, how) note_break()
#include "server/daemon.c"
#undef ev_break

#define CLIENTS 3
#define ANSWERS_MAX (1u << 20)

static struct client_end {
	int fd; /* -1: not connected */
	size_t requests, answers;
	bool filled;   /* the line that is being sent has something in it */
	size_t line;   /* its length so far */
	bool refused;  /* a line was too long: what follows it is not read */
	char *text;    /* what came, without whole lines */
	size_t have;
} ends[CLIENTS];

static struct daemon *d;
static size_t worker_requests, worker_answers;

/* An answer on the control socket, or progress. */
static void take_line(struct client_end *c, const char *line, size_t n)
{
	json_t *o = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL), *ok = json_object_get(o, "ok");

	promise(json_is_object(o), "the answer \"%.*s\" is not a JSON object", (int)n, line);
	if (!json_is_object(json_object_get(o, "progress"))) {
		promise(json_is_boolean(ok), "the answer \"%.*s\" does not say ok", (int)n, line);
		promise(json_is_true(ok) || json_object_get(o, "error"), "refused without a reason: %.*s", (int)n, line);
		c->answers++;
		promise(c->answers <= c->requests + c->refused, "%zu answers to %zu requests", c->answers, c->requests);
	}
	json_decref(o);
}

static void take_answers(struct client_end *c)
{
	char *newline;
	ssize_t n;

	while (c->fd >= 0 && (n = recv(c->fd, c->text + c->have, ANSWERS_MAX - c->have, MSG_DONTWAIT)) > 0) {
		c->have += (size_t)n;
		while ((newline = memchr(c->text, '\n', c->have))) {
			size_t used = (size_t)(newline - c->text) + 1;

			take_line(c, c->text, used - 1);
			memmove(c->text, newline + 1, c->have - used);
			c->have -= used;
		}
		promise(c->have < ANSWERS_MAX, "an answer of more than %u bytes", ANSWERS_MAX);
	}
}

/* A packet to the worker: a command, or an answer, which has descriptors when it grants an export, or a file that was opened anew. */
static void take_packet(const char *text, size_t n, size_t nfds)
{
	json_t *o = json_loadb(text, n, JSON_REJECT_DUPLICATES, NULL), *ok = json_object_get(o, "ok");
	const char *name = json_string_value(json_object_get(o, "name"));

	promise(json_is_object(o), "the worker gets \"%.*s\"", (int)n, text);
	if (json_object_get(o, "cmd")) {
		bool resume = strcmp(json_string_value(json_object_get(o, "cmd")), "resume") == 0;

		promise(resume ? nfds == 4 || nfds == 5 : nfds == 0, "a command with %zu descriptors", nfds);
	} else {
		promise(json_is_boolean(ok) && json_is_integer(json_object_get(o, "id")), "the worker gets \"%.*s\"", (int)n, text);
		promise(json_is_true(ok) || json_is_string(json_object_get(o, "error")), "refused without a reason");
		promise(json_object_get(o, "session") ? nfds >= 2 && nfds <= 4 : nfds <= json_is_true(ok), "%zu descriptors", nfds);
		promise(nfds < 2 || (name && exports_find(&d->exports, name)), "an export that is none is granted");
		worker_answers++;
	}
	json_decref(o);
}

static void take_packets(void)
{
	static char text[FDMSG_MAX + 1];
	int fds[FDMSG_FDS];
	struct errbuf e;
	size_t nfds, later = 0;
	ssize_t n;

	while (fake_worker_end >= 0 && (n = fdmsg_recv(fake_worker_end, text, fds, &nfds, &e)) > 0) {
		static const uint32_t begun = 1;

		/* Every session is at once one that can be kept. */
		if (nfds > 2 && strstr(text, "\"reserve\""))
			promise(pwrite(fds[nfds - 1], &begun, sizeof(begun), offsetof(struct sess_mem, begun)) == sizeof(begun), "no memory");
		for (size_t i = 0; i < nfds; i++)
			close(fds[i]);
		take_packet(text, (size_t)n, nfds);
	}
	for (const struct export *x = d->exports.first; x; x = x->next)
		later += x->reopen_id != 0;
	for (const struct waiting_open *w = d->sessions.opens; w; w = w->next)
		later++;
	promise(fake_worker_end < 0 || d->worker.sock < 0 || worker_answers + later == worker_requests,
		"%zu answers to %zu requests of the worker, %zu to come", worker_answers, worker_requests, later);
}

/* Who has a session has an export that is served, or is settled for it, and the lease counts it. */
static void check_sessions(void)
{
	for (const struct export *x = d->exports.first; x; x = x->next) {
		uint32_t n = 0, served = 0;

		for (const struct session *s = d->sessions.first; s; s = s->next) {
			n += s->x == x;
			served += s->x == x && s->place != SESSION_KEPT;
		}
		promise(x->lease.sessions == n, "%u sessions of %s, and its lease says %u", n, x->conf.name, x->lease.sessions);
		promise(n == 0 || x->state == EXPORT_READY || (served == 0 && x->state == EXPORT_SETTLING), "%s has sessions and is %s",
			x->conf.name, export_state_name(x));
		promise(x->state != EXPORT_READY || (x->backing && x->table), "%s is ready and has no file", x->conf.name);
		for (const struct export *y = d->exports.first; y != x; y = y->next)
			promise(x->state == EXPORT_DOWN || y->state == EXPORT_DOWN || strcmp(x->active_file, y->active_file) != 0,
				"%s and %s are active on one file", x->conf.name, y->conf.name);
	}
}

void fake_run(void)
{
	for (int i = 0; i < 4 && !ended; i++)
		ev_run(d->loop, EVRUN_NOWAIT);
	for (unsigned i = 0; i < CLIENTS; i++)
		take_answers(&ends[i]);
	take_packets();
	check_sessions();
}

bool fake_ended(void)
{
	return ended;
}

static void connect_control(struct client_end *c)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };

	strcpy(un.sun_path, d->conf->server.control);
	memset(c, 0, offsetof(struct client_end, text));
	c->have = 0;
	if (!c->text)
		c->text = malloc(ANSWERS_MAX);
	c->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	promise(connect(c->fd, (struct sockaddr *)&un, sizeof(un)) == 0, "nobody is at the control socket");
}

/* What of it counts as a request, as control.h has it. */
static void count_requests(struct client_end *c, const char *bytes, size_t n)
{
	for (size_t i = 0; i < n && !c->refused; i++) {
		if (bytes[i] == '\n') {
			c->requests += c->filled;
			c->filled = false;
			c->line = 0;
			continue;
		}
		c->filled |= !strchr(" \t\r", bytes[i]) || !bytes[i];
		c->refused = ++c->line >= CONTROL_LINE_MAX;
	}
}

void fake_control_send(unsigned client, const void *bytes, size_t n)
{
	struct client_end *c = &ends[client];
	size_t at = 0;

	if (c->fd < 0)
		connect_control(c);
	/* What the socket does not take when the daemon has done all it can is not sent; then it is not read either. */
	while (at < n) {
		ssize_t r = send(c->fd, (const char *)bytes + at, n - at, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (r <= 0)
			return;
		count_requests(c, (const char *)bytes + at, (size_t)r);
		at += (size_t)r;
		fake_run();
		if (ended)
			return;
	}
}

void fake_control_close(unsigned client)
{
	if (ends[client].fd >= 0)
		close(ends[client].fd);
	ends[client].fd = -1;
}

/* Is it one that is to be answered, as common/broker.h has it?  *bad: it has no id, so it need not be. */
static bool is_request(const void *bytes, size_t n, bool *bad)
{
	static const char *const events[] = { "ready", "drained", "log", "forgotten", "resumed", "ended" };
	json_t *o = json_loadb(bytes, n, 0, NULL);
	const char *event = json_string_value(json_object_get(o, "event"));
	bool known = false, is;

	for (size_t i = 0; event && i < sizeof(events) / sizeof(events[0]); i++)
		known |= strcmp(event, events[i]) == 0;
	is = !known && json_is_string(json_object_get(o, "op"));
	*bad = is && json_integer_value(json_object_get(o, "id")) == 0;
	json_decref(o);
	return is;
}

void fake_worker_send(const void *bytes, size_t n, size_t nfds)
{
	int pair[2], fds[FDMSG_FDS] = { 0 };
	bool bad, request = is_request(bytes, n, &bad), sent;

	/* A client's socket, should it be one for that. */
	promise(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0, "no socket pair");
	fds[0] = pair[0];
	sent = !bad && fake_worker_end >= 0 && fdmsg_send(fake_worker_end, bytes, n, fds, nfds, NULL) == 0;
	close(pair[0]);
	close(pair[1]);
	if (!sent)
		return;
	worker_requests += request;
	fake_run();
}

void fake_worker_exit(int status)
{
	struct worker *w = &d->worker;

	if (w->pid != FAKE_WORKER_PID)
		return;
	close(fake_worker_end);
	fake_worker_end = -1;
	worker_requests = worker_answers = 0;
	w->child.rstatus = status;
	ev_feed_event(d->loop, &w->child, EV_CHILD);
	fake_run();
}

void fake_worker_timer(void)
{
	struct worker *w = &d->worker;

	if (!ev_is_active(&w->timer))
		return;
	ev_timer_stop(d->loop, &w->timer);
	ev_invoke(d->loop, &w->timer, EV_TIMER);
	fake_run();
}

void fake_spawn_fails(bool fails)
{
	fake_spawn_refused = fails;
}

void fake_tick(bool late)
{
	for (struct export *x = d->exports.first; x && late; x = x->next)
		x->forget_until_ms = 0;
	for (struct waiting_open *w = d->sessions.opens; w && late; w = w->next)
		w->until_ms = 0;
	for (struct session *s = d->sessions.first; s && late; s = s->next)
		s->resume_until_ms = 0;
	ev_invoke(d->loop, &d->tick, EV_TIMER);
}

void fake_recheck(void)
{
	ev_invoke(d->loop, &d->recheck, EV_TIMER);
}

void fake_hup(void)
{
	ev_invoke(d->loop, &d->sighup, EV_SIGNAL);
}

void fake_term(void)
{
	ev_invoke(d->loop, &d->sigterm, EV_SIGNAL);
}

void fake_begin(void)
{
	struct conf_errors errors;
	struct takeover t = { .fd = -1 };
	char path[128];
	struct errbuf e;

	fuzz_dir();
	fake_files();
	fake_config(0);
	for (unsigned i = 0; i < CLIENTS; i++)
		ends[i].fd = -1;
	ended = fake_spawn_refused = false;
	worker_requests = worker_answers = 0;
	d = calloc(1, sizeof(*d));
	snprintf(path, sizeof(path), "%s/conf", fuzz_dir());
	d->conf = conf_load(path, &errors);
	promise(d->conf, "%s", errors.text[0]);
	d->conf->server.allow = ALLOW_MEMLOCK;
	promise(setup(d, &t, &e) == 0, "%s", e.text);
	begin(d, &t);
}

/* Answers that are owed: all of the requests (but to those who wait for a worker), once nothing is left to be waited for. */
static void settle_all(void)
{
	for (int i = 0; i < 100 && !ended; i++) {
		bool more = fake_job_run();

		more |= fake_job_done();
		fake_tick(true);
		fake_run();
		if (!more && exports_idle(&d->exports))
			break;
	}
	promise(ended || exports_idle(&d->exports), "jobs come without end");
	/* Whoever waits for an upgrade waits for what the worker does. */
	for (unsigned i = 0; i < CLIENTS && !ended && !d->stopping && d->reload == RELOAD_NONE; i++)
		promise(ends[i].fd < 0 || ends[i].refused || ends[i].answers == ends[i].requests, "%zu answers to %zu requests",
			ends[i].answers, ends[i].requests);
}

/* All jobs but walks over a table are their export's. */
static bool is_walk(const void *arg)
{
	for (const struct export *x = d->exports.first; x; x = x->next)
		if (arg == x)
			return false;
	return true;
}

/* What the process's end does away with when it is in too much of a hurry to do it itself. */
static void bury(void)
{
	fake_jobs_drop(is_walk);
	while (d->exports.first) {
		struct export *x = d->exports.first;

		table_free(x->table);
		table_free(x->new_table);
		backing_close(x->backing);
		backing_close(x->new_backing);
		exports_remove(&d->exports, x);
	}
	job_runner_free(d->exports.backends);
	job_runner_free(d->exports.checks);
	job_runner_free(d->exports.quick);
	holds_free(&d->sessions);
	poolmem_free(d->pool);
	json_decref(d->worker.warnings);
	conf_free(d->conf);
}

void fake_end(void)
{
	struct control_wait *w;

	if (!ended)
		settle_all();
	if (!ended && !d->stopping)
		fake_term();
	for (int i = 0; i < 10 && !ended; i++) {
		fake_run();
		fake_worker_exit(SIGKILL);
		settle_all();
	}
	promise(ended, "it does not stop");
	ev_signal_stop(d->loop, &d->sigterm);
	ev_signal_stop(d->loop, &d->sigint);
	ev_signal_stop(d->loop, &d->sighup);
	ev_timer_stop(d->loop, &d->tick);
	ev_timer_stop(d->loop, &d->recheck);
	ev_signal_stop(d->loop, &d->sigusr2);
	ev_prepare_stop(d->loop, &d->before_wait);
	ev_timer_stop(d->loop, &d->worker.timer);
	ev_io_stop(d->loop, &d->worker.io);
	ev_child_stop(d->loop, &d->worker.child);
	if (d->worker.sock >= 0)
		close(d->worker.sock);
	if (fake_worker_end >= 0)
		close(fake_worker_end);
	fake_worker_end = -1;
	d->sessions.closing = true;
	opens_worker_died(&d->sessions);
	livesessions_end_all(&d->sessions);
	while ((w = d->waits)) {
		d->waits = w->next;
		free(w);
	}
	if (!teardown(d))
		bury();
	for (unsigned i = 0; i < CLIENTS; i++) {
		take_answers(&ends[i]);
		fake_control_close(i);
	}
	free(d);
	d = NULL;
}
