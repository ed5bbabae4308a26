/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/session.h"

#include <errno.h>
#include <libnbd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

struct session {
	struct nbd_handle *nbd;
};

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* libnbd's words without the name of the call in front. */
static const char *nbd_words(void)
{
	const char *text = nbd_get_error();
	const char *colon = text ? strstr(text, ": ") : NULL;

	return colon && strncmp(text, "nbd_", 4) == 0 ? colon + 2 : text ? text : "unknown error";
}

/* Drives the connection until ready(h) or the limit.  0, -1 on error or time out (errno ETIMEDOUT). */
static int drive(struct nbd_handle *h, int (*ready)(struct nbd_handle *))
{
	uint64_t end = now_ns() + SESSION_STEP_MS * 1000000ull;

	while (!ready(h)) {
		uint64_t now = now_ns();

		if (nbd_aio_is_dead(h) || nbd_aio_is_closed(h)) {
			errno = ENOTCONN;
			return -1;
		}
		if (now >= end) {
			errno = ETIMEDOUT;
			return -1;
		}
		if (nbd_poll(h, (int)((end - now) / 1000000) + 1) < 0)
			return -1;
	}
	return 0;
}

static int negotiating_or_over(struct nbd_handle *h)
{
	return nbd_aio_is_negotiating(h) || nbd_aio_is_ready(h);
}

static int connect_server(struct nbd_handle *h, const struct nbd_uri *uri, struct errbuf *e)
{
	int rc = uri->socket[0] ? nbd_aio_connect_unix(h, uri->socket)
				: nbd_aio_connect_tcp(h, uri->host, uri->port);

	if (rc == 0 && drive(h, negotiating_or_over) == 0) {
		if (nbd_aio_is_negotiating(h))
			return 0;
		return err_set(e, EPROTO, "%s: the server speaks only the oldest form of NBD", uri->text);
	}
	if (errno == ETIMEDOUT)
		return err_set(e, ETIMEDOUT,
			       "%s: the server does not answer within %d s; is it NBD that listens there?",
			       uri->text, SESSION_STEP_MS / 1000);
	return err_set(e, nbd_get_errno() ? nbd_get_errno() : EIO,
		       "%s: no connection to the server: %s; is it running, and is the port open?", uri->text,
		       nbd_words());
}

struct option_answer {
	bool done;
	int error;
};

static int on_option(void *arg, int *error)
{
	struct option_answer *a = arg;

	a->done = true;
	a->error = *error;
	return 1;
}

/* Sends NBD_OPT_INFO or _GO for this name.  0 when the server agrees; -1 with *error otherwise. */
static int ask(struct nbd_handle *h, const char *name, bool go, int *error)
{
	struct option_answer answer = { 0 };
	nbd_completion_callback done = { .callback = on_option, .user_data = &answer };
	int rc;

	*error = EIO;
	if (nbd_set_export_name(h, name) < 0)
		return -1;
	rc = go ? nbd_aio_opt_go(h, done) : nbd_aio_opt_info(h, done);
	if (rc < 0 || drive(h, negotiating_or_over) < 0) {
		*error = errno ? errno : EIO;
		return -1;
	}
	*error = answer.error;
	return answer.done && !answer.error ? 0 : -1;
}

struct offer {
	const char *name;
	bool found;
	unsigned count;
	char names[200];
};

static int on_export(void *arg, const char *name, const char *description)
{
	struct offer *o = arg;
	size_t n = strlen(o->names);

	(void)description;
	if (!*name) /* the default export, which swap never asks for */
		return 0;
	if (strcmp(name, o->name) == 0)
		o->found = true;
	if (o->count < 8)
		snprintf(o->names + n, sizeof(o->names) - n, "%s%s", o->count ? ", " : "", name);
	o->count++;
	return 0;
}

