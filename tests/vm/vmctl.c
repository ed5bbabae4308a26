/* SPDX-License-Identifier: BSD-3-Clause */
/* The host's end of a guest's control ports:
 *
 *	vmctl DIR SECONDS run COMMAND	run COMMAND in the guest by bash; its output and exit code are ours. What is
 *					in the file named by VMCTL_STDIN becomes its standard input. TERM, INT, HUP,
 *					USR1 and USR2 are passed on to it. After SECONDS it is left to the agent, which kills it a little later: exit code 124.
 *	vmctl DIR SECONDS poweroff	sync and switch the guest off
 *	vmctl DIR SECONDS monitor LINE	a line for QEMU's monitor (DIR/monitor); its answer, or nothing
 *
 * DIR holds the sockets ctl0, ctl1, ... of the guest's ports; one that nobody uses is taken, from VMCTL_PORT on if
 * that is set. A guest that is
 * still booting answers when its agent is there. Exit code 125: the guest cannot be reached (any more).
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "tests/vm/wire.h"

enum { CODE_TIMEOUT = 124, CODE_UNREACHABLE = 125 };

static double end_time;
static volatile sig_atomic_t signal_to_pass;

static double
now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void
on_signal(int sig)
{
	signal_to_pass = sig;
}

static void __attribute__((noreturn, format(printf, 2, 3)))
die(int code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("vmctl: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(code);
}

/* Takes a free port, the first one's number or a later one's: the lock lasts as long as this process. */
static int
take_port(const char *dir)
{
	const char *env = getenv("VMCTL_PORT");
	const int first = env ? atoi(env) : 0;

	for (;;) {
		for (int n = first;; n++) {
			struct sockaddr_un addr = {.sun_family = AF_UNIX};
			char lock[sizeof addr.sun_path + 8];

			if (snprintf(addr.sun_path, sizeof addr.sun_path, "%s/ctl%d", dir, n) >=
			    (int)sizeof addr.sun_path)
				die(CODE_UNREACHABLE, "%s: path too long for a socket", dir);
			if (access(addr.sun_path, F_OK) < 0) {
				if (n == first)
					die(CODE_UNREACHABLE, "no guest: %s: %s", addr.sun_path,
					    strerror(errno));
				break;
			}
			snprintf(lock, sizeof lock, "%s.lock", addr.sun_path);
			int lockfd = open(lock, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

			if (lockfd < 0)
				die(CODE_UNREACHABLE, "%s: %s", lock, strerror(errno));
			if (flock(lockfd, LOCK_EX | LOCK_NB) < 0) {
				close(lockfd);
				continue;
			}
			int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

			if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
				die(CODE_UNREACHABLE, "%s: %s", addr.sun_path, strerror(errno));
			return fd;
		}
		if (now() > end_time)
			die(CODE_TIMEOUT, "%s: no port came free in time", dir);
		poll(NULL, 0, 50);
	}
}

static void
send_all(int fd, const void *data, size_t n)
{
	const char *p = data;

	while (n > 0) {
		ssize_t r = send(fd, p, n, MSG_NOSIGNAL);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			die(CODE_UNREACHABLE, "send: %s", strerror(errno));
		p += r;
		n -= (size_t)r;
	}
}

static void
send_message(int fd, uint32_t id, uint32_t type, uint32_t len, uint32_t extra)
{
	struct wire_header h = {.magic = WIRE_MAGIC, .id = id, .type = type, .len = len, .extra = extra};

	send_all(fd, &h, sizeof h);
}

static void
receive(int fd, uint32_t id, void *data, size_t n)
{
	char *p = data;

	while (n > 0) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		double left = end_time - now();

		if (left <= 0)
			die(CODE_TIMEOUT, "time limit reached");
		if (signal_to_pass) {
			uint32_t sig = (uint32_t)signal_to_pass;

			signal_to_pass = 0;
			send_message(fd, id, WIRE_SIGNAL, 0, sig);
		}
		/* A signal between the look above and poll is passed on a second later. */
		if (poll(&pfd, 1, left < 1 ? (int)(left * 1000) + 1 : 1000) <= 0)
			continue;
		ssize_t r = recv(fd, p, n, 0);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0)
			die(CODE_UNREACHABLE, "the guest has gone");
		p += r;
		n -= (size_t)r;
	}
}

static void
receive_header(int fd, uint32_t id, struct wire_header *h)
{
	do {
		receive(fd, id, &h->magic, sizeof h->magic);
		while (h->magic != WIRE_MAGIC) {
			unsigned char byte;

			receive(fd, id, &byte, 1);
			h->magic = h->magic >> 8 | (uint64_t)byte << 56;
		}
		receive(fd, id, (char *)h + sizeof h->magic, sizeof *h - sizeof h->magic);
	} while (h->id != id);
}

