/* SPDX-License-Identifier: BSD-3-Clause */
/* One thread receives: answers are handed to the request that waits for them, commands are carried out.  Requests are made at
 * the beginning and the end of a session only, never while a page moves.
 */
#include "config.h"

#include "worker/broker_remote.h"

#include "common/broker.h"
#include "common/cleanup.h"
#include "store/sealkey.h"
#include "store/table.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <string.h>
#include <sys/socket.h>

/* A request that waits for its answer; lies on the stack of the thread that made it. */
struct pending {
	struct pending *next;
	json_int_t id;
	pthread_cond_t answered;
	json_t *request; /* to be asked again, of another daemon, with */
	int fd;		 /* -1: none */
	bool done;
	json_t *answer; /* NULL when the daemon went away */
	int fds[FDMSG_FDS];
	size_t nfds;
};

struct remote {
	int sock;
	bool allow_unlocked;
	struct remote_commands commands;
	json_t *warnings;
	pthread_mutex_t lock; /* all below */
	pthread_t receiver;
	bool running, gone;
	bool draining, drained; /* the receiver's alone */
	uint64_t locked_kib;
	json_int_t epoch; /* of the present daemon; 0: the one that started this worker */
	json_int_t last_id;
	struct pending *pending;
};

static void cleanup_json_(json_t **j)
{
	json_decref(*j);
}
#define CLEANUP_JSON __attribute__((cleanup(cleanup_json_)))

/* Takes message over; fd (-1: none) goes with it. */
static int send_with_fd(struct remote *r, json_t *message, int fd, struct errbuf *e)
{
	CLEANUP_JSON json_t *m = message;
	CLEANUP_FREE char *text = m ? json_dumps(m, JSON_COMPACT) : NULL;

	if (!text)
		return err_set(e, ENOMEM, "no memory for a message to nbdswapd");
	if (fdmsg_send(r->sock, text, strlen(text), &fd, fd >= 0, e) < 0)
		return err_prefix(e, "nbdswapd cannot be asked");
	return 0;
}

static int send_json(struct remote *r, json_t *message, struct errbuf *e)
{
	return send_with_fd(r, message, -1, e);
}

static void close_all(const int fds[], size_t n)
{
	for (size_t i = 0; i < n; i++)
		close(fds[i]);
}

/* Lock held, for these three. */
static void put_behind(struct remote *r, struct pending *p)
{
	struct pending **pp = &r->pending;

	while (*pp)
		pp = &(*pp)->next;
	*pp = p;
}

static void take_out(struct remote *r, const struct pending *p)
{
	struct pending **pp = &r->pending;

	while (*pp != p)
		pp = &(*pp)->next;
	*pp = p->next;
}

static int send_request(struct remote *r, const struct pending *p, struct errbuf *e)
{
	if (r->epoch)
		json_object_set_new(p->request, "epoch", json_integer(r->epoch));
	return send_with_fd(r, json_incref(p->request), p->fd, e);
}

/* Sends the request, with a descriptor or -1, and waits.  The answer (to be released) is one with "ok":true; its descriptors are in fds. */
static json_t *ask_with_fd(struct remote *r, json_t *request, int fd, int fds[FDMSG_FDS], size_t *nfds, struct errbuf *e)
{
	struct pending p = { .request = request, .fd = fd };
	const char *why;

	*nfds = 0;
	pthread_cond_init(&p.answered, NULL);
	pthread_mutex_lock(&r->lock);
	p.id = ++r->last_id;
	if (r->gone || !request || json_object_set_new(request, "id", json_integer(p.id)) < 0) {
		p.done = true;
	} else {
		put_behind(r, &p);
		if (send_request(r, &p, e) < 0) {
			take_out(r, &p);
			pthread_mutex_unlock(&r->lock);
			pthread_cond_destroy(&p.answered);
			json_decref(request);
			return NULL;
		}
	}
	while (!p.done)
		pthread_cond_wait(&p.answered, &r->lock);
	pthread_mutex_unlock(&r->lock);
	pthread_cond_destroy(&p.answered);
	json_decref(request);
	if (!p.answer) {
		err_set(e, EPIPE, "nbdswapd is gone; no new session can begin until it is back");
		return NULL;
	}
	if (!json_is_true(json_object_get(p.answer, "ok"))) {
		why = json_string_value(json_object_get(p.answer, "error"));
		err_set(e, json_is_true(json_object_get(p.answer, "again")) ? EAGAIN : EACCES, "%s", why ? why : "nbdswapd refused without a reason");
		close_all(p.fds, p.nfds);
		json_decref(p.answer);
		return NULL;
	}
	memcpy(fds, p.fds, sizeof(p.fds));
	*nfds = p.nfds;
	return p.answer;
}

