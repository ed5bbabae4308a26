/* SPDX-License-Identifier: BSD-3-Clause */
/* The fault layer: which call fails, and how the calls without data do.  Those with data are in faultio.c, the rules' text is read in
 * faultrules.c.
 */
#include "config.h"

#include "store/fault.h"

#include "store/faultrules.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define HANG_LOOK_MS 5

static struct fault_rule rules[FAULT_RULES];
static unsigned rule_count;
static struct fault_counters own;
static struct fault_counters *counters = &own;

static const char *const kind_names[FAULT_KINDS] = {
	"errno", "short", "torn", "lost", "misdirect", "flip", "delay", "hang", "kill", "done",
};

static const char *const point_names[SYS_POINT_COUNT] = {
#define SYS_POINT_NAME(name, word) [POINT_##name] = word,
	SYS_POINTS(SYS_POINT_NAME)
#undef SYS_POINT_NAME
};

const char *fault_kind_name(enum fault_kind kind)
{
	return kind_names[kind];
}

const char *fault_point_name(enum sys_point point)
{
	return point_names[point];
}

void fault_count_in(struct fault_counters *where)
{
	counters = where ? where : &own;
}

struct fault_counters *fault_counters(void)
{
	return counters;
}

uint64_t fault_calls(void)
{
	uint64_t n = 0;

	for (int p = 0; p < SYS_POINT_COUNT; p++)
		n += counters->calls[p];
	return n;
}

uint64_t fault_hits(enum fault_kind kind)
{
	uint64_t n = 0;

	for (int p = 0; p < SYS_POINT_COUNT; p++)
		n += counters->hits[p][kind];
	return n;
}

uint64_t fault_hits_at(enum sys_point point)
{
	uint64_t n = 0;

	for (int k = 0; k < FAULT_DONE; k++)
		n += counters->hits[point][k];
	return n;
}

int fault_configure(const char *text, struct errbuf *e)
{
	struct fault_rule fresh[FAULT_RULES] = { { .points = 0 } };
	int n = fault_rules_parse(text ? text : "", fresh, e);

	if (n < 0)
		return -1;
	for (int i = 0; i < n; i++)
		rules[i] = fresh[i];
	rule_count = (unsigned)n;
	return 0;
}

static void unusable(const char *variable, const char *why)
{
	fprintf(stderr, "%s: %s\n", variable, why);
	abort();
}

__attribute__((constructor)) static void from_environment(void)
{
	const char *text = getenv("NBDSWAP_FAULTS"), *file = getenv("NBDSWAP_FAULTS_COUNTERS");
	struct errbuf e;
	void *p;
	int fd;

	if (file && *file) {
		fd = open(file, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
		if (fd < 0 || ftruncate(fd, sizeof(*counters)) < 0)
			unusable("NBDSWAP_FAULTS_COUNTERS", "the file cannot be made");
		p = mmap(NULL, sizeof(*counters), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
		if (p == MAP_FAILED)
			unusable("NBDSWAP_FAULTS_COUNTERS", "the file cannot be mapped");
		close(fd);
		counters = p;
	}
	if (text && fault_configure(text, &e) < 0)
		unusable("NBDSWAP_FAULTS", e.text);
}

/* splitmix64 (Vigna, public domain algorithm). */
static uint64_t mix(uint64_t x)
{
	x += UINT64_C(0x9e3779b97f4a7c15);
	x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
	return x ^ x >> 31;
}

static bool hits(struct fault_rule *r, uint64_t *random)
{
	uint64_t n;

	if (r->trigger[0] && access(r->trigger, F_OK) < 0)
		return false;
	n = atomic_fetch_add(&r->calls, 1) + 1;
	*random = mix(mix(r->seed) ^ n);
	if (r->nth)
		return n == r->nth;
	if (r->from)
		return n >= r->from;
	if (r->every)
		return n % r->every == 0;
	return r->always || mix(*random) < r->threshold;
}

static const struct fault_rule *decide(struct fault *f)
{
	const struct fault_rule *chosen = NULL;
	uint64_t random;

	atomic_fetch_add(&counters->calls[f->point], 1);
	for (unsigned i = 0; i < rule_count; i++)
		if ((rules[i].points >> f->point & 1) && hits(&rules[i], &random) && !chosen) {
			chosen = &rules[i];
			f->kinds = chosen->kinds;
			f->error = chosen->error;
			f->flip_bytes = chosen->flip_bytes;
			f->short_unit = chosen->short_unit;
			f->random = random;
		}
	return chosen;
}

static void sleep_ms(unsigned ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L };

	nanosleep(&t, NULL);
}

bool fault_before(enum sys_point point, struct fault *f)
{
	const struct fault_rule *r;

	f->point = point;
	f->kinds = 0;
	r = decide(f);
	if (!r)
		return true;
	for (int k = 0; k < FAULT_DONE; k++)
		if (f->kinds >> k & 1)
			atomic_fetch_add(&counters->hits[point][k], 1);
	if (r->delay_ms)
		sleep_ms(r->delay_ms);
	while (f->kinds >> FAULT_HANG & 1 && access(r->trigger, F_OK) == 0)
		sleep_ms(HANG_LOOK_MS);
	if (f->kinds >> FAULT_DONE & 1)
		return true;
	if (f->kinds >> FAULT_KILL & 1)
		raise(SIGKILL);
	return !(f->kinds & (1u << FAULT_LOST | (f->kinds >> FAULT_TORN & 1 ? 0u : 1u << FAULT_ERRNO)));
}

bool fault_after(const struct fault *f)
{
	if (f->kinds >> FAULT_KILL & 1)
		raise(SIGKILL);
	if (!(f->kinds >> FAULT_ERRNO & 1))
		return false;
	errno = f->error;
	return true;
}
