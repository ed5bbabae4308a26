/* SPDX-License-Identifier: BSD-3-Clause */
/* Makes an orphan and waits for it: a child begins one direct write or read of a page and is killed; see usage(). The file's other writes and
 * reads, the barrier's own too, must not be delayed where they lie, or the order of arrival proves nothing.
 */
#include "config.h"

#include "store/barrier.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define AT (512 * PAGE) /* no read-ahead from the beginning comes so far */
#define LATE_MS 15000
#define REAP_MS 60000

static unsigned char *memory, *want; /* what the child reads into or writes from, shared; what is to arrive */

static void __attribute__((noreturn)) die(const char *what)
{
	printf("orphan: %s: %s\n", what, strerror(errno));
	exit(2);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

static void *shared_page(void)
{
	void *p = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		die("mmap");
	return p;
}

/* One request, submitted and left. */
static void submit(int fd, bool is_write)
{
	struct io_uring_params p = { .flags = 0 };
	int ring = (int)syscall(__NR_io_uring_setup, 1, &p);
	size_t sqes_bytes = p.sq_entries * sizeof(struct io_uring_sqe), ring_bytes = p.sq_off.array + p.sq_entries * sizeof(uint32_t);
	struct io_uring_sqe *sqe;
	char *sq;

	if (ring < 0)
		die("io_uring_setup");
	sq = mmap(NULL, ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring, IORING_OFF_SQ_RING);
	sqe = mmap(NULL, sqes_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, ring, (off_t)IORING_OFF_SQES);
	if (sq == MAP_FAILED || sqe == MAP_FAILED)
		die("mmap of the ring");
	*sqe = (struct io_uring_sqe){ .opcode = is_write ? IORING_OP_WRITE : IORING_OP_READ, .fd = fd, .off = AT,
				      .addr = (uint64_t)(uintptr_t)memory, .len = PAGE };
	memset(sq + p.sq_off.array, 0, sizeof(uint32_t));
	__atomic_store_n((uint32_t *)(void *)(sq + p.sq_off.tail), 1, __ATOMIC_RELEASE);
	if (syscall(__NR_io_uring_enter, ring, 1, 0, 0, NULL, 0) != 1)
		die("io_uring_enter");
}

/* Does every thread of it sleep, the kernel's for its ring too? */
static bool is_asleep(pid_t pid)
{
	char path[64], text[256];
	struct dirent *entry;
	bool asleep = true;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
	dir = opendir(path);
	while (dir && (entry = readdir(dir))) {
		char stat_path[sizeof(path) + sizeof(entry->d_name) + 8];
		const char *state;
		ssize_t n;
		int fd;

		snprintf(stat_path, sizeof(stat_path), "%s/%s/stat", path, entry->d_name);
		fd = entry->d_name[0] == '.' ? -1 : open(stat_path, O_RDONLY);
		if (fd < 0)
			continue;
		n = read(fd, text, sizeof(text) - 1);
		close(fd);
		text[n > 0 ? n : 0] = '\0';
		state = strrchr(text, ')');
		asleep &= state && strchr("SD", state[2]);
	}
	if (dir)
		closedir(dir);
	return asleep;
}

/* Until its request must have begun: what is killed before that leaves no orphan. */
static void await_asleep(pid_t pid)
{
	for (int looks = 0; looks < 4; looks = is_asleep(pid) ? looks + 1 : 0)
		nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
}

static pid_t begin(int fd, bool by_ring, bool is_write)
{
	struct iovec io = { .iov_base = memory, .iov_len = PAGE };
	int told[2];
	char byte;
	pid_t pid;

	if (pipe(told) < 0 || (pid = fork()) < 0)
		die("fork");
	if (pid == 0) {
		if (by_ring)
			submit(fd, is_write);
		if (write(told[1], "", 1) != 1)
			die("write");
		if (!by_ring && (is_write ? pwritev(fd, &io, 1, AT) : preadv(fd, &io, 1, AT)) < 0)
			die("I/O");
		for (;;)
			pause();
	}
	if (read(told[0], &byte, 1) != 1)
		die("the child ended");
	await_asleep(pid);
	return pid;
}

static void reap(pid_t pid)
{
	struct pollfd p = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };

	kill(pid, SIGKILL);
	if (poll(&p, 1, REAP_MS) != 1)
		die("the child does not end");
	waitpid(pid, NULL, 0);
}

struct look {
	int fd; /* -1: in memory */
	off_t at;
};

