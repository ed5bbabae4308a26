/* SPDX-License-Identifier: BSD-3-Clause */
/* A daemon under the keeper, for tests of that.
 * Usage: keeper-child DIR random   checks what it is handed against DIR/journal, then stores and removes at random until it is killed
 *        keeper-child DIR obey     does what it reads from the fifo DIR/cmd, a line each; DIR/out says what it found, and "ok" for each line
 *        keeper-child DIR exit N   ends with this exit code
 * Each start adds its pid to DIR/starts, once no other is alive; DIR/two says that one was.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-daemon.h>
#include <time.h>
#include <unistd.h>

#define NAMES 24
#define BARRIER_USEC (20 * 1000000ull)

static const char *dir;
static char **names; /* of the descriptors from SD_LISTEN_FDS_START on */
static int handed;

static void die(const char *what)
{
	fprintf(stderr, "keeper-child: %s: %s\n", what, strerror(errno));
	exit(99);
}

/* A line at the end of DIR/file. */
static void say(const char *file, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(const char *file, const char *fmt, ...)
{
	char path[512], text[512];
	va_list ap;
	int fd, n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	snprintf(path, sizeof(path), "%s/%s", dir, file);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		die(path);
	close(fd);
}

/* Everything sent so far has been done. */
static void barrier(void)
{
	if (sd_notify_barrier(0, BARRIER_USEC) < 0)
		die("no answer to a barrier");
}

static int memory(const char *text)
{
	int fd = memfd_create("keeper-test", MFD_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die("memfd");
	return fd;
}

static void content(int fd, char *out, size_t size)
{
	ssize_t n = pread(fd, out, size - 1, 0);

	out[n > 0 ? n : 0] = '\0';
}

/* ---- random ---- */

enum known { ABSENT, PRESENT, UNSURE };
struct thing {
	enum known known;
	int last; /* its content has this number */
};

/* The journal: "+N I" about to be stored, "=N I" stored, "-N 0" about to be removed, "~N 0" removed. */
static void read_journal(struct thing t[NAMES])
{
	char path[512], what;
	int n, i;
	FILE *f;

	snprintf(path, sizeof(path), "%s/journal", dir);
	f = fopen(path, "re");
	while (f && fscanf(f, " %c%d %d", &what, &n, &i) == 3) {
		t[n].last = what == '+' || what == '=' ? i : t[n].last;
		t[n].known = what == '=' ? PRESENT : what == '~' ? ABSENT : UNSURE;
	}
	if (f)
		fclose(f);
}

/* Both ends of a pair, in their order: what is written to one comes out of the other. */
static bool is_pair(int a, int b, int number)
{
	char got[8] = "";
	int sent = number % 1000;
	struct pollfd p = { .fd = b, .events = POLLIN };

	snprintf(got, sizeof(got), "%d", sent);
	if (send(a, got, strlen(got), MSG_DONTWAIT) < 0 || poll(&p, 1, 5000) != 1)
		return false;
	memset(got, 0, sizeof(got));
	return recv(b, got, sizeof(got) - 1, MSG_DONTWAIT) > 0 && atoi(got) == sent;
}

static void check(struct thing t[NAMES])
{
	int seen[NAMES] = { 0 };

	for (int i = 0; i < handed; i++) {
		int fd = SD_LISTEN_FDS_START + i, n = -1, number = -1;
		char text[64], name[64];

		if (sscanf(names[i], "n%d", &n) != 1 || n < 0 || n >= NAMES) {
			say("wrong", "name %s\n", names[i]);
			continue;
		}
		if (seen[n]++) {
			if (n % 2 == 0 || !is_pair(fd - 1, fd, i))
				say("wrong", "%s is handed again, and is no pair\n", names[i]);
			continue;
		}
		if (t[n].known == ABSENT)
			say("wrong", "%s had been removed\n", names[i]);
		if (n % 2)
			continue;
		content(fd, text, sizeof(text));
		if (sscanf(text, "%63s %d", name, &number) != 2 || strcmp(name, names[i]) != 0 ||
		    (t[n].known == PRESENT && number != t[n].last))
			say("wrong", "%s has content %s, not %d\n", names[i], text, t[n].last);
	}
	for (int n = 0; n < NAMES; n++) {
		if (seen[n] != 1 + n % 2 && (seen[n] || t[n].known == PRESENT))
			say("wrong", "n%d is handed %d times\n", n, seen[n]);
		if (t[n].known == UNSURE)
			say("journal", "%c%d %d\n", seen[n] ? '=' : '~', n, seen[n] ? t[n].last : 0);
		t[n].known = seen[n] ? PRESENT : ABSENT;
	}
}

static void store_random(int n, int number)
{
	char text[64];
	int fds[2];

	say("journal", "+%d %d\n", n, number);
	if (n % 2) {
		if (socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds) < 0)
			die("socketpair");
	} else {
		snprintf(text, sizeof(text), "n%d %d", n, number);
		fds[0] = memory(text);
	}
	snprintf(text, sizeof(text), "FDSTORE=1\nFDPOLL=0\nFDNAME=n%d", n);
	if (sd_pid_notify_with_fds(0, 0, text, fds, n % 2 ? 2 : 1) <= 0)
		die("FDSTORE");
	close(fds[0]);
	if (n % 2)
		close(fds[1]);
	barrier();
	say("journal", "=%d %d\n", n, number);
}

static void at_random(void)
{
	struct thing t[NAMES] = { { ABSENT, 0 } };
	int number = 0;

	read_journal(t);
	check(t);
	for (int n = 0; n < NAMES; n++)
		if (t[n].last > number)
			number = t[n].last;
	srand((unsigned)getpid());
	say("starts", "%d\n", (int)getpid());
	sd_notify(0, "READY=1\nSTATUS=at random");
	for (;;) {
		int n = rand() % NAMES;

		if (t[n].known == ABSENT) {
			store_random(n, ++number);
			t[n].known = PRESENT;
		} else {
			say("journal", "-%d 0\n", n);
			sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=n%d", n);
			barrier();
			say("journal", "~%d 0\n", n);
			t[n].known = ABSENT;
		}
	}
}

/* ---- obey ---- */

static void send_raw(const char *text, size_t len, unsigned nfds)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	struct iovec iov = { (char *)text, len };
	union {
		char bytes[CMSG_SPACE(253 * sizeof(int))];
		struct cmsghdr align;
	} control = { .bytes = { 0 } };
	struct msghdr msg = { .msg_name = &un, .msg_namelen = sizeof(un), .msg_iov = &iov, .msg_iovlen = 1 };
	int s = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), fds[253];

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", getenv("NOTIFY_SOCKET"));
	if (nfds > 0) {
		struct cmsghdr *c;

		msg.msg_control = control.bytes;
		msg.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		for (unsigned i = 0; i < nfds; i++)
			fds[i] = memory("raw");
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	if (sendmsg(s, &msg, MSG_NOSIGNAL) < 0)
		die("sendmsg");
	close(s);
	for (unsigned i = 0; i < nfds; i++)
		close(fds[i]);
}

