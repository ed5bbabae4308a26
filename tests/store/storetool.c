/* SPDX-License-Identifier: BSD-3-Clause */
/* The store for shell tests: activates a file and then does, in order, what its arguments say.
 *
 *   storetool check FILE
 *   storetool activate FILE [OPTION...] [STEP...]
 *     options  size=BYTES provision=never|create|rewrite|renew dir=DIR force stop=BYTES kill=BYTES
 *              (stop: progress returns false from there on; kill: SIGKILL to itself)
 *     steps    begin  end  crash  hold (until stdin ends)  recheck
 *              worker (a process that has what a worker gets of the file, until it is killed)
 *              write=PAGE+COUNT:BYTE  read=PAGE+COUNT  discard=PAGE+COUNT  random=COUNT
 *              load=PAGE+COUNT:FILE (writes FILE's first pages)
 *
 * Prints a line for each; exits 1 when the library refused, with its message.
 */
#include "config.h"

#include "common/size.h"
#include "store/backing.h"
#include "store/store.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t stop_at, kill_at;
static struct backing *backing;
static struct table *table;
static struct pool *pool;
static struct store *store;

static void die(const char *what, const struct errbuf *e)
{
	printf("%s: error %s: %s\n", what, strerrorname_np(e->code), e->text);
	exit(1);
}

static void print_report(const struct report *r, enum verdict from)
{
	for (size_t i = 0; i < r->count; i++)
		if (r->findings[i].verdict >= from)
			printf("%s %s: %s\n", verdict_name(r->findings[i].verdict), r->findings[i].item, r->findings[i].text);
}

static bool progress(void *arg, uint64_t done, uint64_t total)
{
	(void)arg;
	printf("progress %" PRIu64 "/%" PRIu64 "\n", done, total);
	fflush(stdout);
	if (kill_at && done >= kill_at)
		kill(getpid(), SIGKILL);
	return !stop_at || done < stop_at;
}

static void begin(void)
{
	struct errbuf e;
	struct table_totals n;

	if (backing_begin(backing, &table, &e) < 0)
		die("begin", &e);
	table_count(table, &n);
	printf("table fresh=%" PRIu64 " written=%" PRIu64 " lost=%" PRIu64 " generation=%" PRIu64 " unclean=%d\n", n.fresh,
	       n.written + n.same, n.lost, backing_activation(backing), backing_was_unclean(backing));
	pool = pool_create(256, true, &e);
	store = pool ? store_create(&(struct store_options){ .name = "tool", .fd = backing_fd(backing), .table = table, .pool = pool }, &e) : NULL;
	if (!store)
		die("begin", &e);
}

static void finish(void)
{
	struct errbuf e;

	store_drain(store, 10000);
	store_free(store);
	store = NULL;
	if (backing_end(backing, table, &e) < 0)
		die("end", &e);
	puts("ended");
}

/* Bytes of this value; one of each page is another, for pages of one value never reach the file. */
#define ODD_BYTE 100

static void fill(unsigned char *data, size_t pages, int value)
{
	memset(data, value, pages * PAGE_BYTES);
	for (size_t i = 0; value && i < pages; i++)
		data[i * PAGE_BYTES + ODD_BYTE] ^= 0xff;
}

static void rw(const char *step)
{
	unsigned long page, count, value = 0;
	const char *eq = strchr(step, '=');
	enum rw_op op = step[0] == 'w' ? RW_WRITE : step[0] == 'r' ? RW_READ : RW_DISCARD;
	unsigned char *data;
	int error, cause;
	bool same = true;

	if (!eq || sscanf(eq + 1, "%lu+%lu:%lu", &page, &count, &value) < 2)
		exit(2);
	data = malloc(count * PAGE_BYTES);
	if (!data)
		exit(2);
	fill(data, count, (int)value);
	error = store_rw(store, NULL, op, (uint64_t)page * PAGE_BYTES, (uint64_t)count * PAGE_BYTES, op == RW_DISCARD ? NULL : data, &cause);
	for (size_t i = 0; op == RW_READ && i < count * PAGE_BYTES; i++)
		same &= data[i] == (i % PAGE_BYTES == ODD_BYTE && data[0] ? data[0] ^ 0xff : data[0]);
	printf("%s error=%s cause=%s", step, error ? strerrorname_np(error) : "0", cause ? strerrorname_np(cause) : "0");
	if (op == RW_READ && !error)
		printf(same ? " value=%u" : " value=mixed", data[0]);
	putchar('\n');
	free(data);
}

/* Writes a file's first pages. */
static void load(const char *step)
{
	unsigned long page, count;
	const char *path = strchr(step, ':');
	unsigned char *data;
	int fd, error;

	if (!path || sscanf(step, "load=%lu+%lu", &page, &count) < 2)
		exit(2);
	data = malloc(count * PAGE_BYTES);
	fd = open(path + 1, O_RDONLY | O_CLOEXEC);
	if (!data || fd < 0 || read(fd, data, count * PAGE_BYTES) != (ssize_t)(count * PAGE_BYTES))
		exit(2);
	error = store_rw(store, NULL, RW_WRITE, (uint64_t)page * PAGE_BYTES, (uint64_t)count * PAGE_BYTES, data, NULL);
	printf("%s error=%d\n", step, error);
	close(fd);
	free(data);
}