static void list_exports(struct nbd_handle *h, struct offer *o)
{
	struct option_answer answer = { 0 };
	nbd_list_callback each = { .callback = on_export, .user_data = o };
	nbd_completion_callback done = { .callback = on_option, .user_data = &answer };

	if (nbd_aio_opt_list(h, each, done) < 0 || drive(h, negotiating_or_over) < 0 || answer.error)
		o->count = 0;
}

static struct nbd_handle *new_handle(struct errbuf *e)
{
	struct nbd_handle *h = nbd_create();

	if (!h || nbd_set_opt_mode(h, true) < 0 || nbd_set_full_info(h, true) < 0 || nbd_set_tls(h, 0) < 0) {
		err_set(e, ENOMEM, "libnbd does not start: %s", nbd_words());
		nbd_close(h);
		return NULL;
	}
	return h;
}

static void collect_facts(struct nbd_handle *h, struct export_facts *f)
{
	int64_t size = nbd_get_size(h);
	int64_t min = nbd_get_block_size(h, LIBNBD_SIZE_MINIMUM),
		max = nbd_get_block_size(h, LIBNBD_SIZE_MAXIMUM);
	char *description = nbd_get_export_description(h);

	if (description)
		generation_of_description(description, &f->generation);
	free(description);
	f->size = size > 0 ? (uint64_t)size : 0;
	f->block_min = min > 0 ? (uint64_t)min : 0;
	f->block_max = max > 0 ? (uint64_t)max : 0;
	f->read_only = nbd_is_read_only(h) == 1;
	f->flush = nbd_can_flush(h) == 1;
	f->trim = nbd_can_trim(h) == 1;
	f->zero = nbd_can_zero(h) == 1;
	f->multi_conn = nbd_can_multi_conn(h) == 1;
}

static enum open_result refused(struct nbd_handle *h, const struct nbd_uri *uri, const char *words, int error,
				struct errbuf *e)
{
	struct offer offer = { .name = uri->export };

	if (!nbd_aio_is_negotiating(h)) {
		err_set(e, ENOTCONN, "%s: the connection ended during the negotiation: %s", uri->text, words);
		return OPEN_FAILED;
	}
	list_exports(h, &offer);
	if (offer.found) {
		err_set(e, error,
			"%s: the server offers this export but refuses it to this machine: another client uses "
			"it, or the server's rules do not allow it; its log says which",
			uri->text);
		return OPEN_REFUSED;
	}
	if (offer.count)
		err_set(e, ENOENT, "%s: the server has no export \"%s\"; it offers: %s%s", uri->text,
			uri->export, offer.names, offer.count > 8 ? " ..." : "");
	else
		err_set(e, ENOENT,
			"%s: the server does not give out an export \"%s\" (%s); its log may say why",
			uri->text, uri->export, words);
	return OPEN_NO_EXPORT;
}

/* Finds the name that the server agrees to; leaves it in facts->request. */
static int agree_name(struct nbd_handle *h, const struct nbd_uri *uri, const char *client_id,
		      struct export_facts *facts, char *words, size_t size, int *error)
{
	if (client_id[0]) {
		snprintf(facts->request, sizeof(facts->request), "%s?client=%s", uri->export, client_id);
		facts->identified = true;
		if (ask(h, facts->request, false, error) == 0)
			return 0;
		snprintf(words, size, "%s", nbd_words());
		if (!nbd_aio_is_negotiating(h))
			return -1;
	}
	snprintf(facts->request, sizeof(facts->request), "%s", uri->export);
	facts->identified = false;
	if (ask(h, facts->request, false, error) == 0)
		return 0;
	snprintf(words, size, "%s", nbd_words());
	return -1;
}

enum open_result session_open(const struct nbd_uri *uri, const char *client_id, struct session **out,
			      struct export_facts *facts, struct errbuf *e)
{
	struct nbd_handle *h = new_handle(e);
	enum open_result result = OPEN_UNREACHABLE;
	char words[256] = "";
	int error = 0;

