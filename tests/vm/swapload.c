/* SPDX-License-Identifier: BSD-3-Clause */
/* The project's memory test: fills memory with a seeded sequence, changes every page over several rounds, and
 * looks at every word before it changes it. See usage() for the options.
 *
 * The words of a page in a round are a linear congruential sequence whose start is a hash of seed, process, page
 * and round: a page that is old, another's, shifted, torn or zero differs in its first words, at two instructions
 * a word, which matters on an emulated processor. Static, with nothing allocated while it runs.
 */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096u
#define WORDS (PAGE / sizeof(uint64_t))
#define MAX_PROCESSES 64

enum { CODE_WRONG = 1, CODE_USAGE = 2, CODE_SIGBUS = 3, CODE_SYSTEM = 4 };

struct options {
	uint64_t pages; /* per process */
	uint64_t seed;
	unsigned processes;
	unsigned rounds;
	unsigned passes; /* 0: a page that cannot be read ends the test */
	bool json;
	bool corrupt;
};

/* What a process tells its parent; shared and locked, so that looking at it never waits for swap. */
struct progress {
	volatile uint64_t touched; /* pages, over all rounds */
	volatile uint64_t longest_us;
	volatile unsigned round;
	volatile uint64_t unreadable; /* pages, in the last pass */
};

struct worker {
	const struct options *opt;
	struct progress *progress;
	uint64_t *memory;
	unsigned number;
	unsigned char *unfilled; /* with passes: pages whose filling failed half-way */
};

/* For the handler of SIGBUS. */
static struct worker self;
static sigjmp_buf next_page;

static uint64_t
splitmix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static uint64_t
first_word(const struct worker *w, uint64_t page, unsigned round)
{
	uint64_t where = (uint64_t)w->number << 56 | (uint64_t)round << 40 | page;

	return splitmix(splitmix(w->opt->seed) ^ splitmix(where));
}

static uint64_t
next_word(uint64_t word)
{
	return word * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
}

static uint64_t
now_us(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000 + (uint64_t)t.tv_nsec / 1000;
}

/* Touches the page and keeps the time when it is the longest so far. To write means: for the first time, when reading would only
 * find the zero page. */
static void
touch(const struct worker *w, uint64_t *page, bool write)
{
	uint64_t start = now_us();

	if (write)
		*(volatile uint64_t *)page = 0;
	else
		(void)*(const volatile uint64_t *)page;
	uint64_t us = now_us() - start;

	if (us > w->progress->longest_us)
		w->progress->longest_us = us;
}

static void __attribute__((noreturn))
wrong(const struct worker *w, uint64_t page, size_t i, unsigned round, uint64_t expected, uint64_t found)
{
	printf("swapload: WRONG process %u page %" PRIu64 " word %zu round %u: expected %016" PRIx64
	       ", found %016" PRIx64 "\n",
	       w->number, page, i, round, expected, found);
	fflush(stdout);
	_exit(CODE_WRONG);
}

/* Verifies a page as round left it and, with next, writes it as the next round has it. */
static void
visit(const struct worker *w, uint64_t page, unsigned round, bool next)
{
	uint64_t *p = w->memory + page * WORDS;
	uint64_t expected = first_word(w, page, round);
	uint64_t replacement = first_word(w, page, round + 1);

	touch(w, p, false);
	for (size_t i = 0; i < WORDS; i++) {
		if (p[i] != expected)
			wrong(w, page, i, round, expected, p[i]);
		expected = next_word(expected);
		if (next) {
			p[i] = replacement;
			replacement = next_word(replacement);
		}
	}
	w->progress->touched++;
}

/* All pages, in order or each once in an order that the seed gives: a full-period sequence modulo a power of
 * two, without the numbers that are too big. Needs no memory. */
