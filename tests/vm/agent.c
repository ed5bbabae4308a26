/* SPDX-License-Identifier: BSD-3-Clause */
/* The guest's process 1: runs the commands that vmctl sends over virtio-serial ports, one at a time per port.
 *
 * The guest is starved of memory and its swap is under test, so the agent must not depend on either: it is
 * static, locked, process 1 (which the OOM killer spares), and IO_FLUSHER keeps its forks out of reclaim that
 * waits for swap. Commands get none of these privileges; they start as any process does.
 */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/reboot.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/vm/wire.h"

#define MAX_PORTS 16
#define HUP_MS 10000

struct port {
	int fd;
	int64_t hup_since; /* ms, 0 while somebody is connected */
	bool have_header; /* a request that came while another ran, to be served next */
	struct wire_header header;
	char command[WIRE_MAX + 1];
	char input[WIRE_MAX];
	char chunk[WIRE_CHUNK];
};

static struct port port; /* one per process: each port has a process of its own */

static void
nap(void)
{
	const struct timespec t = {.tv_nsec = 50 * 1000 * 1000};

	nanosleep(&t, NULL);
}

static int64_t
now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* Whether nobody is connected on the host's side, by what a poll of the port said. The kernel hears of who comes and goes on
 * another queue than it gets data on, and deals with it in a work item: a new request may be here, and its command may even
 * have ended, while the port still says that the last host has gone. So it must say that for a while. */
static bool
host_has_gone(short revents)
{
	if (!(revents & POLLHUP)) {
		port.hup_since = 0;
		return false;
	}
	if (!port.hup_since)
		port.hup_since = now_ms();
	if (now_ms() - port.hup_since >= HUP_MS)
		return true;
	nap();
	return false;
}

/* Waits up to a second for the port; false when nobody is there on the host's side. */
static bool
port_wait(short events)
{
	struct pollfd p = {.fd = port.fd, .events = events};

	return poll(&p, 1, 1000) < 0 || !host_has_gone(p.revents);
}

/* Reads exactly n bytes; -1 when the host has gone. */
static int
port_read(void *buf, size_t n)
{
	char *p = buf;

	while (n > 0) {
		ssize_t r = read(port.fd, p, n);

		if (r > 0) {
			port.hup_since = 0;
			p += r;
			n -= (size_t)r;
			continue;
		}
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && errno != EAGAIN)
			return -1;
		if (!port_wait(POLLIN))
			return -1;
	}
	return 0;
}

static int
port_write(const void *buf, size_t n)
{
	const char *p = buf;

	while (n > 0) {
		ssize_t r = write(port.fd, p, n);

		if (r > 0) {
			p += r;
			n -= (size_t)r;
			continue;
		}
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && errno != EAGAIN)
			return -1;
		if (!port_wait(POLLOUT))
			return -1;
	}
	return 0;
}

static int
send_message(uint32_t id, uint32_t type, const void *data, uint32_t len, uint32_t extra)
{
	struct wire_header h = {.magic = WIRE_MAGIC, .id = id, .type = type, .len = len, .extra = extra};

	if (port_write(&h, sizeof h) < 0)
		return -1;
	return len ? port_write(data, len) : 0;
}

/* Finds the next header, byte by byte when there is rubbish before it; -1 when the host has gone. */
static int
receive_header(struct wire_header *h)
{
	uint64_t window;

	if (port_read(&window, sizeof window) < 0)
		return -1;
	while (window != WIRE_MAGIC) {
		unsigned char byte;

		if (port_read(&byte, 1) < 0)
			return -1;
		window = window >> 8 | (uint64_t)byte << 56;
	}
	h->magic = window;
	return port_read((char *)h + sizeof window, sizeof *h - sizeof window);
}

static void
set_oom_score(const char *score)
{
	FILE *f = fopen("/proc/self/oom_score_adj", "we");

	if (!f || fputs(score, f) < 0 || fclose(f) < 0)
		perror("agent: oom_score_adj");
}

static void
run_child(int in, int out, int err)
{
	sigset_t none;

	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	prctl(PR_SET_IO_FLUSHER, 0, 0, 0, 0);
	set_oom_score("0");
	setsid();
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		_exit(126);
	execl("/bin/bash", "bash", "-c", port.command, (char *)NULL);
	perror("agent: /bin/bash");
	_exit(127);
}

/* Forwards what is in a pipe now; false when it is empty or has ended (*fd is then -1). */
static bool
forward(int *fd, uint32_t id, uint32_t type)
{
	ssize_t r = read(*fd, port.chunk, sizeof port.chunk);

	if (r > 0) {
		send_message(id, type, port.chunk, (uint32_t)r, 0);
		return true;
	}
	if (r == 0 || (errno != EAGAIN && errno != EINTR)) {
		close(*fd);
		*fd = -1;
	}
	return false;
}

