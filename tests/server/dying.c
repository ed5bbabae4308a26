/* SPDX-License-Identifier: BSD-3-Clause */
/* What makes nbdswapd-dies of nbdswapd: it kills itself at the instant that is asked for.  Instants are the moments before and after each step by
 * which the daemon leaves something to its successor or tells its worker something.  The file NBDSWAP_DIE_FILE holds which: "N", counted from
 * the file's appearance; or "N WHEN WHAT", counted among those of that name.  It is removed then, and the instant's name added to
 * NBDSWAP_DIE_FILE.done.
 *
 * And where the file NBDSWAP_DIE_FILE.no-table is, the next page table cannot be mapped for want of memory, which removes it; while
 * NBDSWAP_DIE_FILE.no-text is there, what a successor needs to know cannot be written.
 */
#include "config.h"

#include "common/fdmsg.h"
#include "server/fdstore.h"
#include "server/spawn.h"
#include "server/statefile.h"
#include "store/backing.h"
#include "store/table.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int __real_fdstore_put(int fd, const char *name, struct errbuf *e);
void __real_fdstore_remove(const char *name);
int __real_statefile_write(int fd, const char *text, size_t bytes, struct errbuf *e);
int __real_fdmsg_send(int sock, const char *text, size_t len, const int fds[], size_t nfds, struct errbuf *e);
pid_t __real_spawn_worker(const struct spawn *s, int *pidfd, int *gate, struct errbuf *e);
void __real_spawn_begin(int gate);
int __real_backing_mark(struct backing *b, struct table *table, struct errbuf *e);
int __wrap_backing_mark(struct backing *b, struct table *table, struct errbuf *e);
int __wrap_fdstore_put(int fd, const char *name, struct errbuf *e);
void __wrap_fdstore_remove(const char *name);
int __wrap_statefile_write(int fd, const char *text, size_t bytes, struct errbuf *e);
int __wrap_fdmsg_send(int sock, const char *text, size_t len, const int fds[], size_t nfds, struct errbuf *e);
pid_t __wrap_spawn_worker(const struct spawn *s, int *pidfd, int *gate, struct errbuf *e);
void __wrap_spawn_begin(int gate);

struct table *__real_table_map(int fd, bool allow_unlocked, struct errbuf *e);
struct table *__wrap_table_map(int fd, bool allow_unlocked, struct errbuf *e);

static void file_of(char out[4096], const char *kind)
{
	const char *path = getenv("NBDSWAP_DIE_FILE");

	snprintf(out, 4096, "%s.%s", path ? path : "/nonexistent", kind);
}

static void note(const char *path, const char *what)
{
	char done[4096];
	FILE *f;

	snprintf(done, sizeof(done), "%s.done", path);
	f = fopen(done, "a");
	if (f) {
		fprintf(f, "%s\n", what);
		fclose(f);
	}
}

static void instant(const char *when, const char *what)
{
	static int left;
	const char *path = getenv("NBDSWAP_DIE_FILE");
	FILE *f = path ? fopen(path, "r") : NULL;
	char name[64], only[64] = "";
	int wanted;

	if (!f) {
		left = 0;
		return;
	}
	snprintf(name, sizeof(name), "%s %s", when, what);
	wanted = 0;
	if (fscanf(f, "%d %63[^\n]", &wanted, only) > 0 && left == 0)
		left = wanted;
	fclose(f);
	if (left == 0 || (only[0] && strcmp(only, name) != 0) || --left > 0)
		return;
	unlink(path);
	note(path, name);
	kill(getpid(), SIGKILL);
}

int __wrap_fdstore_put(int fd, const char *name, struct errbuf *e)
{
	int r;

	instant("before", "put");
	r = __real_fdstore_put(fd, name, e);
	instant("after", "put");
	return r;
}

void __wrap_fdstore_remove(const char *name)
{
	instant("before", "remove");
	__real_fdstore_remove(name);
	instant("after", "remove");
}

int __wrap_statefile_write(int fd, const char *text, size_t bytes, struct errbuf *e)
{
	char short_of[4096];
	int r;

	file_of(short_of, "no-text");
	if (access(short_of, F_OK) == 0)
		return err_set(e, ENOMEM, "no memory, as the test wants it");
	instant("before", "write");
	r = __real_statefile_write(fd, text, bytes, e);
	instant("after", "write");
	return r;
}

int __wrap_fdmsg_send(int sock, const char *text, size_t len, const int fds[], size_t nfds, struct errbuf *e)
{
	int r;

	instant("before", "send");
	r = __real_fdmsg_send(sock, text, len, fds, nfds, e);
	instant("after", "send");
	return r;
}

pid_t __wrap_spawn_worker(const struct spawn *s, int *pidfd, int *gate, struct errbuf *e)
{
	pid_t pid;

	instant("before", "spawn");
	pid = __real_spawn_worker(s, pidfd, gate, e);
	instant("after", "spawn");
	return pid;
}

void __wrap_spawn_begin(int gate)
{
	instant("before", "begin");
	__real_spawn_begin(gate);
	instant("after", "begin");
}

int __wrap_backing_mark(struct backing *b, struct table *table, struct errbuf *e)
{
	int r;

	instant("before", "mark");
	r = __real_backing_mark(b, table, e);
	instant("after", "mark");
	return r;
}

struct table *__wrap_table_map(int fd, bool allow_unlocked, struct errbuf *e)
{
	char short_of[4096];

	file_of(short_of, "no-table");
	if (unlink(short_of) < 0)
		return __real_table_map(fd, allow_unlocked, e);
	err_set(e, ENOMEM, "no memory, as the test wants it");
	return NULL;
}