static void
visit_all(const struct worker *w, unsigned round, bool random, bool next)
{
	uint64_t size = 1, x;

	w->progress->round = round + (next ? 1 : 0);
	if (!random) {
		for (uint64_t page = 0; page < w->opt->pages; page++)
			visit(w, page, round, next);
		return;
	}
	while (size < w->opt->pages)
		size *= 2;
	uint64_t h = splitmix(w->opt->seed ^ round);
	uint64_t step = h | 1, factor = (h >> 32 & ~UINT64_C(7)) | 5;

	x = splitmix(h) & (size - 1);
	for (uint64_t n = 0; n < size; n++) {
		if (x < w->opt->pages)
			visit(w, x, round, next);
		x = (x * factor + step) & (size - 1);
	}
}

/* The page could not be read back. Only what a handler may call. */
static void
on_sigbus(int sig, siginfo_t *info, void *context)
{
	char text[160];
	uint64_t page = (uint64_t)((char *)info->si_addr - (char *)self.memory) / PAGE;
	int n;

	if (self.opt->passes)
		siglongjmp(next_page, 1);
	n = snprintf(text, sizeof text, "swapload: SIGBUS process %u page %" PRIu64 " round %u\n", self.number,
			 page, self.progress->round);

	if (n > 0 && write(1, text, (size_t)n) < 0)
		_exit(CODE_SYSTEM);
	_exit(CODE_SIGBUS);
}

static void __attribute__((noreturn))
system_error(const char *what)
{
	printf("swapload: %s: %s\n", what, strerror(errno));
	fflush(stdout);
	_exit(CODE_SYSTEM);
}

static void
fill(uint64_t page)
{
	uint64_t *p = self.memory + page * WORDS;
	uint64_t word = first_word(&self, page, 0);

	touch(&self, p, true);
	for (size_t i = 0; i < WORDS; i++) {
		p[i] = word;
		word = next_word(word);
	}
	self.progress->touched++;
}

/* Memory of which some cannot be read for a while: it is filled once and looked at several times, because a change that fails in
 * the middle of a page would leave it neither old nor new. */
static void
work_on_bad_swap(void)
{
	for (volatile uint64_t page = 0; page < self.opt->pages; page++)
		if (sigsetjmp(next_page, 1) == 0)
			fill(page);
		else
			self.unfilled[page] = 1;
	for (volatile unsigned pass = 1; pass <= self.opt->passes; pass++) {
		volatile uint64_t unreadable = 0, skipped = 0;

		self.progress->round = pass;
		for (volatile uint64_t page = 0; page < self.opt->pages; page++)
			if (self.unfilled[page])
				skipped++;
			else if (sigsetjmp(next_page, 1) == 0)
				visit(&self, page, 0, false);
			else
				unreadable++;
		self.progress->unreadable = unreadable;
		printf("swapload: process %u pass %u: %" PRIu64 " pages right, %" PRIu64 " unreadable, %" PRIu64
		       " not filled\n",
		       self.number, pass, self.opt->pages - unreadable - skipped, unreadable, skipped);
		fflush(stdout);
	}
}

static void __attribute__((noreturn))
work(const struct options *opt, struct progress *progress, unsigned number)
{
	static char stack[65536];
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK};

	self = (struct worker){.opt = opt, .progress = progress, .number = number};
	if (opt->passes) {
		self.unfilled = calloc(opt->pages, 1);
		if (!self.unfilled)
			system_error("calloc");
		memset(self.unfilled, 0, opt->pages);
		/* The page that cannot be read must not be one of the test's own. */
		if (mlockall(MCL_CURRENT) < 0)
			system_error("mlockall");
	}
	self.memory = mmap(NULL, opt->pages * PAGE, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (self.memory == MAP_FAILED)
		system_error("mmap");
	if (sigaltstack(&(stack_t){.ss_sp = stack, .ss_size = sizeof stack}, NULL) < 0 ||
	    sigaction(SIGBUS, &action, NULL) < 0)
		system_error("SIGBUS handler");

	if (opt->passes) {
		work_on_bad_swap();
		_exit(0);
	}
	for (uint64_t page = 0; page < opt->pages; page++)
		fill(page);
	for (unsigned round = 0; round < opt->rounds; round++) {
		if (opt->corrupt && round == 1 && number == 0)
			self.memory[opt->pages / 2 * WORDS + 17] ^= UINT64_C(1) << 40;
		visit_all(&self, round, round % 2 == 1, true);
	}
	visit_all(&self, opt->rounds, false, false);
	_exit(0);
}

