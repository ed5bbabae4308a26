/* SPDX-License-Identifier: BSD-3-Clause */
/* nbdswap-watch: two processes that hold the same descriptors (one table of them for both) and the same memory about devices.  One of them works; the
 * other waits for its end, takes its place then and makes another.  Neither allocates once it has begun, nor waits for I/O of a disk: the device that is
 * to be connected anew may be what its memory would come from.
 */
#include "config.h"

#include "client/linkevents.h"
#include "client/strays.h"
#include "client/watchtalk.h"
#include "common/allow.h"
#include "common/exitcodes.h"
#include "common/memlock.h"
#include "common/options.h"
#include "common/procself.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

enum { OPT_BACKGROUND = 'b', OPT_STATE_DIR = 1, OPT_ALLOW };

static const struct option_def defs[] = {
	{ OPT_ALLOW, "allow", "WORDS", "what may be missing, with commas between: memlock, oom, io-flusher" },
	{ OPT_BACKGROUND, "background", NULL, "go on in the background once it listens, until nothing is attached any more" },
	{ OPT_STATE_DIR, "state-dir", "DIR", "directory of what is attached (default: " WATCH_DIR ")" },
	OPTION_HELP,
	{ 0 },
};

/* What both processes know. */
struct shared {
	int listener, events, active_pidfd, spare_pidfd; /* events -1: the kernel has none */
	bool leaves, over; /* without a device it ends; it has ended, so the spare is not to take its place */
	struct watch_device device[WATCH_DEVICES];
	struct reconfigure kernel;
	struct reach reach; /* the active one's */
	char line[1400];
	char path[sizeof(((struct sockaddr_un *)0)->sun_path)]; /* of the listener */
};

static struct shared *w;

static void tell(const char *text)
{
	int n = snprintf(w->line, sizeof(w->line), "nbdswap-watch: %s\n", text);

	if (n >= (int)sizeof(w->line))
		n = (int)sizeof(w->line) - 1;
	if (write(STDERR_FILENO, w->line, (size_t)n) < 0)
		return; /* nobody to tell */
}

static void tell_device(const struct watch_device *d)
{
	static char text[1200];

	watching_says(d, text, sizeof(text));
	tell(text);
}

/* ---- commands ---- */

static struct watch_device *device_of(int index)
{
	for (int i = 0; i < WATCH_DEVICES; i++)
		if (w->device[i].state != WATCH_FREE && w->device[i].order.index == index)
			return &w->device[i];
	return NULL;
}

static struct watch_device *free_device(void)
{
	for (int i = 0; i < WATCH_DEVICES; i++)
		if (w->device[i].state == WATCH_FREE)
			return &w->device[i];
	return NULL;
}

static bool any_device(void)
{
	for (int i = 0; i < WATCH_DEVICES; i++)
		if (w->device[i].state != WATCH_FREE)
			return true;
	return false;
}

static void forget(struct watch_device *d)
{
	if (!d)
		return;
	d->state = WATCH_FREE;
	if (d->sock >= 0)
		close(d->sock);
	if (d->alive >= 0)
		close(d->alive);
}

/* Takes sock over; -1: the device's is to be replaced. */
static int adopt(const struct watch_order *o, int sock, struct errbuf *e)
{
	char path[64];
	struct watch_device *d;

	forget(device_of(o->index)); /* of an attach before, whose device is somebody else's now */
	d = free_device();
	if (!d || watch_order_check(o, e) < 0) {
		if (sock >= 0)
			close(sock);
		return d ? -1 : err_set(e, E2BIG, "%d devices are watched already", WATCH_DEVICES);
	}
	snprintf(path, sizeof(path), "/sys/block/nbd%d/pid", o->index);
	watching_begin(d, o, sock, open(path, O_RDONLY | O_CLOEXEC));
	return 0;
}

static int receive(int fd, struct watch_message *m, int *sock)
{
	struct iovec iov = { .iov_base = m, .iov_len = sizeof(*m) };
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} control;
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control) };
	ssize_t n = recvmsg(fd, &msg, MSG_CMSG_CLOEXEC);
	const struct cmsghdr *c = n >= 0 ? CMSG_FIRSTHDR(&msg) : NULL;

	*sock = -1;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS && c->cmsg_len == CMSG_LEN(sizeof(int)))
		memcpy(sock, CMSG_DATA(c), sizeof(*sock));
	return n == (ssize_t)sizeof(*m) && m->magic == WATCH_MAGIC && m->word <= WATCH_TELL ? 0 : -1;
}

