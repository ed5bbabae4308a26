/* SPDX-License-Identifier: BSD-3-Clause */
/* Locked, and proved locked; a large static buffer that is never touched costs nothing; without the right it is refused by name.
 * Each case in a process of its own.
 */
#include "config.h"

#include "common/memlock.h"
#include "common/procself.h"

#include <errno.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CHECK(cond)                                                                       \
	do {                                                                              \
		if (!(cond)) {                                                            \
			fprintf(stderr, "%s:%d: failed: %s\n", __func__, __LINE__, #cond); \
			exit(1);                                                          \
		}                                                                         \
	} while (0)

static char untouched[192 << 20]; /* as nbdkit's */

static void drop_capability(int cap)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2];

	CHECK(syscall(SYS_capget, &h, d) == 0);
	d[cap / 32].effective &= ~(1u << (cap % 32));
	d[cap / 32].permitted &= ~(1u << (cap % 32));
	CHECK(syscall(SYS_capset, &h, d) == 0);
}

static void set_limit(rlim_t bytes)
{
	struct rlimit r = { bytes, bytes };

	if (setrlimit(RLIMIT_MEMLOCK, &r) == 0)
		return;
	printf("(cannot raise the limit without CAP_SYS_RESOURCE) ");
	exit(0);
}

static void locks(void)
{
	uint64_t before, after;
	struct errbuf e;
	char *p;

	if (memlock_process(&e) < 0) {
		fprintf(stderr, "%s\n", e.text);
		exit(1);
	}
	CHECK(memlock_verify(&before, &e) == 0);
	CHECK(before > 0 && before < 32 << 10);
	/* What is mapped later is locked when it is touched. */
	p = mmap(NULL, 8 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	CHECK(p != MAP_FAILED);
	memset(p, 1, 8 << 20);
	CHECK(memlock_verify(&after, &e) == 0);
	CHECK(after >= before + (8 << 10) - 64 && after < before + (9 << 10));
	CHECK(untouched[12345] == 0);
}

static void verify_sees_unlocked(void)
{
	struct errbuf e;

	CHECK(memlock_verify(NULL, &e) < 0);
	CHECK(strstr(e.text, "VmLck"));
	memset(untouched, 1, 4 << 20);
	/* One locked page does not make a locked process. */
	CHECK(mlock(untouched, 4096) == 0);
	CHECK(memlock_verify(NULL, &e) < 0);
	CHECK(strstr(e.text, "allow=memlock"));
}

static void refused(rlim_t limit)
{
	uint64_t locked;
	struct errbuf e;

	set_limit(limit);
	drop_capability(CAP_IPC_LOCK);
	CHECK(memlock_process(&e) < 0);
	CHECK(strstr(e.text, "CAP_IPC_LOCK") && strstr(e.text, "RLIMIT_MEMLOCK") && strstr(e.text, "LimitMEMLOCK=infinity") &&
	      strstr(e.text, "allow=memlock"));
	/* Nothing stays half locked: later memory can be had. */
	CHECK(memlock_verify(&locked, &e) < 0);
	CHECK(mmap(NULL, 64 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED);
}

static void refused_without_capability(void)
{
	refused(64 << 10);
}

/* The limit is large enough for what is there now, but not for ever. */
static void refused_with_a_limit_that_will_be_met(void)
{
	refused((rlim_t)512 << 20);
}

static void limit_unlimited_is_enough(void)
{
	struct errbuf e;

	set_limit(RLIM_INFINITY);
	drop_capability(CAP_IPC_LOCK);
	CHECK(memlock_process(&e) == 0);
	CHECK(memlock_verify(NULL, &e) == 0);
}

static void others_name_the_capability(void)
{
	struct errbuf e;

	drop_capability(CAP_SYS_RESOURCE);
	CHECK(procself_oom_score(-999, &e) == 0 || (strstr(e.text, "CAP_SYS_RESOURCE") && strstr(e.text, "allow=oom")));
	CHECK(procself_io_flusher(&e) < 0);
	CHECK(strstr(e.text, "CAP_SYS_RESOURCE") && strstr(e.text, "allow=io-flusher"));
}

static int in_child(const char *name, void (*fn)(void))
{
	int status;
	pid_t pid;

	fflush(stdout);
	pid = fork();

	if (pid == 0) {
		fn();
		exit(0);
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		return 1;
	printf("%s: %s\n", name, status == 0 ? "ok" : "FAILED");
	return status != 0;
}

int main(void)
{
	int bad = 0;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	puts("skipped: sanitizers turn mlockall off");
	return 77;
#endif
	if (geteuid() != 0 || mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0) {
		puts("skipped: needs root with CAP_IPC_LOCK");
		return 77;
	}
	munlockall();
#define CASE(fn) bad += in_child(#fn, fn)
	CASE(locks);
	CASE(verify_sees_unlocked);
	CASE(refused_without_capability);
	CASE(refused_with_a_limit_that_will_be_met);
	CASE(limit_unlimited_is_enough);
	CASE(others_name_the_capability);
	return bad != 0;
}
