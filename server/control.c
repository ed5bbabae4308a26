/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/control.h"

#include "common/cleanup.h"
#include "server/jsontext.h"
#include "server/listen.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define OUT_SOFT_MAX (64u << 10) /* no more progress is put behind that much */
#define OUT_MAX (8u << 20)	 /* a client that far behind is cut */
#define NO_DESCRIPTORS_S 1. /* accept failed: tried again after that, for the listening socket stays ready */

struct client {
	struct control *control;
	struct client *next;
	uint64_t id;
	int fd;
	bool busy; /* a request is being worked on; the next line waits */
	bool eof;     /* it sends no more, but may wait for answers */
	bool closing; /* nothing more is served; closed when all output is out */
	ev_io in, out;
	ev_timer idle;
	char *buf; /* CONTROL_LINE_MAX bytes */
	size_t have;
	char *pending; /* output */
	size_t pending_len, pending_size;
};

struct control {
	struct ev_loop *loop;
	struct listen_addr addr;
	int fd;
	ev_io io;
	ev_timer again; /* io is stopped until then */
	control_fn fn;
	void *arg;
	struct client *clients;
	unsigned count;
	uint64_t last_id;
};

static void client_free(struct client *c)
{
	struct client **p;

	for (p = &c->control->clients; *p != c; p = &(*p)->next)
		;
	*p = c->next;
	c->control->count--;
	ev_io_stop(c->control->loop, &c->in);
	ev_io_stop(c->control->loop, &c->out);
	ev_timer_stop(c->control->loop, &c->idle);
	close(c->fd);
	free(c->buf);
	free(c->pending);
	free(c);
}

static struct client *find(struct control *control, uint64_t id)
{
	for (struct client *c = control->clients; c; c = c->next)
		if (c->id == id)
			return c;
	return NULL;
}

/* Sends what the socket takes; false when the client is gone. */
static bool flush(struct client *c)
{
	while (c->pending_len > 0) {
		ssize_t n = send(c->fd, c->pending, c->pending_len, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0)
			return false;
		memmove(c->pending, c->pending + n, c->pending_len - (size_t)n);
		c->pending_len -= (size_t)n;
	}
	return true;
}

/* Puts a line behind the output; the loop sends it. */
static void queue(struct client *c, json_t *obj)
{
	CLEANUP_FREE char *text = json_dumps(obj, JSON_COMPACT);
	size_t len = text ? strlen(text) : 0;

	json_decref(obj);
	if (!text || c->pending_len + len + 1 > OUT_MAX) {
		shutdown(c->fd, SHUT_RDWR); /* it is closed when the loop sees that */
		return;
	}
	if (c->pending_len + len + 1 > c->pending_size) {
		char *grown = realloc(c->pending, c->pending_len + len + 1);

		if (!grown)
			abort();
		c->pending = grown;
		c->pending_size = c->pending_len + len + 1;
	}
	memcpy(c->pending + c->pending_len, text, len);
	c->pending[c->pending_len + len] = '\n';
	c->pending_len += len + 1;
	ev_io_start(c->control->loop, &c->out);
}

void control_progress(struct control *control, uint64_t id, json_t *obj)
{
	struct client *c = find(control, id);

	if (c && c->pending_len < OUT_SOFT_MAX)
		queue(c, json_pack("{s:o}", "progress", obj));
	else
		json_decref(obj);
}

void control_answer(struct control *control, uint64_t id, json_t *obj)
{
	struct client *c = find(control, id);

	if (!c) {
		json_decref(obj);
		return;
	}
	c->busy = false;
	ev_timer_again(control->loop, &c->idle);
	queue(c, obj);
	/* The next line may have arrived already. */
	ev_feed_event(control->loop, &c->in, EV_CUSTOM);
}

void control_refuse(struct control *control, uint64_t id, const char *fmt, ...)
{
	char text[2048];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	control_answer(control, id, json_pack("{s:b, s:o}", "ok", 0, "error", json_text(text)));
}

static void serve_line(struct client *c, char *line, size_t len)
{
	struct control *control = c->control;
	uint64_t id = c->id;
	json_error_t error;
	json_t *req;

	c->busy = true;
	req = json_loadb(line, len, JSON_REJECT_DUPLICATES, &error);
	if (!req)
		control_refuse(control, id, "not JSON: %s", error.text);
	else if (!json_is_object(req))
		control_refuse(control, id, "a request is a JSON object, such as {\"op\":\"status\"}");
	else
		control->fn(control->arg, id, req);
	json_decref(req);
}

/* Serves complete lines, one after the other. */
static void serve(struct client *c)
{
	char *newline;

	while (!c->busy && !c->closing && (newline = memchr(c->buf, '\n', c->have))) {
		size_t used = (size_t)(newline - c->buf) + 1;
		CLEANUP_FREE char *line = strndup(c->buf, used - 1);
		size_t len = line ? strlen(line) : 0;

		if (!line)
			abort();
		memmove(c->buf, c->buf + used, c->have - used);
		c->have -= used;
		if (len + 1 < used) {
			c->busy = true;
			control_refuse(c->control, c->id, "not JSON: the line has a NUL byte");
		} else if (strspn(line, " \t\r") < len) {
			serve_line(c, line, len);
		}
	}
	if (c->have == CONTROL_LINE_MAX && !memchr(c->buf, '\n', c->have) && !c->closing) {
		control_refuse(c->control, c->id, "the request is longer than %d bytes; the connection is closed",
			       CONTROL_LINE_MAX);
		c->closing = true;
	}
}

