/* SPDX-License-Identifier: BSD-3-Clause */
/* The worker's end of the broker (fuzz-control has the daemon's).  The input is a list of pieces with 0xff between them; the first byte of
 * a piece says what happens:
 *   o c l r the worker opens the export that the rest names, closes it, lists, has its file opened anew;  v: opens it, live
 *   0 to 4 the daemon's next packet, with so many descriptors: a file, a table, more files;  5: two files, no table;
 *   6 7    a file, a sealed table, its key;  without the key
 *   8 9    two files, a file, a table;  two files, a file, a sealed table, its key: as a session is handed down
 *   n      what follows are the packets to the next request;  g  the daemon goes away instead of answering
 * To each request the daemon sends the packets that are next; a request that none of them answers is refused.
 */
#include "config.h"

#include "tests/fuzz/fuzz.h"

#include "common/broker.h"
#include "worker/broker_remote.h"
#include "store/sealkey.h"
#include "store/table.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct daemon_end {
	int sock;
	const uint8_t *at, *end; /* pieces that are left */
} theirs;
static int file = -1, table = -1, sealed = -1;
static struct sealkey *key; /* for sealed; its owner would wipe it */

/* The next piece; false at the end. */
static bool next_piece(const uint8_t **at, const uint8_t *end, char *what, const uint8_t **rest, size_t *n)
{
	const uint8_t *next;

	while (*at < end && **at == 0xff)
		++*at;
	if (*at >= end)
		return false;
	next = memchr(*at, 0xff, (size_t)(end - *at));
	if (!next)
		next = end;
	*what = (char)**at;
	*rest = *at + 1;
	*n = (size_t)(next - *rest);
	*at = next;
	return true;
}

/* What the daemon says to a request. false: it goes. */
static bool answer(json_int_t id)
{
	const uint8_t *rest;
	char what, refusal[64];
	size_t n;

	while (next_piece(&theirs.at, theirs.end, &what, &rest, &n)) {
		bool handed = what == '8' || what == '9';
		int fds[FDMSG_FDS] = { file, what == '5' || handed ? file : what > '5' ? sealed : table,
				       what == '6' ? sealkey_fd(key) : file, what == '9' ? sealed : what == '8' ? table : file,
				       sealkey_fd(key), file };
		size_t nfds = what == '5' || what == '7' ? 2 : what == '6' ? 3 : what == '8' ? 4 : what == '9' ? 5 : (size_t)(what - '0');

		if (what == 'g')
			return false;
		if (what == 'n')
			break;
		if (what >= '0' && what <= '9')
			fdmsg_send(theirs.sock, (const char *)rest, n, fds, nfds, NULL);
	}
	n = (size_t)snprintf(refusal, sizeof(refusal), "{\"id\":%lld,\"ok\":false,\"error\":\"no\"}", (long long)id);
	fdmsg_send(theirs.sock, refusal, n, NULL, 0, NULL);
	return true;
}

static void *daemon_thread(void *arg)
{
	static char text[FDMSG_MAX + 1];
	int fds[FDMSG_FDS];
	struct errbuf e;
	size_t nfds;
	ssize_t n;

	while ((n = fdmsg_recv(theirs.sock, text, fds, &nfds, &e)) > 0) {
		json_t *o = json_loadb(text, (size_t)n, JSON_REJECT_DUPLICATES, NULL), *id = json_object_get(o, "id");
		bool go_on = true;

		promise(json_is_object(o) && nfds == json_is_true(json_object_get(o, "live")), "the daemon gets \"%s\" with %zu"
			" descriptors", text, nfds);
		for (size_t i = 0; i < nfds; i++)
			close(fds[i]);
		promise(json_is_string(json_object_get(o, id ? "op" : "event")), "the daemon gets \"%s\"", text);
		if (id)
			go_on = answer(json_integer_value(id));
		json_decref(o);
		if (!go_on)
			break;
	}
	shutdown(theirs.sock, SHUT_RDWR);
	return NULL;
}

static bool drain(void *arg, int timeout_ms)
{
	return timeout_ms >= 0;
}

static bool forget(void *arg, const char *name)
{
	promise(name, "nothing is to be forgotten");
	return *name;
}

static void orphaned(void *arg)
{
	++*(int *)arg;
}

static void check_grant(const struct grant *g);

static int resume(void *arg, struct grant *g, int sock, const char *peer, struct errbuf *e)
{
	promise(g->memory >= 0 && (fcntl(sock, F_GETFD) & FD_CLOEXEC), "a session that is handed down in part");
	promise(peer, "a client without a name");
	check_grant(g);
	close(sock);
	return g->session % 2 ? 0 : err_set(e, EIO, "not this one");
}

