/* SPDX-License-Identifier: BSD-3-Clause */
/* A native worker that moves no pages, to see what the daemon does: it talks to the daemon as the engine does, and with its clients in lines of
 * text.
 *
 *   open NAME     begins a session, live; answered "ok SESSION GENERATION" or "no REASON"
 *   who           answered "PID COUNT SOCKET MEMORY": how many times it was asked in this session, in whatever worker (the count lies in the
 *                 session's memory, where the engine has that of its replies), and the inodes of the session's socket and memory
 *
 * Files in the directory FAKE_DIR say how it behaves: no-uring (it cannot run here), refuse-resume, silent-resume (never answered), slow-end (the
 * answer to end waits until the file is gone), never-ready, slow-drain (never done).  What the daemon asks is written to FAKE_DIR/asked.
 */
#include "config.h"

#include "common/broker.h"
#include "common/exitcodes.h"
#include "server/engine/buffers.h"
#include "server/engine/sessmem.h"
#include "store/page.h"
#include "worker/broker_remote.h"
#include "worker/exports.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

static struct broker broker;
static struct exports *exports;

struct conversation {
	struct conversation *next;
	int sock;
	struct session *session; /* NULL: not yet */
	uint64_t received;	 /* bytes, whole lines only */
	struct sess_mem *mem;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* the list, and session of each */
static struct conversation *conversations;

static bool told_to(const char *file)
{
	char path[256];

	snprintf(path, sizeof(path), "%s/%s", getenv("FAKE_DIR"), file);
	return access(path, F_OK) == 0;
}

static void note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void note(const char *fmt, ...)
{
	char path[256];
	va_list ap;
	FILE *f;

	snprintf(path, sizeof(path), "%s/asked", getenv("FAKE_DIR"));
	f = fopen(path, "ae");
	if (!f)
		return;
	va_start(ap, fmt);
	vfprintf(f, fmt, ap);
	va_end(ap);
	fputc('\n', f);
	fclose(f);
}

static unsigned long inode(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? 0 : (unsigned long)st.st_ino;
}

static void begin(struct conversation *c, const char *name, FILE *out)
{
	struct peer who = { .address = "10.0.0.1:5", .sock = c->sock };
	struct session *s;
	struct errbuf e;

	note("opens %s", name);
	s = exports_open_session(exports, name, &who, &e);
	if (!s) {
		fprintf(out, "no %s\n", e.text);
		return;
	}
	note("opened %s", name);
	c->mem = sessmem_map(s->grant.memory, true, &e);
	if (!c->mem) {
		fprintf(out, "no %s\n", e.text);
		return;
	}
	sessmem_begin(c->mem, 0, 0, "", 0);
	pthread_mutex_lock(&lock);
	c->session = s;
	pthread_mutex_unlock(&lock);
	fprintf(out, "ok %llu gen=%llu&lease=%llu\n", (unsigned long long)s->grant.session, (unsigned long long)s->grant.generation.activation,
		(unsigned long long)s->grant.generation.lease);
}

static void finish(struct conversation *c)
{
	struct conversation **p;

	pthread_mutex_lock(&lock);
	for (p = &conversations; *p != c; p = &(*p)->next)
		;
	*p = c->next;
	pthread_mutex_unlock(&lock);
	shutdown(c->sock, SHUT_RDWR);
	if (c->session)
		exports_close_session(exports, c->session);
	sessmem_unmap(c->mem);
	free(c);
}

/* A byte at a time: what is not asked for yet stays in the socket. */
static bool read_line(int sock, char *line, size_t size, uint64_t *received)
{
	size_t n = 0;

	while (n < size - 1) {
		ssize_t r = read(sock, &line[n], 1);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			return false;
		if (line[n] == '\n')
			break;
		n++;
	}
	line[n] = '\0';
	*received += n + 1;
	return true;
}

static void *converse(void *arg)
{
	struct conversation *c = arg;
	int sock = c->sock;
	FILE *out = fdopen(sock, "w");
	char line[512];

	while (read_line(sock, line, sizeof(line), &c->received)) {
		if (strncmp(line, "open ", 5) == 0)
			begin(c, line + 5, out);
		else if (c->mem)
			fprintf(out, "%d %llu %lu %lu\n", (int)getpid(), (unsigned long long)++c->mem->head, inode(sock),
				inode(c->session->grant.memory));
		if (c->mem)
			c->mem->parsed = c->received;
		fflush(out);
	}
	finish(c);
	fclose(out);
	return NULL;
}

static struct conversation *start(int sock, struct session *s, struct sess_mem *mem)
{
	struct conversation *c = calloc(1, sizeof(*c));
	pthread_t thread;