static json_t *ask(struct remote *r, json_t *request, int fds[FDMSG_FDS], size_t *nfds, struct errbuf *e)
{
	return ask_with_fd(r, request, -1, fds, nfds, e);
}

/* If the daemon is gone there is nobody to tell. */
static void end_session(struct remote *r, json_int_t session, bool lost)
{
	int fds[FDMSG_FDS];
	size_t nfds;
	json_t *answer = ask(r, json_pack("{s:s, s:I, s:b}", "op", "close", "session", session, "lost", lost), fds, &nfds, NULL);

	close_all(fds, nfds);
	json_decref(answer);
}

/* Makes what this worker needs of the key that came as fd.  The key itself is not kept. */
static int unlock(const struct remote *r, struct table *table, int fd, struct errbuf *e)
{
	struct sealkey *key = sealkey_map(fd, r->allow_unlocked, e);
	int error = key ? table_unlock_seal(table, key, e) : -1;

	sealkey_free(key);
	return error;
}

/* Makes a grant of what the daemon says, with the descriptors file, table and perhaps key, which are taken over; memory is left to the
 * caller.  0 or -1 with *e.
 */
static int take_grant(struct remote *r, const json_t *message, const int fds[], size_t nfds, struct grant *out,
		      struct errbuf *e)
{
	const char *name = json_string_value(json_object_get(message, "name"));
	const char *backend = json_string_value(json_object_get(message, "backend"));
	json_int_t reserve = json_integer_value(json_object_get(message, "reserve"));
	enum backend_kind kind;

	if (nfds == 0) /* common/fdmsg.h */
		return err_set(e, EMFILE, "nbdswapd granted an export, but its descriptors did not come: too many files are open; raise the"
			       " limit (LimitNOFILE)");
	if (nfds < 2 || nfds > 3 || !name || !backend || backend_kind_of(backend, &kind) < 0 || export_name_check(name, NULL) < 0 ||
	    reserve < 0 || reserve > INT32_MAX) {
		close_all(fds, nfds);
		return err_set(e, EPROTO, "nbdswapd grants an export in a way this worker does not understand; are both of the"
			       " same version?");
	}
	*out = (struct grant){ .fd = fds[0], .kind = kind, .owned = true, .memory = -1, .reserve = (uint32_t)reserve,
			       .session = (uint64_t)json_integer_value(json_object_get(message, "session")),
			       .generation = { .activation = (uint64_t)json_integer_value(json_object_get(message, "activation")),
					       .lease = (uint64_t)json_integer_value(json_object_get(message, "lease")) } };
	strcpy(out->name, name);
	out->table = table_map(fds[1], r->allow_unlocked, e);
	if (out->table && nfds == 3 && unlock(r, out->table, fds[2], e) < 0) {
		table_free(out->table);
		out->table = NULL;
	}
	close_all(fds + 1, nfds - 1);
	if (!out->table)
		close(fds[0]);
	return out->table ? 0 : -1;
}