/* A message while a command runs: a signal for it, or a new request, which means that the last one's host has
 * gone without our noticing. Returns false when the command is to be ended. */
static bool
message_meanwhile(pid_t pid, uint32_t id)
{
	if (receive_header(&port.header) < 0)
		return false;
	if (port.header.type == WIRE_SIGNAL) {
		if (port.header.id == id)
			kill(-pid, (int)port.header.extra);
		return true;
	}
	port.have_header = true;
	return false;
}

static void
run_command(const struct wire_header *h)
{
	int out[2], err[2];
	int in = memfd_create("stdin", MFD_CLOEXEC);
	bool ended = false;
	siginfo_t info = {0};

	if (in < 0 || pipe2(out, O_CLOEXEC) < 0 || pipe2(err, O_CLOEXEC) < 0 ||
	    write(in, port.input, h->extra) != (ssize_t)h->extra || lseek(in, 0, SEEK_SET) < 0) {
		perror("agent: pipes");
		_exit(1); /* process 1 starts a fresh one */
	}
	pid_t pid = fork();

	if (pid < 0) {
		perror("agent: fork");
		_exit(1);
	}
	if (pid == 0)
		run_child(in, out[1], err[1]);
	close(in);
	close(out[1]);
	close(err[1]);
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	fcntl(err[0], F_SETFL, O_NONBLOCK);
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

	/* The end of the command counts, not the end of its output: a daemon that it left may hold the pipes. */
	while (!ended) {
		struct pollfd p[] = {
			{.fd = pidfd, .events = POLLIN},
			{.fd = out[0], .events = POLLIN},
			{.fd = err[0], .events = POLLIN},
			{.fd = port.fd, .events = POLLIN},
		};

		if (poll(p, 4, -1) < 0)
			continue;
		ended = p[0].revents & POLLIN;
		if (p[1].revents)
			forward(&out[0], h->id, WIRE_OUT);
		if (p[2].revents)
			forward(&err[0], h->id, WIRE_ERR);
		/* A port that nobody is connected to can be read, too, and gives nothing. */
		if (host_has_gone(p[3].revents) ||
		    ((p[3].revents & (POLLIN | POLLHUP)) == POLLIN && !message_meanwhile(pid, h->id))) {
			kill(-pid, SIGKILL);
			break;
		}
	}
	while (out[0] >= 0 && forward(&out[0], h->id, WIRE_OUT))
		;
	while (err[0] >= 0 && forward(&err[0], h->id, WIRE_ERR))
		;
	if (out[0] >= 0)
		close(out[0]);
	if (err[0] >= 0)
		close(err[0]);
	close(pidfd);
	while (waitid(P_PID, (id_t)pid, &info, WEXITED) < 0 && errno == EINTR)
		;
	if (ended)
		send_message(h->id, WIRE_EXIT, NULL, 0,
			     (uint32_t)(info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status));
}

static void
serve_port(const char *path)
{
	port.fd = open(path, O_RDWR | O_NONBLOCK | O_CLOEXEC);
	if (port.fd < 0)
		_exit(1);
	for (;;) {
		struct wire_header h;

		if (port.have_header) {
			h = port.header;
			port.have_header = false;
		} else if (receive_header(&h) < 0) {
			nap();
			continue;
		}
		if (h.type == WIRE_POWEROFF) {
			sync();
			reboot(RB_POWER_OFF);
		}
		if (h.type != WIRE_RUN || h.len > WIRE_MAX || h.extra > WIRE_MAX ||
		    port_read(port.command, h.len) < 0 || port_read(port.input, h.extra) < 0)
			continue;
		port.command[h.len] = '\0';
		run_command(&h);
	}
}

static pid_t
start_port(int n)
{
	char path[64];

	snprintf(path, sizeof path, "/dev/virtio-ports/ctl%d", n);
	if (access(path, F_OK) < 0)
		return 0;
	pid_t pid = fork();

	if (pid != 0)
		return pid;
	/* Locks are not inherited. On fault, because most commands are short and the buffers are long. */
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		perror("agent: mlockall");
	if (prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) < 0)
		perror("agent: PR_SET_IO_FLUSHER");
	set_oom_score("-1000");
	serve_port(path);
	_exit(1);
}

int
main(void)
{
	pid_t pids[MAX_PORTS];

	signal(SIGPIPE, SIG_IGN);
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		perror("agent: mlockall");
	for (int i = 0; i < MAX_PORTS; i++)
		pids[i] = start_port(i);
	for (;;) {
		pid_t pid = wait(NULL);

		if (pid < 0)
			nap();
		for (int i = 0; i < MAX_PORTS; i++)
			if (pid > 0 && pids[i] == pid)
				pids[i] = start_port(i);
	}
}