	c->sock = sock;
	c->session = s;
	c->mem = mem;
	c->received = mem ? (uint64_t)mem->parsed : 0;
	pthread_mutex_lock(&lock);
	c->next = conversations;
	conversations = c;
	pthread_mutex_unlock(&lock);
	if (pthread_create(&thread, NULL, converse, c) != 0)
		abort();
	pthread_detach(thread);
	return c;
}

/* ---- what the daemon asks ---- */

static bool drain(void *arg, int timeout_ms)
{
	(void)arg;
	note("drain");
	while (told_to("slow-drain"))
		usleep(20000);
	return exports_drain(exports, timeout_ms);
}

static bool forget(void *arg, const char *name)
{
	(void)arg;
	note("forget %s", name);
	return exports_forget(exports, name);
}

static void complete(void *arg, const char *name)
{
	(void)arg;
	note("complete %s", name);
}

static void orphaned(void *arg, bool draining)
{
	(void)arg;
	(void)draining;
	_exit(0);
}

static int resume(void *arg, struct grant *g, int sock, const char *peer, struct errbuf *e)
{
	struct session *s;
	struct sess_mem *mem;

	(void)arg;
	note("resume %llu %s from %s reserve %u blame %d", (unsigned long long)g->session, g->name, peer, g->reserve, g->blame);
	while (told_to("silent-resume"))
		usleep(20000);
	s = exports_resume_session(exports, g, e);
	if (!s) {
		close(sock);
		return -1;
	}
	mem = told_to("refuse-resume") ? (err_set(e, EIO, "the fake engine was told to refuse"), NULL) :
					 sessmem_map(s->grant.memory, true, e);
	if (!mem) { /* it keeps the socket, so that only a shutdown reaches the client */
		exports_drop_session(exports, s);
		return -1;
	}
	start(sock, s, mem);
	return 0;
}

static void *end_slowly(void *arg)
{
	uint64_t *session = arg;

	while (told_to("slow-end"))
		usleep(20000);
	note("ended %llu", (unsigned long long)*session);
	broker_remote_ended(&broker, *session);
	free(session);
	return NULL;
}

static bool end(void *arg, uint64_t session)
{
	uint64_t *number = malloc(sizeof(*number));
	pthread_t thread;

	(void)arg;
	note("end %llu", (unsigned long long)session);
	pthread_mutex_lock(&lock);
	for (struct conversation *c = conversations; c; c = c->next)
		if (c->session && c->session->grant.session == session && !told_to("slow-end"))
			shutdown(c->sock, SHUT_RDWR);
	pthread_mutex_unlock(&lock);
	*number = session;
	if (pthread_create(&thread, NULL, end_slowly, number) != 0)
		abort();
	pthread_detach(thread);
	return false;
}

static size_t sessions(void *arg, uint64_t *out, size_t max)
{
	(void)arg;
	return exports_list_sessions(exports, out, max);
}

static void say(enum notice_priority priority, const char *text)
{
	static const char *const names[] = { [NOTICE_INFO] = "info", [NOTICE_WARNING] = "warning", [NOTICE_ERROR] = "err" };

	broker_remote_log(&broker, names[priority], text);
}

static long argument(int argc, char **argv, const char *name)
{
	size_t n = strlen(name);

	for (int i = 1; i < argc; i++)
		if (strncmp(argv[i], name, n) == 0 && argv[i][n] == '=')
			return atol(argv[i] + n + 1);
	return -1;
}

int main(int argc, char **argv)
{
	struct remote_commands commands = { .drain = drain, .forget = forget, .orphaned = orphaned, .resume = resume,
					    .complete = complete, .end = end, .sessions = sessions };
	struct exports_options o = { .broker = &broker, .allow_unlocked = true, .say = say };
	long sock = argument(argc, argv, "broker"), pool_fd = argument(argc, argv, "pool-fd");
	struct stat st;
	struct errbuf e;

	signal(SIGPIPE, SIG_IGN);
	if (told_to("no-uring"))
		return BROKER_NO_URING;
	while (told_to("never-ready"))
		usleep(20000);
	if (fstat((int)pool_fd, &st) < 0 || st.st_size < argument(argc, argv, "pool"))
		return EX_USAGE_;
	note("started with %s LISTEN_FDS, %ld connections, a pool of %ld", getenv("LISTEN_FDS"), argument(argc, argv, "connections"),
	     argument(argc, argv, "pool"));
	o.pool = pool_create(256, true, &e);
	exports = o.pool ? exports_create(&o, &e) : NULL;
	if (!exports || broker_remote_create((int)sock, true, &commands, &broker, &e) < 0 || broker.ready(broker.self, 0, &e) < 0) {
		fprintf(stderr, "fake-engine: %s\n", e.text);
		return EX_FAIL;
	}
	for (;;) {
		int fd = accept4(3, NULL, NULL, SOCK_CLOEXEC);

		if (fd >= 0)
			start(fd, NULL, NULL);
	}
}