static int remote_open(void *self, const char *request, const struct peer *who, struct grant *out, struct errbuf *e)
{
	struct remote *r = self;
	int fds[FDMSG_FDS];
	size_t nfds;
	CLEANUP_JSON json_t *answer = NULL;
	bool live = who->sock >= 0;
	json_t *message, *session;
	int memory = -1;

	message = json_pack("{s:s, s:s, s:s, s:b}", "op", "open", "export", request, "peer", who->address, "tls", who->tls);
	if (!message)
		return err_set(e, EINVAL, "the export name is not valid UTF-8, or there is no memory");
	if (live)
		json_object_set_new(message, "live", json_true());
	answer = ask_with_fd(r, message, who->sock, fds, &nfds, e);
	if (!answer)
		return -1;
	session = json_object_get(answer, "session");
	if (live && nfds > 0)
		memory = fds[--nfds];
	if (take_grant(r, answer, fds, nfds, out, e) < 0) {
		if (memory >= 0)
			close(memory);
		if (session) /* or the client would hold the export for ever */
			end_session(r, json_integer_value(session), false);
		return -1;
	}
	out->memory = memory;
	return 0;
}

static void remote_close(void *self, const struct grant *g)
{
	end_session(self, (json_int_t)g->session, g->cut);
}

/* Without the daemon nobody can open it: that is waited for as for the file itself. */
static enum reopened remote_reopen(void *self, const char *name, int *fd, struct errbuf *e)
{
	int fds[FDMSG_FDS];
	size_t nfds;
	CLEANUP_JSON json_t *answer = ask(self, json_pack("{s:s, s:s}", "op", "reopen", "export", name), fds, &nfds, e);

	if (!answer)
		return e->code == EACCES ? REOPEN_LOST : REOPEN_LATER;
	if (nfds != 1) {
		close_all(fds, nfds);
		err_set(e, EPROTO, "nbdswapd answered reopen in a way this worker does not understand; are both of the same"
			" version?");
		return REOPEN_LATER;
	}
	*fd = fds[0];
	return REOPEN_SAME;
}

static int remote_list(void *self, list_fn *fn, void *arg, struct errbuf *e)
{
	int fds[FDMSG_FDS];
	size_t nfds, i;
	CLEANUP_JSON json_t *answer = ask(self, json_pack("{s:s}", "op", "list"), fds, &nfds, e);
	json_t *entry;

	if (!answer)
		return -1;
	json_array_foreach(json_object_get(answer, "exports"), i, entry) {
		const char *name = json_string_value(json_object_get(entry, "name"));

		if (name)
			fn(arg, name, json_string_value(json_object_get(entry, "description")));
	}
	return 0;
}

/* Hands an answer to its request.  Takes the message and the descriptors over. */
static void deliver(struct remote *r, json_t *message, const int fds[], size_t nfds)
{
	json_int_t id = json_integer_value(json_object_get(message, "id"));

	pthread_mutex_lock(&r->lock);
	for (struct pending **pp = &r->pending; *pp; pp = &(*pp)->next) {
		struct pending *p = *pp;

		if (p->id != id)
			continue;
		*pp = p->next;
		p->answer = message;
		memcpy(p->fds, fds, nfds * sizeof(int));
		p->nfds = nfds;
		p->done = true;
		pthread_cond_signal(&p->answered);
		pthread_mutex_unlock(&r->lock);
		return;
	}
	pthread_mutex_unlock(&r->lock);
	close_all(fds, nfds);
	json_decref(message);
}

/* Takes the descriptors over: socket, memory, file, table, [key]. */
static int take_session(struct remote *r, const json_t *message, const int fds[], size_t nfds, struct errbuf *e)
{
	const struct remote_commands *c = &r->commands;
	const char *peer = json_string_value(json_object_get(message, "peer"));
	struct grant g;

	if (!c->resume || nfds < 2) {
		close_all(fds, nfds);
		return c->resume ? err_set(e, EPROTO, "its socket and memory did not come; are too many files open (LimitNOFILE)?") :
				   err_set(e, EOPNOTSUPP, "this kind of worker cannot go on with another's sessions");
	}
	if (take_grant(r, message, fds + 2, nfds - 2, &g, e) < 0) {
		close_all(fds, 2);
		return -1;
	}
	g.memory = fds[1];
	g.blame = json_is_true(json_object_get(message, "blame"));
	g.lost = json_is_true(json_object_get(message, "lost"));
	return c->resume(c->arg, &g, fds[0], peer ? peer : "", e);
}