/* \n is a newline and \0 a NUL; returns the length. */
static size_t unescape(char *text)
{
	size_t len = 0;

	for (char *p = text; *p; p++)
		if (*p == '\\' && p[1]) {
			p++;
			text[len++] = *p == 'n' ? '\n' : *p == '0' ? '\0' : *p;
		} else {
			text[len++] = *p;
		}
	return len;
}

static void store_text(const char *name, const char *text)
{
	char message[512];
	int fd = memory(text);

	snprintf(message, sizeof(message), "FDSTORE=1\nFDNAME=%s", name);
	if (sd_pid_notify_with_fds(0, 0, message, &fd, 1) <= 0)
		die("FDSTORE");
	close(fd);
}

/* One end of a pair whose other end is closed afterwards. */
static void store_end(const char *name, const char *more)
{
	char message[512];
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) < 0)
		die("socketpair");
	snprintf(message, sizeof(message), "FDSTORE=1\nFDNAME=%s\n%s", name, more);
	if (sd_pid_notify_with_fds(0, 0, message, fds, 1) <= 0)
		die("FDSTORE");
	barrier();
	close(fds[0]);
	close(fds[1]);
}

static void list(void)
{
	for (int i = 0; i < handed; i++) {
		char text[64];

		content(SD_LISTEN_FDS_START + i, text, sizeof(text));
		say("out", "%s=%s\n", names[i], text);
	}
}