static bool has_arrived(const struct look *l)
{
	static unsigned char *page;

	if (l->fd < 0)
		return memcmp(memory, want, PAGE) == 0;
	if (!page)
		page = shared_page();
	if (pread(l->fd, page, PAGE, l->at) != PAGE)
		die("look");
	return memcmp(page, want, PAGE) == 0;
}

/* Where on the device the page is that begins so. */
static off_t find_on(int fd, const unsigned char *page)
{
	size_t step = 1 << 20;
	unsigned char *buffer = mmap(NULL, step, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ssize_t n;

	for (off_t at = 0; (n = pread(fd, buffer, step, at)) > 0; at += n)
		for (ssize_t i = 0; i + PAGE <= n; i += PAGE)
			if (memcmp(buffer + i, page, PAGE) == 0)
				return at + i;
	die("the page is not on the device");
}

static void __attribute__((noreturn)) usage(void)
{
	fputs("usage: orphan FILE pwrite|uring write|read LOOK barrier|none [COMMAND]\n"
	      "Makes an orphan on page 512 of FILE, waits for it with the store's barrier or not at all, and prints whether it had arrived before and\n"
	      "after that and at last. LOOK is where a written page is seen: FILE, the same file by another way, or the block device that it is\n"
	      "on. COMMAND is run when the file is open, before anything begins. Exit codes: 0, 2 something else failed.\n", stderr);
	exit(2);
}

int main(int argc, char **argv)
{
	const char *path = argv[1];
	bool by_ring, is_write, waits, before, after, late;
	unsigned seed = (unsigned)time(NULL) * 7919u;
	struct look look = { -1, AT };
	int64_t start, reaped, passed;
	struct backend b;
	struct errbuf e = { .text = "" };
	struct stat st;
	int fd, worker_fd, error = 0;
	pid_t pid;

	if (argc != 6 && argc != 7)
		usage();
	by_ring = strcmp(argv[2], "uring") == 0;
	is_write = strcmp(argv[3], "write") == 0;
	waits = strcmp(argv[5], "barrier") == 0;
	fd = open(path, O_RDWR | O_DIRECT);
	if (fd < 0 || backend_find(fd, path, &b, &e) < 0)
		die(path);
	want = shared_page();
	memory = shared_page();
	if (is_write) {
		bool direct;

		if (stat(argv[4], &st) < 0)
			die(argv[4]);
		direct = S_ISBLK(st.st_mode) || strcmp(argv[4], path) == 0;
		look.fd = open(argv[4], O_RDONLY | (direct ? O_DIRECT : 0));
		if (look.fd < 0)
			die(argv[4]);
		if (pread(fd, memory, PAGE, AT) != PAGE)
			die("read");
		if (S_ISBLK(st.st_mode) && strcmp(argv[4], path) != 0)
			look.at = find_on(look.fd, memory);
		for (int i = 0; i < PAGE; i++)
			want[i] = (unsigned char)((seed = seed * 1103515245u + 12345u) >> 16);
		memcpy(memory, want, PAGE);
	} else {
		look.at = AT;
		look.fd = open(argv[4], O_RDONLY);
		if (look.fd < 0 || pread(look.fd, want, PAGE, AT) != PAGE)
			die(argv[4]);
		close(look.fd);
		look.fd = -1;
	}

	if (argc == 7 && system(argv[6]) != 0)
		die(argv[6]);
	if (barrier_worker_fd(&b, fd, path, &worker_fd, &e) < 0)
		die(e.text);
	pid = begin(worker_fd < 0 ? fd : worker_fd, by_ring, is_write);
	start = now_ms();
	reap(pid);
	reaped = now_ms();
	before = has_arrived(&look);
	if (waits && backend_barrier(&b, fd, &worker_fd, path, &e) < 0)
		error = e.code;
	passed = now_ms();
	after = has_arrived(&look);
	for (late = after; !late && now_ms() < passed + LATE_MS; late = has_arrived(&look))
		nanosleep(&(struct timespec){ .tv_nsec = 20000000 }, NULL);
	printf("%s %s %s %s: reaped_ms=%d before=%d waited_ms=%d error=%d after=%d late=%d late_ms=%d %s\n", b.name, argv[2], argv[3], argv[5],
	       (int)(reaped - start), before, (int)(passed - reaped), error, after, late, (int)(now_ms() - passed), error ? e.text : "");
	return 0;
}