/* Frees a client that nothing is to be done for any more. */
static void end_if_done(struct client *c)
{
	bool no_more = c->closing || (c->eof && !memchr(c->buf, '\n', c->have));

	if (no_more && !c->busy && c->pending_len == 0)
		client_free(c);
}

static void on_out(struct ev_loop *loop, ev_io *io, int revents)
{
	struct client *c = io->data;

	(void)revents;
	if (!flush(c)) {
		client_free(c);
		return;
	}
	if (c->pending_len > 0)
		return;
	ev_io_stop(loop, io);
	end_if_done(c);
}

/* Reads once; false when the client has been freed. */
static bool receive(struct client *c)
{
	size_t room = CONTROL_LINE_MAX - c->have;
	char drop[4096];
	ssize_t n;

	if (c->closing) /* so that it gets round to reading why */
		n = recv(c->fd, drop, sizeof(drop), MSG_DONTWAIT);
	else
		n = recv(c->fd, c->buf + c->have, room, MSG_DONTWAIT);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n < 0) {
		client_free(c);
		return false;
	}
	if (n == 0)
		c->eof = true;
	else if (!c->closing)
		c->have += (size_t)n;
	ev_timer_again(c->control->loop, &c->idle);
	return true;
}

static void on_in(struct ev_loop *loop, ev_io *io, int revents)
{
	struct client *c = io->data;

	if ((revents & EV_READ) && (c->closing || c->have < CONTROL_LINE_MAX) && !receive(c))
		return;
	serve(c);
	/* A full buffer waits until the request at hand is done. */
	if (c->eof || (c->have == CONTROL_LINE_MAX && !c->closing))
		ev_io_stop(loop, io);
	else
		ev_io_start(loop, io);
	end_if_done(c);
}

static void on_idle(struct ev_loop *loop, ev_timer *timer, int revents)
{
	struct client *c = timer->data;

	(void)loop;
	(void)revents;
	if (!c->busy)
		client_free(c);
}

static bool peer_allowed(int fd)
{
	struct ucred cred;
	socklen_t len = sizeof(cred);

	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) == 0 && (cred.uid == 0 || cred.uid == geteuid());
}

static void turn_away(int fd, const char *line)
{
	/* Best effort: it is turned away all the same. */
	if (send(fd, line, strlen(line), MSG_NOSIGNAL | MSG_DONTWAIT) < 0)
		return;
}

static void on_accept(struct ev_loop *loop, ev_io *io, int revents)
{
	struct control *control = io->data;
	CLEANUP_CLOSE int fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct client *c;

	(void)revents;
	if (fd < 0) {
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
			ev_io_stop(loop, io);
			ev_timer_set(&control->again, NO_DESCRIPTORS_S, 0.);
			ev_timer_start(loop, &control->again);
		}
		return;
	}
	if (!peer_allowed(fd)) {
		turn_away(fd, "{\"ok\":false,\"error\":\"only root and the daemon's user may use this socket\"}\n");
		return;
	}
	if (control->count == CONTROL_CLIENTS_MAX) {
		turn_away(fd, "{\"ok\":false,\"error\":\"too many connections to the control socket; try again\"}\n");
		return;
	}
	c = calloc(1, sizeof(*c));
	if (!c || !(c->buf = malloc(CONTROL_LINE_MAX)))
		abort();
	c->control = control;
	c->id = ++control->last_id;
	c->fd = steal_fd(&fd);
	c->next = control->clients;
	control->clients = c;
	control->count++;
	ev_io_init(&c->in, on_in, c->fd, EV_READ);
	ev_io_init(&c->out, on_out, c->fd, EV_WRITE);
	ev_init(&c->idle, on_idle);
	c->idle.repeat = CONTROL_IDLE_SECONDS;
	c->in.data = c->out.data = c->idle.data = c;
	ev_io_start(loop, &c->in);
	ev_timer_again(loop, &c->idle);
}

static void on_again(struct ev_loop *loop, ev_timer *timer, int revents)
{
	struct control *control = timer->data;

	(void)revents;
	ev_io_start(loop, &control->io);
}

static int make_directory(const char *path, struct errbuf *e)
{
	char copy[PATH_MAX], *dir;

	snprintf(copy, sizeof(copy), "%s", path);
	dir = dirname(copy);
	if (mkdir(dir, 0755) < 0 && errno != EEXIST)
		return err_errno(e, "the control socket's directory %s cannot be made", dir);
	return 0;
}

struct control *control_create(struct ev_loop *loop, const char *path, control_fn fn, void *arg, struct errbuf *e)
{
	CLEANUP_FREE struct control *c = calloc(1, sizeof(*c));
	char text[LISTEN_TEXT];
	mode_t mask;

	if (!c)
		abort();
	snprintf(text, sizeof(text), "unix:%s", path);
	if (make_directory(path, e) < 0 || listen_parse(text, &c->addr, e) < 0)
		return NULL;
	mask = umask(0177);
	c->fd = listen_open(&c->addr, e);
	umask(mask);
	if (c->fd < 0) {
		err_prefix(e, "the control socket");
		return NULL;
	}
	c->loop = loop;
	c->fn = fn;
	c->arg = arg;
	ev_io_init(&c->io, on_accept, c->fd, EV_READ);
	ev_init(&c->again, on_again);
	c->io.data = c->again.data = c;
	ev_io_start(loop, &c->io);
	return steal_ptr(&c);
}

void control_free(struct control *c)
{
	if (!c)
		return;
	ev_io_stop(c->loop, &c->io);
	ev_timer_stop(c->loop, &c->again);
	while (c->clients) {
		flush(c->clients);
		client_free(c->clients);
	}
	close(c->fd);
	listen_unlink(&c->addr);
	free(c);
}