static void obey(char *line)
{
	static char big[8192];
	char *what = strsep(&line, " "), *name = line ? strsep(&line, " ") : NULL;
	const char *rest = line ? line : "";
	pid_t child;

	if (strcmp(what, "store") == 0) {
		store_text(name, rest);
	} else if (strcmp(what, "store-end") == 0) {
		store_end(name, rest);
	} else if (strcmp(what, "remove") == 0) {
		sd_notifyf(0, "FDSTOREREMOVE=1\nFDNAME=%s", name);
	} else if (strcmp(what, "raw") == 0) { /* raw NFDS TEXT */
		send_raw(rest, unescape(line), (unsigned)atoi(name));
	} else if (strcmp(what, "big") == 0) { /* big NFDS TEXT: followed by very much */
		memset(big, 'x', sizeof(big));
		memcpy(big, rest, unescape(line));
		send_raw(big, sizeof(big), (unsigned)atoi(name));
	} else if (strcmp(what, "child") == 0) { /* the same as raw, by a process of its own */
		child = fork();
		if (child == 0) {
			send_raw(rest, unescape(line), (unsigned)atoi(name));
			_exit(0);
		}
		waitpid(child, NULL, 0);
	} else if (strcmp(what, "die") == 0) { /* with much said that cannot have been heard yet */
		for (int i = 0; i < 5; i++) {
			char last[16];

			snprintf(last, sizeof(last), "last%d", i);
			store_text(last, "words");
		}
		raise(SIGKILL);
	} else if (strcmp(what, "list") == 0) {
		list();
	} else if (strcmp(what, "exit") == 0) {
		exit(atoi(name));
	}
	barrier();
	say("out", "ok\n");
}

static void obeying(void)
{
	char path[512], line[1024];
	FILE *f;
	int fd;

	snprintf(path, sizeof(path), "%s/cmd", dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	f = fd < 0 ? NULL : fdopen(fd, "r");
	if (!f)
		die(path);
	setvbuf(f, NULL, _IONBF, 0);
	say("starts", "%d\n", (int)getpid());
	while (fgets(line, sizeof(line), f)) {
		line[strcspn(line, "\n")] = '\0';
		obey(line);
	}
}

static void on_signal(int sig)
{
	char path[512];
	int fd;

	snprintf(path, sizeof(path), "%s/signal-%d", dir, sig);
	fd = open(path, O_WRONLY | O_CREAT, 0600);
	if (fd >= 0)
		close(fd);
	if (sig == SIGTERM || sig == SIGUSR2)
		_exit(sig == SIGTERM ? 7 : 0);
}

int main(int argc, char **argv)
{
	static const int handled[] = { SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2 };
	sigset_t set;
	char path[512];
	int alone, more = 0;

	if (argc < 3)
		return 2;
	dir = argv[1];
	for (int fd = SD_LISTEN_FDS_START; fd < 1024; fd++)
		more += fcntl(fd, F_GETFD) >= 0;
	/* The lock is gone with the process that has it. */
	snprintf(path, sizeof(path), "%s/alone", dir);
	alone = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (alone < 0 || flock(alone, LOCK_EX | LOCK_NB) < 0)
		say("two", "%d started while another was alive\n", (int)getpid());
	handed = sd_listen_fds_with_names(1, &names);
	if (handed < 0)
		say("wrong", "sd_listen_fds_with_names: %d\n", handed);
	if (handed >= 0 && more != handed + 1) /* and the way to the keeper */
		say("wrong", "%d descriptors are open, of which %d were handed on\n", more, handed);
	sigemptyset(&set);
	for (size_t i = 0; i < sizeof(handled) / sizeof(handled[0]); i++) {
		signal(handled[i], on_signal);
		sigaddset(&set, handled[i]);
	}
	sigprocmask(SIG_UNBLOCK, &set, NULL);
	if (strcmp(argv[2], "random") == 0)
		at_random();
	if (strcmp(argv[2], "obey") == 0)
		obeying();
	say("starts", "%d\n", (int)getpid());
	return argc > 3 ? atoi(argv[3]) : 0;
}
