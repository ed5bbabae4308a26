/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/holders.h"

#include "common/cleanup.h"
#include "common/printable.h"
#include "common/size.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ENTRIES 16384 /* of a page table at once */
#define REAP_MS 1000

/* Documentation/admin-guide/mm/pagemap.rst */
#define ENTRY_PRESENT (UINT64_C(1) << 63)
#define ENTRY_SWAPPED (UINT64_C(1) << 62)
#define ENTRY_TYPE UINT64_C(0x1f)

/* What the child says of one. */
struct found {
	size_t index;
	uint64_t pages;
};

uint64_t holders_count_entries(const uint64_t *entries, size_t count, int type)
{
	uint64_t n = 0;

	for (size_t i = 0; i < count; i++)
		n += (entries[i] & (ENTRY_PRESENT | ENTRY_SWAPPED)) == ENTRY_SWAPPED && (int)(entries[i] & ENTRY_TYPE) == type;
	return n;
}

/* The pages of one area; false when they cannot be read. */
static bool count_area(int pagemap, uint64_t begin, uint64_t end, uint64_t page_size, int type, uint64_t *pages)
{
	static uint64_t entries[ENTRIES];

	for (uint64_t at = begin / page_size; at < end / page_size;) {
		size_t want = end / page_size - at < ENTRIES ? (size_t)(end / page_size - at) : ENTRIES;
		ssize_t n = pread(pagemap, entries, want * sizeof(entries[0]), (off_t)(at * sizeof(entries[0])));

		if (n <= 0)
			return n == 0;
		*pages += holders_count_entries(entries, (size_t)n / sizeof(entries[0]), type);
		at += (size_t)n / sizeof(entries[0]);
	}
	return true;
}

static bool count_process(pid_t pid, int type, uint64_t *pages)
{
	uint64_t page_size = (uint64_t)sysconf(_SC_PAGESIZE), begin, end;
	CLEANUP_FCLOSE FILE *maps = NULL;
	CLEANUP_CLOSE int pagemap = -1;
	char path[64], line[4400];

	snprintf(path, sizeof(path), "/proc/%d/maps", (int)pid);
	maps = fopen(path, "re");
	snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
	pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (!maps || pagemap < 0)
		return false;
	*pages = 0;
	while (fgets(line, sizeof(line), maps))
		if (sscanf(line, "%" SCNx64 "-%" SCNx64, &begin, &end) == 2 && !strstr(line, "[vsyscall]") &&
		    !count_area(pagemap, begin, end, page_size, type, pages))
			return false;
	return true;
}

static void child(const struct holders *h, int type, int out)
{
	for (size_t i = 0; i < h->count; i++) {
		struct found f = { .index = i };

		if (count_process(h->list[i].pid, type, &f.pages) && write(out, &f, sizeof(f)) != (ssize_t)sizeof(f))
			break;
	}
	_exit(0);
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000) + t.tv_nsec / 1000000;
}

static void end_child(pid_t pid)
{
	const struct timespec pause = { .tv_nsec = 10000000 };

	kill(pid, SIGKILL);
	/* A lock that it waits for is given up when it is killed, but only almost all of the kernel's waits are such. */
	for (int64_t until = now_ms() + REAP_MS; waitpid(pid, NULL, WNOHANG) == 0 && now_ms() < until;)
		nanosleep(&pause, NULL);
}

/* Puts in the place of "at most" what the page tables say. */
static int look_through(struct holders *h, int type, int budget_ms, struct errbuf *e)
{
	int64_t until = now_ms() + budget_ms, left;
	CLEANUP_CLOSE int in = -1;
	struct found f;
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return err_errno(e, "pipe");
	in = ends[0];
	pid = fork();
	if (pid == 0)
		child(h, type, ends[1]);
	close(ends[1]);
	if (pid < 0)
		return err_errno(e, "fork");
	while ((left = until - now_ms()) > 0) {
		struct pollfd p = { .fd = in, .events = POLLIN };

		if (poll(&p, 1, (int)left) <= 0)
			continue;
		if (read(in, &f, sizeof(f)) != (ssize_t)sizeof(f))
			break;
		h->list[f.index].bytes = f.pages * (uint64_t)sysconf(_SC_PAGESIZE);
		h->list[f.index].at_most = false;
	}
	end_child(pid);
	return 0;
}