struct vmstat {
	uint64_t out, in;
};

static struct vmstat
read_vmstat(void)
{
	struct vmstat v = {0};
	FILE *f = fopen("/proc/vmstat", "re");
	char line[128];

	while (f && fgets(line, sizeof line, f)) {
		sscanf(line, "pswpout %" SCNu64, &v.out);
		sscanf(line, "pswpin %" SCNu64, &v.in);
	}
	if (f)
		fclose(f);
	return v;
}

struct totals {
	uint64_t touched, longest_us, unreadable;
	unsigned round; /* that the slowest process is in */
};

static struct totals
add_up(const struct options *opt, const struct progress *progress)
{
	struct totals t = {.round = opt->passes ? opt->passes : opt->rounds};

	for (unsigned i = 0; i < opt->processes; i++) {
		t.touched += progress[i].touched;
		t.unreadable += progress[i].unreadable;
		if (progress[i].longest_us > t.longest_us)
			t.longest_us = progress[i].longest_us;
		if (progress[i].round < t.round)
			t.round = progress[i].round;
	}
	return t;
}

static int
child_code(int status)
{
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	printf("swapload: a process was ended by signal %d\n", WTERMSIG(status));
	return WTERMSIG(status) == SIGBUS ? CODE_SIGBUS : CODE_SYSTEM;
}

/* SIGUSR1: the longest pause since the last mark, so that a test knows what the outage between two cost. */
static void
mark(const struct options *opt, struct progress *progress)
{
	struct totals t = add_up(opt, progress);

	for (unsigned i = 0; i < opt->processes; i++)
		progress[i].longest_us = 0;
	printf("swapload: mark: longest pause %" PRIu64 " us, %" PRIu64 " pages touched\n", t.longest_us, t.touched);
	fflush(stdout);
}

/* Starts the processes, reports each second, and returns the exit code: that of the first which failed. */
static int
supervise(const struct options *opt, struct progress *progress)
{
	struct vmstat before = read_vmstat();
	uint64_t start = now_us();
	pid_t pids[MAX_PROCESSES];
	unsigned running = 0;
	int code = 0;
	sigset_t heard;

	sigemptyset(&heard);
	sigaddset(&heard, SIGCHLD);
	sigaddset(&heard, SIGUSR1);
	sigprocmask(SIG_BLOCK, &heard, NULL);
	for (; running < opt->processes; running++) {
		pids[running] = fork();
		if (pids[running] < 0)
			system_error("fork");
		if (pids[running] == 0)
			work(opt, &progress[running], running);
	}
	while (running > 0) {
		const struct timespec second = {.tv_sec = 1};
		int status, signal = sigtimedwait(&heard, NULL, &second);
		pid_t pid;

		if (signal == SIGUSR1)
			mark(opt, progress);
		if (signal < 0 && errno == EAGAIN && !opt->json) {
			struct totals t = add_up(opt, progress);
			struct vmstat v = read_vmstat();

			printf("swapload: %3" PRIu64 " s, round %u of %u, %" PRIu64 " pages touched, "
			       "out %" PRIu64 ", in %" PRIu64 ", longest pause %" PRIu64 " us\n",
			       (now_us() - start) / 1000000, t.round, opt->passes ? opt->passes : opt->rounds, t.touched,
			       v.out - before.out, v.in - before.in, t.longest_us);
			fflush(stdout);
		}
		while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
			running--;
			for (unsigned i = 0; i < opt->processes; i++)
				if (pids[i] == pid)
					pids[i] = 0;
			if (child_code(status) == 0 || code != 0)
				continue;
			code = child_code(status);
			for (unsigned i = 0; i < opt->processes; i++)
				if (pids[i] > 0)
					kill(pids[i], SIGKILL);
		}
	}

	struct totals t = add_up(opt, progress);
	struct vmstat after = read_vmstat();
	uint64_t pages = opt->pages * opt->processes, ms = (now_us() - start) / 1000;
	static const char *const verdicts[] = {"OK", "WRONG", "", "SIGBUS", "ERROR"};
	const char *verdict = verdicts[code];

	if (opt->passes)
		printf("swapload: %" PRIu64 " pages unreadable in the last pass\n", t.unreadable);

	printf(opt->json ? "{\"verdict\":\"%s\",\"pages\":%" PRIu64 ",\"rounds\":%u,\"processes\":%u,\"pswpout\":%" PRIu64
			   ",\"pswpin\":%" PRIu64 ",\"longest_pause_us\":%" PRIu64 ",\"milliseconds\":%" PRIu64 "}\n"
			 : "swapload: %s, %" PRIu64 " pages x %u rounds, %u processes, pswpout=%" PRIu64
			   " pswpin=%" PRIu64 " longest pause %" PRIu64 " us, %" PRIu64 " ms\n",
	       verdict, pages, opt->rounds, opt->processes, after.out - before.out, after.in - before.in,
	       t.longest_us, ms);
	return code;
}