/* How /proc/net/tcp knows it. */
static void look_at_socket(int sock, struct watch_answer *a)
{
	union reach_address own = { .any.sa_family = AF_UNSPEC };
	socklen_t n = sizeof(own);
	struct stat st;

	if (fstat(sock, &st) < 0 || getsockname(sock, &own.any, &n) < 0)
		return;
	a->inode = st.st_ino;
	a->port = ntohs(own.any.sa_family == AF_INET ? own.v4.sin_port : own.v6.sin6_port);
}

/* One message, one answer: who connects and says nothing is not waited for long. */
static void serve_one(void)
{
	static struct watch_message m;
	static struct watch_answer a;
	const struct timeval limit = { .tv_sec = 1 };
	int fd = accept4(w->listener, NULL, NULL, SOCK_CLOEXEC), sock;
	const struct watch_device *d;
	struct errbuf e = { .code = 0 };

	if (fd < 0)
		return;
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (receive(fd, &m, &sock) == 0) {
		memset(&a, 0, sizeof(a));
		a.magic = WATCH_MAGIC;
		if (m.word == WATCH_ADOPT) {
			a.code = adopt(&m.order, sock, &e) < 0 ? e.code : 0;
			sock = -1;
		} else if (m.word == WATCH_DROP) {
			forget(device_of(m.order.index));
			w->over = w->leaves && !any_device();
			if (w->over)
				unlink(w->path); /* whoever comes from here on is to start another */
		} else if ((d = device_of(m.order.index)) != NULL) {
			a.state = d->state;
			a.reconnects = d->reconnects;
			if (d->state == WATCH_UP)
				look_at_socket(d->sock, &a);
			snprintf(e.text, sizeof(e.text), "%s", d->words);
		}
		snprintf(a.text, sizeof(a.text), "%s", e.text);
		send(fd, &a, sizeof(a), MSG_NOSIGNAL);
	}
	if (sock >= 0)
		close(sock);
	close(fd);
}

/* ---- the two ---- */

/* Locks are not inherited. */
static void lock_again(void)
{
	if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
		tell("its memory cannot be locked again");
}

static void work(void) __attribute__((noreturn));
static void wait_for_my_turn(void) __attribute__((noreturn));

static void make_spare(void)
{
	/* The kernel writes the pidfd before the new process runs, into memory of both: this one may be killed before it could. */
	struct clone_args args = { .flags = CLONE_FILES | CLONE_PIDFD, .exit_signal = SIGCHLD, .pidfd = (uintptr_t)&w->spare_pidfd };
	long pid;

	w->spare_pidfd = -1;
	pid = syscall(SYS_clone3, &args, sizeof(args));
	if (pid == 0) {
		lock_again();
		wait_for_my_turn();
	}
	if (pid < 0)
		tell("no second process can be made; tried again each second");
}

static bool ended(int pidfd, int timeout_ms)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };

	return poll(&p, 1, timeout_ms) > 0 && (p.revents & POLLIN);
}

/* What the one that was killed had open just then: the command that it answered, the connection that it made.  Nobody else has this table now. */
static void close_strays(void)
{
	int known[2 * WATCH_DEVICES + 4];
	size_t n = 0;

	known[n++] = w->listener;
	known[n++] = w->events;
	known[n++] = w->active_pidfd;
	known[n++] = w->kernel.sock;
	for (int i = 0; i < WATCH_DEVICES; i++) {
		if (w->device[i].state == WATCH_FREE)
			continue;
		known[n++] = w->device[i].sock;
		known[n++] = w->device[i].alive;
	}
	strays_close(known, n);
}

static void wait_for_my_turn(void)
{
	while (!ended(w->active_pidfd, -1))
		;
	if (w->over)
		_exit(EX_OK_);
	close(w->active_pidfd);
	w->active_pidfd = w->spare_pidfd; /* this very process */
	w->spare_pidfd = -1;
	close_strays();
	tell("the process that watched has ended; the other goes on");
	work();
}

static void try_devices(void)
{
	for (int i = 0; i < WATCH_DEVICES; i++) {
		struct watch_device *d = &w->device[i];

		if (watching_due(d) > watching_now_ns())
			continue;
		if (watching_is_gone(d))
			forget(d);
		else if (watching_try(d, &w->reach, &w->kernel))
			tell_device(d);
	}
}