static void complete(void *arg, const char *name)
{
	promise(name, "the sessions of nothing are complete");
}

static bool end(void *arg, uint64_t session)
{
	return session % 2;
}

static void listed(void *arg, const char *name, const char *description)
{
	promise(name && strlen(name) < FDMSG_MAX && (!description || strlen(description) < FDMSG_MAX), "not a list");
}

static void check_grant(const struct grant *g)
{
	struct errbuf e;

	promise(export_name_check(g->name, &e) == 0, "the name of a grant: %s", e.text);
	promise(fcntl(g->fd, F_GETFD) & FD_CLOEXEC, "the file's descriptor is handed on to children");
	promise(g->table && table_pages(g->table) == 3, "another table");
	promise(g->owned, "nobody owns it");
	close(g->fd);
	table_free(g->table);
	if (g->memory >= 0)
		close(g->memory);
}

static void reopen(struct broker *b, const char *name)
{
	struct errbuf e = { .code = 0 };
	int fd = -1;

	if (b->reopen(b->self, name, &fd, &e) == REOPEN_SAME) {
		promise(fcntl(fd, F_GETFD) & FD_CLOEXEC, "the file's descriptor is handed on to children");
		close(fd);
	} else {
		promise(e.code && fd < 0, "refused without a reason");
	}
}

static void requests(struct broker *b, const uint8_t *at, const uint8_t *end)
{
	static const struct peer peers[] = { { .address = "10.0.0.1:5", .sock = -1 }, { .address = "unix", .sock = STDERR_FILENO } };
	struct grant g = { .session = 1 };
	const uint8_t *rest;
	unsigned made = 0;
	struct errbuf e;
	char what;
	size_t n;

	while (made < 20 && next_piece(&at, end, &what, &rest, &n)) {
		char *name = strndup((const char *)rest, n);

		e.code = 0;
		if ((what == 'o' || what == 'v') && b->open(b->self, name, &peers[what == 'v'], &g, &e) == 0)
			check_grant(&g);
		else if (what == 'o' || what == 'v')
			promise(e.code, "refused without a reason");
		else if (what == 'c')
			b->close(b->self, &g);
		else if (what == 'l' && b->list(b->self, listed, NULL, &e) < 0)
			promise(e.code, "refused without a reason");
		else if (what == 'r')
			reopen(b, name);
		made += strchr("oclrv", what) != NULL;
		free(name);
	}
}

static void make_files(void)
{
	struct errbuf e;
	struct table_spec spec = { .pages = 3 };
	struct table *t = table_create(&spec, PAGE_FRESH, true, &e), *s;
	struct sealkey *master = sealkey_create_ephemeral(true, &e);
	char path[FUZZ_PATH];

	spec.seal = PAGE_SEAL_AES_256_GCM;
	s = table_create(&spec, PAGE_FRESH, true, &e);
	key = master ? sealkey_derive(master, spec.uuid, spec.activation, true, &e) : NULL;
	promise(t && s && key, "%s", e.text);
	table = dup(table_fd(t));
	sealed = dup(table_fd(s));
	sealkey_free(master);
	table_free(t);
	table_free(s);
	memory_file(&file, "no table", 8, path);
}

static int lowest_free(void)
{
	int fd = dup(STDERR_FILENO);

	close(fd);
	return fd;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	int pair[2], free_before, gone = 0;
	struct remote_commands commands = { .arg = &gone, .drain = drain, .forget = forget, .orphaned = orphaned, .resume = resume,
					    .complete = complete, .end = end };
	struct broker b;
	struct errbuf e;
	pthread_t thread;

	if (file < 0)
		make_files();
	free_before = lowest_free();
	promise(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) == 0, "no socket pair");
	theirs = (struct daemon_end){ pair[0], data, data + size };
	promise(broker_remote_create(pair[1], true, &commands, &b, &e) == 0, "%s", e.text);
	broker_remote_warn(&b, "a warning");
	promise(pthread_create(&thread, NULL, daemon_thread, NULL) == 0, "no thread");
	promise(b.ready(b.self, 100, &e) == 0, "%s", e.text);
	requests(&b, data, data + size);
	b.finish(b.self);
	pthread_join(thread, NULL);
	close(pair[0]);
	promise(gone == 1, "told %d times that the daemon is gone", gone);
	promise(lowest_free() == free_before, "descriptor %d is left open", free_before);
	return 0;
}
