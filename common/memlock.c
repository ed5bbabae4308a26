/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/memlock.h"

#include "common/cleanup.h"

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#ifndef MADV_POPULATE_READ /* Linux 5.14, newer than some libc headers */
#define MADV_POPULATE_READ 22
#define MADV_POPULATE_WRITE 23
#endif

/* What is resident but in no lockable mapping (vdso, pages on their way), in KiB: small and independent of size. */
#define UNLOCKED_SLACK_KIB 256

static int refuse(struct errbuf *e, int code, const char *what)
{
	struct rlimit lim = { 0, 0 };
	char limit[48] = "unlimited";

	getrlimit(RLIMIT_MEMLOCK, &lim);
	if (lim.rlim_cur != RLIM_INFINITY)
		snprintf(limit, sizeof(limit), "%llu KiB", (unsigned long long)lim.rlim_cur / 1024);
	return err_set(e, code, "%s: %s; the process needs CAP_IPC_LOCK or an unlimited RLIMIT_MEMLOCK (now %s; systemd:"
		       " LimitMEMLOCK=infinity), or allow=memlock to run without locked memory, which can deadlock when"
		       " memory is short", what, strerror(code), limit);
}

/* With MCL_FUTURE and a limit, a later mapping beyond the limit fails at a moment nobody expects it, so the
 * limit is tried out here: the right to exceed it cannot be told from the capability bits alone (user namespaces).
 */
static int try_beyond_limit(struct errbuf *e)
{
	struct rlimit lim;
	size_t len;
	void *p;

	if (getrlimit(RLIMIT_MEMLOCK, &lim) < 0 || lim.rlim_cur == RLIM_INFINITY || lim.rlim_cur > (rlim_t)1 << 45)
		return 0;
	len = (size_t)lim.rlim_cur + 65536;
	p = mmap(NULL, len, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return refuse(e, errno, "memory mapped later could not be locked");
	munmap(p, len);
	return 0;
}

/* Reads in programs and libraries: private mappings of files.  Shared ones (page tables) are touched by who makes them. */
static int populate_files(struct errbuf *e)
{
	CLEANUP_FCLOSE FILE *maps = fopen("/proc/self/maps", "re");
	char line[512];

	if (!maps)
		return err_errno(e, "/proc/self/maps");
	while (fgets(line, sizeof(line), maps)) {
		unsigned long start, end, inode;
		unsigned major, minor;
		char perms[5];
		int advice;

		if (sscanf(line, "%lx-%lx %4s %*x %x:%x %lu", &start, &end, perms, &major, &minor, &inode) != 6)
			continue; /* the rest of a long line */
		if (inode == 0 || perms[0] != 'r' || perms[3] != 'p')
			continue;
		advice = perms[1] == 'w' ? MADV_POPULATE_WRITE : MADV_POPULATE_READ;
		if (madvise((void *)start, end - start, advice) == 0)
			continue;
		if (errno == EINVAL) { /* an old kernel: touch each page by hand */
			for (unsigned long p = start; p < end; p += 4096)
				(void)*(volatile const char *)p;
			continue;
		}
		if (errno != EFAULT) /* EFAULT: a part beyond the end of the file, which nobody can touch */
			return err_errno(e, "reading in a mapped file at %lx", start);
	}
	return 0;
}

int memlock_process(struct errbuf *e)
{
	if (mlockall(MCL_CURRENT | MCL_FUTURE | MCL_ONFAULT) < 0)
		return refuse(e, errno, "memory cannot be locked (mlockall)");
	if (try_beyond_limit(e) < 0 || populate_files(e) < 0) {
		munlockall();
		return -1;
	}
	return 0;
}

int memlock_populate_future(struct errbuf *e)
{
	/* Without MCL_CURRENT the kernel leaves what is mapped alone. */
	if (mlockall(MCL_FUTURE) < 0)
		return refuse(e, errno, "memory mapped later cannot be locked (mlockall)");
	return 0;
}

/* Values in KiB of lines "Key:   123 kB" in a file of /proc, all of one look; -1 when one of the n is not there. */
static int read_kib(const char *path, const char *const keys[], size_t n, uint64_t kib[])
{
	CLEANUP_FCLOSE FILE *f = fopen(path, "re");
	size_t found = 0;
	char line[256];

	if (!f)
		return -1;
	while (found < n && fgets(line, sizeof(line), f))
		for (size_t i = 0; i < n; i++) {
			size_t len = strlen(keys[i]);
			unsigned long long v;

			if (strncmp(line, keys[i], len) == 0 && line[len] == ':' && sscanf(line + len + 1, "%llu", &v) == 1) {
				kib[i] = v;
				found++;
			}
		}
	errno = ENODATA;
	return found == n ? 0 : -1;
}

int memlock_verify(uint64_t *locked_kib, struct errbuf *e)
{
	static const char rollup[] = "/proc/self/smaps_rollup";
	uint64_t vmlck, lp[2], locked, pss;

	if (read_kib("/proc/self/status", (const char *const[]){ "VmLck" }, 1, &vmlck) < 0)
		return err_errno(e, "VmLck in /proc/self/status cannot be read");
	/* Locked is counted as Pss is: pages shared with other processes in proportion, which changes when one of those ends.  So both
	 * are of one look.
	 */
	if (read_kib(rollup, (const char *const[]){ "Locked", "Pss" }, 2, lp) < 0)
		return err_errno(e, "Locked in %s cannot be read", rollup);
	locked = lp[0];
	pss = lp[1];
	if (locked_kib)
		*locked_kib = locked;
	if (vmlck == 0 || locked == 0)
		return refuse(e, EPERM, "memory was to be locked, but the kernel says that none is (VmLck)");
	if (locked + UNLOCKED_SLACK_KIB < pss)
		return err_set(e, EPERM, "only %llu of %llu KiB in use are locked (%s); use allow=memlock to run all the same",
			       (unsigned long long)locked, (unsigned long long)pss, rollup);
	return 0;
}