static void look_at_sockets(const struct pollfd p[])
{
	for (int i = 0; i < WATCH_DEVICES; i++) {
		struct watch_device *d = &w->device[i];

		if (!p[i].revents || d->state != WATCH_UP)
			continue;
		watching_link_dead(d, watching_now_ns());
		tell_device(d);
	}
}

/* In how many ms is it that time? */
static int until(int64_t ns)
{
	int64_t left = ns - watching_now_ns();

	return left <= 0 ? 0 : (int)(left / 1000000) + 1;
}

static void look_at_events(void)
{
	struct watch_device *d;
	int index;

	while ((index = linkevents_next(w->events, w->kernel.family)) >= 0)
		if ((d = device_of(index)) != NULL)
			watching_event(d, watching_now_ns());
}

/* A process takes memory, which may not be had before a device that is down is up again: that comes first, for who waits for memory connects nothing. */
static bool spare_waits(void)
{
	for (int i = 0; i < WATCH_DEVICES; i++)
		if (w->device[i].state == WATCH_DOWN)
			return true;
	return false;
}

static int sooner(int ms, int other_ms)
{
	return ms < 0 || ms > other_ms ? other_ms : ms;
}

static void work(void)
{
	struct pollfd p[WATCH_DEVICES + 3];
	int64_t spare_ns = 0; /* when one may be made again */

	for (;;) {
		int ms;

		try_devices();
		ms = watching_pause_ms(w->device, WATCH_DEVICES);
		if (w->spare_pidfd < 0)
			ms = sooner(ms, spare_waits() ? 1000 : until(spare_ns));
		for (int i = 0; i < WATCH_DEVICES; i++)
			p[i] = (struct pollfd){ .fd = w->device[i].state == WATCH_UP ? w->device[i].sock : -1, .events = POLLRDHUP };
		p[WATCH_DEVICES] = (struct pollfd){ .fd = w->listener, .events = POLLIN };
		p[WATCH_DEVICES + 1] = (struct pollfd){ .fd = w->spare_pidfd, .events = POLLIN };
		p[WATCH_DEVICES + 2] = (struct pollfd){ .fd = w->events, .events = POLLIN };
		if (poll(p, WATCH_DEVICES + 3, ms) < 0)
			continue;
		look_at_sockets(p);
		if (p[WATCH_DEVICES + 2].revents)
			look_at_events();
		if (p[WATCH_DEVICES].revents)
			serve_one();
		if (w->over)
			_exit(EX_OK_);
		if (w->spare_pidfd >= 0 && p[WATCH_DEVICES + 1].revents) {
			int ended_one = w->spare_pidfd;

			w->spare_pidfd = -1;
			close(ended_one);
		}
		if (w->spare_pidfd < 0 && watching_now_ns() >= spare_ns && !spare_waits()) {
			spare_ns = watching_now_ns() + WATCH_STEP_NS;
			make_spare();
		}
	}
}

/* ---- start ---- */

static int listen_at(const char *dir, struct errbuf *e)
{
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	int fd;

	if (snprintf(a.sun_path, sizeof(a.sun_path), WATCH_SOCKET, dir) >= (int)sizeof(a.sun_path))
		return err_set(e, ENAMETOOLONG, "%s: the path is too long for a socket in it", dir);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return err_errno(e, "a socket");
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0) {
		close(fd);
		return err_set(e, EBUSY, "there is a watch already at %s", a.sun_path);
	}
	snprintf(w->path, sizeof(w->path), "%s", a.sun_path);
	unlink(a.sun_path);
	if (bind(fd, (struct sockaddr *)&a, sizeof(a)) < 0 || chmod(a.sun_path, 0600) < 0 || listen(fd, 16) < 0) {
		close(fd);
		return err_errno(e, "%s", a.sun_path);
	}
	return fd;
}

/* One of the things that this process asks of the kernel for itself. */
static int required(int rc, unsigned one, unsigned allowed, struct errbuf *e)
{
	if (rc == 0)
		return 0;
	if (!(allowed & one))
		return -1;
	fprintf(stderr, "nbdswap-watch: warning: %s\n", e->text);
	return 0;
}