static size_t
read_input(char *buf)
{
	const char *path = getenv("VMCTL_STDIN");

	if (!path)
		return 0;
	FILE *f = fopen(path, "re");

	if (!f)
		die(2, "%s: %s", path, strerror(errno));
	size_t n = fread(buf, 1, WIRE_MAX, f);

	if (n == WIRE_MAX)
		die(2, "%s: too long", path);
	fclose(f);
	return n;
}

static int
run(int fd, const char *command)
{
	static char input[WIRE_MAX];
	static const int passed_on[] = {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2};
	char chunk[WIRE_CHUNK];
	struct wire_header h;
	uint32_t id;
	size_t len = strlen(command), input_len = read_input(input);

	if (len > WIRE_MAX)
		die(2, "command too long");
	if (getrandom(&id, sizeof id, 0) != sizeof id)
		die(CODE_UNREACHABLE, "getrandom: %s", strerror(errno));
	for (size_t i = 0; i < sizeof passed_on / sizeof passed_on[0]; i++)
		sigaction(passed_on[i], &(struct sigaction){.sa_handler = on_signal}, NULL);
	send_message(fd, id, WIRE_RUN, (uint32_t)len, (uint32_t)input_len);
	send_all(fd, command, len);
	send_all(fd, input, input_len);
	for (;;) {
		receive_header(fd, id, &h);
		if (h.type == WIRE_EXIT)
			return (int)h.extra;
		if ((h.type != WIRE_OUT && h.type != WIRE_ERR) || h.len > sizeof chunk)
			die(CODE_UNREACHABLE, "the agent sent rubbish");
		receive(fd, id, chunk, h.len);
		if (write(h.type == WIRE_OUT ? 1 : 2, chunk, h.len) != (ssize_t)h.len)
			die(1, "output: %s", strerror(errno));
	}
}

/* The monitor greets, echoes and answers, and each time ends with its prompt. */
static void
until_prompt(int fd, char *text, size_t size)
{
	static const char prompt[] = "(qemu) ";
	size_t n = 0;

	do {
		struct pollfd p = {.fd = fd, .events = POLLIN};

		if (now() > end_time)
			die(CODE_TIMEOUT, "the monitor does not answer");
		if (n + 1 == size)
			die(CODE_UNREACHABLE, "the monitor says too much");
		if (poll(&p, 1, 100) <= 0)
			continue;
		ssize_t r = recv(fd, text + n, size - 1 - n, 0);

		if (r <= 0)
			die(CODE_UNREACHABLE, "the monitor has gone");
		n += (size_t)r;
		text[n] = '\0';
	} while (n < strlen(prompt) || strcmp(text + n - strlen(prompt), prompt) != 0);
}

static int
monitor(const char *dir, const char *line)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char text[4096], *answer;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (snprintf(addr.sun_path, sizeof addr.sun_path, "%s/monitor", dir) >= (int)sizeof addr.sun_path || fd < 0 ||
	    connect(fd, (struct sockaddr *)&addr, sizeof addr) < 0)
		die(CODE_UNREACHABLE, "%s/monitor: %s", dir, strerror(errno));
	until_prompt(fd, text, sizeof text);
	send_all(fd, line, strlen(line));
	send_all(fd, "\n", 1);
	until_prompt(fd, text, sizeof text);
	answer = strchr(text, '\n'); /* behind the echo */
	if (!answer || strncmp(answer + 1, "(qemu) ", 7) == 0)
		return 0;
	fputs(answer + 1, stderr);
	return 1;
}

int
main(int argc, char **argv)
{
	char *rest;

	if (argc < 4)
		die(2, "usage: vmctl DIR SECONDS run COMMAND | poweroff | monitor LINE");
	double limit = strtod(argv[2], &rest);

	if (*rest || !(limit > 0))
		die(2, "%s is not a number of seconds", argv[2]);
	end_time = now() + limit;
	if (strcmp(argv[3], "monitor") == 0 && argc == 5)
		return monitor(argv[1], argv[4]);
	int fd = take_port(argv[1]);

	if (strcmp(argv[3], "poweroff") == 0) {
		send_message(fd, 0, WIRE_POWEROFF, 0, 0);
		/* The port closes when QEMU ends. */
		char byte;

		while (now() < end_time) {
			struct pollfd p = {.fd = fd, .events = POLLIN};

			if (poll(&p, 1, 100) > 0 && recv(fd, &byte, 1, 0) <= 0)
				return 0;
		}
		die(CODE_TIMEOUT, "the guest is still on");
	}
	if (strcmp(argv[3], "run") != 0 || argc != 5)
		die(2, "usage: vmctl DIR SECONDS run COMMAND | poweroff | monitor LINE");
	return run(fd, argv[4]);
}