static void resume(struct remote *r, const json_t *message, const int fds[], size_t nfds)
{
	json_int_t session = json_integer_value(json_object_get(message, "session"));
	struct errbuf e = { .text = "" };
	bool ok = take_session(r, message, fds, nfds, &e) == 0;
	json_t *event = json_pack("{s:s, s:I, s:b}", "event", "resumed", "session", session, "ok", ok);

	if (!ok)
		json_object_set_new(event, "error", json_string(e.text)); /* left out when it is not UTF-8 */
	send_json(r, event, NULL);
}

static void ended(struct remote *r, json_int_t session)
{
	send_json(r, json_pack("{s:s, s:I}", "event", "ended", "session", session), NULL);
}

/* The sessions that this worker has, for a daemon that took it over. */
static json_t *list_sessions(struct remote *r)
{
	const struct remote_commands *c = &r->commands;
	size_t n = c->sessions(c->arg, NULL, 0), have;
	uint64_t *session = calloc(n + 1, sizeof(*session));
	json_t *list = json_array();

	/* None comes to them meanwhile: that takes an answer of the daemon's, which this thread would receive. */
	have = session ? c->sessions(c->arg, session, n) : 0;
	for (size_t i = 0; i < have && i < n; i++)
		json_array_append_new(list, json_integer((json_int_t)session[i]));
	free(session);
	return list;
}

/* Another daemon has taken the place of the last: what that one has not answered is asked again, and then all told that it may have
 * heard alone.
 */
static void hello(struct remote *r, json_int_t epoch)
{
	json_t *event = json_pack("{s:s, s:I, s:I, s:O}", "event", "here", "epoch", epoch, "locked_kib", (json_int_t)r->locked_kib, "warnings",
				  r->warnings);

	pthread_mutex_lock(&r->lock);
	r->epoch = epoch;
	for (const struct pending *p = r->pending; p; p = p->next)
		send_request(r, p, NULL);
	pthread_mutex_unlock(&r->lock);
	if (r->draining)
		json_object_set_new(event, "drained", json_boolean(r->drained));
	if (r->commands.sessions)
		json_object_set_new(event, "sessions", list_sessions(r));
	send_json(r, event, NULL);
}

/* Takes the descriptors over. */
static void command(struct remote *r, const char *cmd, json_t *message, const int fds[], size_t nfds)
{
	const struct remote_commands *c = &r->commands;

	if (strcmp(cmd, "resume") == 0) {
		resume(r, message, fds, nfds);
		return;
	}
	close_all(fds, nfds);

	if (strcmp(cmd, "drain") == 0) {
		int ms = (int)json_integer_value(json_object_get(message, "timeout_ms"));
		bool ok;

		r->draining = true;
		ok = c->drain(c->arg, ms);
		r->drained = ok;
		send_json(r, json_pack("{s:s, s:b}", "event", "drained", "ok", ok), NULL);
	} else if (strcmp(cmd, "hello") == 0) {
		hello(r, json_integer_value(json_object_get(message, "epoch")));
	} else if (strcmp(cmd, "forget") == 0) {
		const char *name = json_string_value(json_object_get(message, "export"));

		if (name && c->forget(c->arg, name))
			send_json(r, json_pack("{s:s, s:s}", "event", "forgotten", "export", name), NULL);
	} else if (strcmp(cmd, "complete") == 0 && c->complete) {
		const char *name = json_string_value(json_object_get(message, "export"));

		if (name)
			c->complete(c->arg, name);
	} else if (strcmp(cmd, "end") == 0 && c->end) {
		json_int_t session = json_integer_value(json_object_get(message, "session"));

		if (c->end(c->arg, (uint64_t)session))
			ended(r, session);
	}
}