	*out = NULL;
	memset(facts, 0, sizeof(*facts));
	if (!h)
		return OPEN_FAILED;
	if (connect_server(h, uri, e) < 0)
		goto out;
	if (agree_name(h, uri, client_id, facts, words, sizeof(words), &error) < 0) {
		result = refused(h, uri, words, error, e);
		goto out;
	}
	if (ask(h, facts->request, true, &error) < 0 || !nbd_aio_is_ready(h)) {
		snprintf(words, sizeof(words), "%s", nbd_words());
		result = refused(h, uri, words, error, e);
		goto out;
	}
	collect_facts(h, facts);
	*out = calloc(1, sizeof(**out));
	if (!*out) {
		err_set(e, ENOMEM, "no memory for a connection");
		result = OPEN_FAILED;
		goto out;
	}
	(*out)->nbd = h;
	return OPEN_OK;
out:
	nbd_close(h);
	return result;
}

bool session_server_knows_clients(const struct nbd_uri *uri)
{
	char name[EXPORT_REQUEST_MAX];
	struct nbd_handle *h = new_handle(NULL);
	bool knows = false;
	int error;

	if (!h)
		return false;
	snprintf(name, sizeof(name), "%s?client=", uri->export);
	if (connect_server(h, uri, NULL) == 0)
		knows = ask(h, name, false, &error) < 0 && nbd_aio_is_negotiating(h);
	nbd_close(h);
	return knows;
}

/* Waits for one request.  cookie < 0: it could not be sent. */
static int finish(struct session *s, int64_t cookie, uint64_t began, uint64_t *ns, const char *what,
		  struct errbuf *e)
{
	uint64_t end = began + SESSION_STEP_MS * 1000000ull;
	int rc;

	if (cookie < 0)
		return err_set(e, nbd_aio_is_ready(s->nbd) ? nbd_get_errno() : ENOTCONN, "%s: %s", what,
			       nbd_words());
	while ((rc = nbd_aio_command_completed(s->nbd, (uint64_t)cookie)) == 0) {
		uint64_t now = now_ns();

		if (now >= end)
			return err_set(e, ETIMEDOUT, "%s: no answer within %d s", what, SESSION_STEP_MS / 1000);
		if (nbd_poll(s->nbd, (int)((end - now) / 1000000) + 1) < 0)
			return err_set(e, ENOTCONN, "%s: the connection is lost: %s", what, nbd_words());
	}
	if (ns)
		*ns = now_ns() - began;
	if (rc < 0) {
		int code = nbd_get_errno();

		return err_set(e, code ? code : EIO, "%s: the server answers: %s", what,
			       strerror(code ? code : EIO));
	}
	return 0;
}

int session_read(struct session *s, void *buf, size_t count, uint64_t offset, uint64_t *ns, struct errbuf *e)
{
	uint64_t began = now_ns();
	int64_t cookie = nbd_aio_pread(s->nbd, buf, count, offset, NBD_NULL_COMPLETION, 0);

	return finish(s, cookie, began, ns, "read", e);
}

int session_write(struct session *s, const void *buf, size_t count, uint64_t offset, uint64_t *ns,
		  struct errbuf *e)
{
	uint64_t began = now_ns();
	int64_t cookie = nbd_aio_pwrite(s->nbd, buf, count, offset, NBD_NULL_COMPLETION, 0);

	return finish(s, cookie, began, ns, "write", e);
}

int session_trim(struct session *s, uint64_t count, uint64_t offset, struct errbuf *e)
{
	return finish(s, nbd_aio_trim(s->nbd, count, offset, NBD_NULL_COMPLETION, 0), now_ns(), NULL, "discard",
		      e);
}

int session_flush(struct session *s, struct errbuf *e)
{
	return finish(s, nbd_aio_flush(s->nbd, NBD_NULL_COMPLETION, 0), now_ns(), NULL, "flush", e);
}

void session_close(struct session *s)
{
	if (!s)
		return;
	/* A polite end; the answer to it is not awaited. */
	if (nbd_aio_is_ready(s->nbd))
		nbd_aio_disconnect(s->nbd, 0);
	nbd_close(s->nbd);
	free(s);
}