/* Random requests, each read compared with a model of single bytes per page (-1: not known). */
static void random_requests(unsigned long count)
{
	uint64_t pages = backing_data_size(backing) / PAGE_BYTES;
	int *model = calloc(pages, sizeof(int));
	unsigned char *data = malloc(RW_BITE_PAGES * 2 * PAGE_BYTES);

	if (!model || !data)
		exit(2);
	for (uint64_t i = 0; i < pages; i++)
		model[i] = table_page(table, i).state == PAGE_FRESH ? 0 : -1;
	srand(7);
	for (unsigned long n = 0; n < count; n++) {
		uint64_t page = (uint64_t)rand() % pages, k = 1 + (uint64_t)rand() % (RW_BITE_PAGES * 2);
		int op = rand() % 3, value = op == RW_DISCARD ? 0 : 1 + rand() % 255;

		if (page + k > pages)
			k = pages - page;
		fill(data, k, value);
		if (value % 4 == 0)
			memset(data, value, k * PAGE_BYTES); /* of one value */
		if (store_rw(store, NULL, (enum rw_op)op, page * PAGE_BYTES, k * PAGE_BYTES, data, NULL) != 0) {
			puts("random: FAILED");
			exit(1);
		}
		for (uint64_t i = 0; i < k; i++) {
			if (op != RW_READ)
				model[page + i] = value;
			else if (model[page + i] >= 0 && (data[i * PAGE_BYTES] != model[page + i] ||
							  data[(i + 1) * PAGE_BYTES - 1] != model[page + i])) {
				printf("random: page %" PRIu64 " WRONG\n", page + i);
				exit(1);
			}
		}
	}
	puts("random: right");
	free(model);
	free(data);
}

static void hold(void)
{
	char c;

	puts("holding");
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
}

static void worker(void)
{
	pid_t pid;

	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		int fd = backing_worker_fd(backing);

		close_range(0, (unsigned)fd - 1, 0);
		close_range((unsigned)fd + 1, ~0U, 0);
		for (;;)
			pause();
	}
	printf("worker %d\n", (int)pid);
}

static bool option(struct backing_options *opt, const char *a)
{
	static const char *const names[] = { "never", "create", "rewrite", "renew" };

	if (strncmp(a, "size=", 5) == 0) {
		if (size_parse(a + 5, &opt->size) < 0)
			exit(2);
	} else if (strncmp(a, "provision=", 10) == 0) {
		for (int i = 0; i < 4; i++)
			if (strcmp(a + 10, names[i]) == 0)
				opt->provision = (enum provision)i;
	} else if (strncmp(a, "dir=", 4) == 0) {
		opt->dirfd = open(a + 4, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	} else if (strcmp(a, "force") == 0) {
		opt->force = true;
	} else if (strncmp(a, "stop=", 5) == 0) {
		size_parse(a + 5, &stop_at);
	} else if (strncmp(a, "kill=", 5) == 0) {
		size_parse(a + 5, &kill_at);
	} else {
		return false;
	}
	return true;
}

static void step(const char *a)
{
	struct report r;

	if (strcmp(a, "begin") == 0) {
		begin();
	} else if (strcmp(a, "end") == 0) {
		finish();
	} else if (strcmp(a, "crash") == 0) {
		fflush(stdout);
		_exit(0);
	} else if (strcmp(a, "worker") == 0) {
		worker();
	} else if (strcmp(a, "hold") == 0) {
		hold();
	} else if (strcmp(a, "recheck") == 0) {
		backing_recheck(backing, &r);
		printf("recheck %s\n", verdict_name(report_worst(&r)));
		print_report(&r, VERDICT_WARN);
	} else if (strncmp(a, "random=", 7) == 0) {
		random_requests(strtoul(a + 7, NULL, 10));
	} else if (strncmp(a, "load=", 5) == 0) {
		load(a);
	} else {
		rw(a);
	}
}

int main(int argc, char **argv)
{
	struct backing_options opt = { .provision = PROVISION_CREATE, .dirfd = AT_FDCWD, .allow_unlocked = true, .progress = progress };
	struct errbuf e = { .code = 0 };
	struct report r;
	int i = 3;

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc < 3)
		return 2;
	if (strcmp(argv[1], "check") == 0) {
		if (backing_check(argv[2], &r, &e) < 0)
			die("check", &e);
		print_report(&r, VERDICT_OK);
		return report_worst(&r) == VERDICT_FAIL;
	}
	while (i < argc && option(&opt, argv[i]))
		i++;
	if (backing_activate(argv[2], &opt, &backing, &r, &e) < 0)
		die("activate", &e);
	print_report(&r, VERDICT_WARN);
	printf("activated %s size=%" PRIu64 " backend=%s\n", backing_path(backing), backing_data_size(backing),
	       backing_backend(backing)->name);
	for (; i < argc; i++)
		step(argv[i]);
	store_free(store);
	pool_free(pool);
	table_free(table);
	backing_close(backing);
	return 0;
}