static void daemon_gone(struct remote *r)
{
	struct pending *p;

	pthread_mutex_lock(&r->lock);
	r->gone = true;
	while ((p = r->pending)) {
		r->pending = p->next;
		p->done = true;
		pthread_cond_signal(&p->answered);
	}
	pthread_mutex_unlock(&r->lock);
	r->commands.orphaned(r->commands.arg, r->draining);
}

static void *receive(void *arg)
{
	struct remote *r = arg;
	CLEANUP_FREE char *text = malloc(FDMSG_MAX + 1);

	for (;;) {
		int fds[FDMSG_FDS];
		size_t nfds = 0;
		struct errbuf e;
		ssize_t n = text ? fdmsg_recv(r->sock, text, fds, &nfds, &e) : 0;
		json_t *message;
		const char *cmd;

		if (n < 0 && (e.code == EINTR || e.code == EMSGSIZE))
			continue;
		if (n <= 0)
			break;
		message = json_loadb(text, (size_t)n, 0, NULL);
		cmd = json_string_value(json_object_get(message, "cmd"));
		if (!cmd) {
			deliver(r, message, fds, nfds);
			continue;
		}
		command(r, cmd, message, fds, nfds);
		json_decref(message);
	}
	daemon_gone(r);
	return NULL;
}

static int remote_ready(void *self, uint64_t locked_kib, struct errbuf *e)
{
	struct remote *r = self;
	int code;

	r->locked_kib = locked_kib;
	code = pthread_create(&r->receiver, NULL, receive, r);

	if (code)
		return err_set(e, code, "cannot start the thread that listens to nbdswapd");
	r->running = true;
	return send_json(r, json_pack("{s:s, s:i, s:I, s:O}", "event", "ready", "pid", (int)getpid(), "locked_kib",
				      (json_int_t)locked_kib, "warnings", r->warnings), e);
}

static void remote_finish(void *self)
{
	struct remote *r = self;

	if (r->running) {
		shutdown(r->sock, SHUT_RDWR);
		pthread_join(r->receiver, NULL);
	}
	close(r->sock);
	json_decref(r->warnings);
	pthread_mutex_destroy(&r->lock);
	free(r);
}

void broker_remote_warn(struct broker *b, const char *text)
{
	struct remote *r = b->self;

	json_array_append_new(r->warnings, json_string(text));
}

void broker_remote_ended(struct broker *b, uint64_t session)
{
	ended(b->self, (json_int_t)session);
}

int broker_remote_log(struct broker *b, const char *priority, const char *text)
{
	return send_json(b->self, json_pack("{s:s, s:s, s:s}", "event", "log", "priority", priority, "text", text), NULL);
}

int broker_remote_create(int sock, bool allow_unlocked, const struct remote_commands *commands, struct broker *out,
			 struct errbuf *e)
{
	struct remote *r = calloc(1, sizeof(*r));

	if (!r || !(r->warnings = json_array())) {
		free(r);
		return err_set(e, ENOMEM, "no memory");
	}
	if (fcntl(sock, F_SETFD, FD_CLOEXEC) < 0) {
		json_decref(r->warnings);
		free(r);
		return err_errno(e, "broker=%d is not an open descriptor; it is for nbdswapd to give", sock);
	}
	r->sock = sock;
	r->allow_unlocked = allow_unlocked;
	r->commands = *commands;
	pthread_mutex_init(&r->lock, NULL);
	*out = (struct broker){ .self = r, .open = remote_open, .close = remote_close, .list = remote_list,
				.reopen = remote_reopen,
				.ready = remote_ready, .finish = remote_finish };
	return 0;
}