static int by_size(const void *a, const void *b)
{
	const struct holder *x = a, *y = b;

	return x->bytes != y->bytes ? (x->bytes < y->bytes) - (x->bytes > y->bytes) : (x->pid > y->pid) - (x->pid < y->pid);
}

/* From /proc/PID/status, which waits for nothing.  False: it has nothing in swap, or is gone. */
static bool read_status(pid_t pid, struct holder *out)
{
	CLEANUP_FCLOSE FILE *in = NULL;
	char path[64], line[256];
	uint64_t kib = 0;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	in = fopen(path, "re");
	if (!in)
		return false;
	*out = (struct holder){ .pid = pid };
	while (fgets(line, sizeof(line), in)) {
		line[strcspn(line, "\n")] = '\0';
		if (strncmp(line, "Name:\t", 6) == 0)
			printable_copy(out->name, sizeof(out->name), line + 6, strlen(line + 6));
		else if (sscanf(line, "VmSwap: %" SCNu64 " kB", &kib) == 1)
			break;
	}
	out->bytes = kib * 1024;
	return kib > 0;
}

static int list_processes(struct holders *h, struct errbuf *e)
{
	CLEANUP_CLOSEDIR DIR *d = opendir("/proc");
	const struct dirent *entry;
	size_t room = 0;

	if (!d)
		return err_errno(e, "cannot open /proc");
	while ((entry = readdir(d)) != NULL) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		if (h->count == room) {
			void *more = reallocarray(h->list, room ? 2 * room : 64, sizeof(*h->list));

			if (!more)
				return err_set(e, ENOMEM, "no memory");
			h->list = more;
			room = room ? 2 * room : 64;
		}
		h->count += read_status((pid_t)atoi(entry->d_name), &h->list[h->count]);
	}
	return 0;
}

int holders_find(const struct swap_list *swaps, const char *device, int type, int budget_ms, struct holders *out, struct errbuf *e)
{
	bool alone = swaps->count == 1 && procswaps_find(swaps, device);
	size_t n = 0;

	memset(out, 0, sizeof(*out));
	if (!procswaps_find(swaps, device))
		return 0;
	if (list_processes(out, e) < 0)
		return -1;
	qsort(out->list, out->count, sizeof(*out->list), by_size);
	for (size_t i = 0; i < out->count; i++)
		out->list[i].at_most = !alone;
	if (!alone && type != SWAP_TYPE_UNKNOWN && geteuid() == 0 && look_through(out, type, budget_ms, e) < 0)
		return -1;
	for (size_t i = 0; i < out->count; i++) {
		if (out->list[i].bytes == 0)
			continue;
		out->list[n] = out->list[i];
		out->bytes += out->list[n].bytes;
		out->at_most |= out->list[n++].at_most;
	}
	out->count = n;
	qsort(out->list, out->count, sizeof(*out->list), by_size);
	return 0;
}

void holders_free(struct holders *h)
{
	free(h->list);
	memset(h, 0, sizeof(*h));
}

void holders_print(FILE *out, const struct holders *h, size_t most, const char *prefix)
{
	char text[SIZE_TEXT];
	uint64_t rest = 0;

	for (size_t i = 0; i < h->count; i++) {
		if (i < most)
			fprintf(out, "%s%7d  %-15s %s%s\n", prefix, (int)h->list[i].pid, h->list[i].name,
				h->list[i].at_most ? "at most " : "", size_format(h->list[i].bytes, text));
		else
			rest += h->list[i].bytes;
	}
	if (h->count > most)
		fprintf(out, "%s%zu more, %s%s\n", prefix, h->count - most, h->at_most ? "at most " : "", size_format(rest, text));
}