static void __attribute__((noreturn))
usage(int code)
{
	fputs("usage: swapload --size MIB [--processes N] [--rounds R | --passes P] [--seed S] [--json]\n"
	      "MIB of memory in all, divided among N processes (1), are filled, changed in R rounds (2; page order and\n"
	      "random order in turn), and verified word by word before each change and, in page order, at the end.\n"
	      "With --passes memory is filled and then looked at P times; pages that cannot be read are counted, and tried again in the\n"
	      "next pass. At SIGUSR1 it prints the longest pause since the last such mark.\n"
	      "Exit codes: 0 every word was right, 1 one was wrong, 2 usage, 3 SIGBUS (a page could not be read back),\n"
	      "4 a system error or a process was killed.\n",
	      code ? stderr : stdout);
	exit(code);
}

static uint64_t
number(const char *text, uint64_t min, uint64_t max)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (errno || *end || end == text || n < min || n > max) {
		fprintf(stderr, "swapload: %s is not a number from %" PRIu64 " to %" PRIu64 "\n", text, min, max);
		exit(CODE_USAGE);
	}
	return n;
}

int
main(int argc, char **argv)
{
	static const struct option longs[] = {
		{"size", required_argument, NULL, 's'},	 {"processes", required_argument, NULL, 'p'},
		{"rounds", required_argument, NULL, 'r'}, {"passes", required_argument, NULL, 'P'},
		{"seed", required_argument, NULL, 'S'},
		{"json", no_argument, NULL, 'j'},	 {"help", no_argument, NULL, 'h'},
		{"corrupt", no_argument, NULL, 'c'}, /* for the test of this test: one bit flips after a round */
		{NULL},
	};
	struct options opt = {.processes = 1, .rounds = 2, .seed = 1};
	uint64_t mib = 0;
	int c;

	while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
		switch (c) {
		case 's': mib = number(optarg, 1, 1 << 20); break;
		case 'p': opt.processes = (unsigned)number(optarg, 1, MAX_PROCESSES); break;
		case 'r': opt.rounds = (unsigned)number(optarg, 0, 60000); break;
		case 'P': opt.passes = (unsigned)number(optarg, 1, 1000); break;
		case 'S': opt.seed = number(optarg, 0, UINT64_MAX); break;
		case 'j': opt.json = true; break;
		case 'c': opt.corrupt = true; break;
		case 'h': usage(0);
		default: usage(CODE_USAGE);
		}
	}
	if (mib == 0 || optind < argc)
		usage(CODE_USAGE);
	opt.pages = mib * (1048576 / PAGE) / opt.processes;

	if (opt.passes && opt.json) /* its lines are for people */
		usage(CODE_USAGE);
	size_t bytes = opt.processes * sizeof(struct progress);
	struct progress *progress = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	if (progress == MAP_FAILED)
		system_error("mmap");
	if (mlock(progress, bytes) < 0)
		system_error("mlock");
	if (opt.passes && mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
		system_error("mlockall");
	return supervise(&opt, progress);
}