/* All but the locks is inherited by the processes that this one makes. */
static int prepare(const char *dir, unsigned allowed, struct errbuf *e)
{
	const struct sched_param first = { .sched_priority = 1 };

	w = mmap(NULL, sizeof(*w), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	if (w == MAP_FAILED)
		return err_errno(e, "memory of the watch");
	if (required(procself_oom_score(-1000, e), ALLOW_OOM, allowed, e) < 0 ||
	    required(procself_io_flusher(e), ALLOW_IO_FLUSHER, allowed, e) < 0)
		return -1;
	sched_setscheduler(0, SCHED_RR, &first); /* a little more of the reserve, where it may be had */
	if (reconfigure_open(&w->kernel, e) < 0)
		return -1;
	w->events = w->kernel.group ? linkevents_open(w->kernel.group, e) : -1;
	if ((w->kernel.group && w->events < 0) || (w->listener = listen_at(dir, e)) < 0)
		return -1;
	return 0;
}

/* This process and all that is in it, libraries too: the root may be a file system that is dead when they are needed. */
static int lock_and_prove(unsigned allowed, struct errbuf *e)
{
	int rc = mlockall(MCL_CURRENT | MCL_FUTURE);

	if (rc < 0)
		err_errno(e, "its memory cannot be locked; CAP_IPC_LOCK is needed, or --allow=memlock to run without");
	return required(rc < 0 ? rc : memlock_verify(NULL, e), ALLOW_MEMLOCK, allowed, e);
}

/* The parent stays until it is told by a byte that all is well (left_terminal), or that process has ended, having said why.  Returns the descriptor for the
 * byte in the child; -1 with *e.
 */
static int into_the_background(struct errbuf *e)
{
	int ready[2];
	pid_t pid;
	char byte;

	if (pipe2(ready, O_CLOEXEC) < 0 || (pid = fork()) < 0)
		return err_errno(e, "no process in the background");
	if (pid > 0) {
		close(ready[1]);
		_exit(read(ready[0], &byte, 1) == 1 ? EX_OK_ : EX_PRIV);
	}
	close(ready[0]);
	setsid();
	return ready[1];
}

/* None of the three may be free: the next socket would get its number, and words for people. */
static void take_standard_descriptors(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

/* What there is to say goes to the kernel's log. */
static int leave_terminal(int ready, struct errbuf *e)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC), log = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);

	if (null < 0)
		return err_errno(e, "/dev/null");
	dup2(null, STDIN_FILENO);
	dup2(null, STDOUT_FILENO);
	dup2(log >= 0 ? log : null, STDERR_FILENO);
	if (write(ready, "+", 1) == 1)
		close(ready);
	close(null);
	if (log >= 0)
		close(log);
	return 0;
}

static int fail(const struct errbuf *e, enum exit_code code)
{
	fprintf(stderr, "nbdswap-watch: %s\n", e->text);
	return code;
}

int main(int argc, char **argv)
{
	const char *dir = WATCH_DIR;
	bool background = false;
	unsigned allowed = 0;
	struct options o;
	struct errbuf e = { 0 };
	int id, ready = -1;

	take_standard_descriptors();
	options_begin(&o, defs, argc, argv);
	while ((id = options_next(&o, &e)) != 0) {
		if (id < 0)
			return fail(&e, EX_USAGE_);
		if (id == OPT_BACKGROUND) {
			background = true;
		} else if (id == OPT_STATE_DIR) {
			dir = o.value;
		} else if (id == OPT_ALLOW) {
			allowed = allow_list(o.value);
			if (!allowed) {
				err_set(&e, EINVAL, "--allow=%s: memlock, oom and io-flusher may be missing, nothing else", o.value);
				return fail(&e, EX_USAGE_);
			}
		} else {
			puts("Usage: nbdswap-watch [OPTION...]\n\nWatches the connections of attached devices and makes lost ones anew.  attach starts it.\n");
			options_help(stdout, defs);
			return EX_OK_;
		}
	}
	signal(SIGPIPE, SIG_IGN);
	signal(SIGCHLD, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	if (prepare(dir, allowed, &e) < 0 || (background && (ready = into_the_background(&e)) < 0) || lock_and_prove(allowed, &e) < 0)
		return fail(&e, e.code == EBUSY ? EX_BUSY : EX_PRIV);
	w->leaves = background;
	w->active_pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
	if (w->active_pidfd < 0) {
		err_errno(&e, "pidfd_open, without which nobody sees the end of this process (Linux 5.3)");
		return fail(&e, EX_FAIL);
	}
	if (background && leave_terminal(ready, &e) < 0)
		return fail(&e, EX_FAIL);
	make_spare();
	work();
}
