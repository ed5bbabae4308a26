/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/procself.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>

#ifndef PR_SET_IO_FLUSHER /* Linux 5.6 */
#define PR_SET_IO_FLUSHER 57
#define PR_GET_IO_FLUSHER 58
#endif

static const char oom_file[] = "/proc/self/oom_score_adj";

static int read_score(int *score)
{
	CLEANUP_FCLOSE FILE *f = fopen(oom_file, "re");

	if (!f)
		return -1;
	if (fscanf(f, "%d", score) != 1) {
		errno = EIO;
		return -1;
	}
	return 0;
}

int procself_oom_score(int score, struct errbuf *e)
{
	CLEANUP_CLOSE int fd = -1;
	char text[16];
	int now, n;

	if (read_score(&now) == 0 && now <= score)
		return 0;
	n = snprintf(text, sizeof(text), "%d", score);
	fd = open(oom_file, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		return err_set(e, errno, "the OOM score cannot be set to %d: %s; CAP_SYS_RESOURCE is needed (systemd:"
			       " OOMScoreAdjust=%d), or allow=oom to run without", score, strerror(errno), score);
	if (read_score(&now) < 0 || now != score)
		return err_set(e, EPERM, "the OOM score was set to %d but reads back otherwise; use allow=oom to run all the"
			       " same", score);
	return 0;
}

int procself_io_flusher(struct errbuf *e)
{
	/* The unused arguments must be 0. */
	if (prctl(PR_SET_IO_FLUSHER, 1L, 0L, 0L, 0L) < 0)
		return err_set(e, errno, "PR_SET_IO_FLUSHER: %s; CAP_SYS_RESOURCE is needed, or allow=io-flusher to run"
			       " without", strerror(errno));
	if (prctl(PR_GET_IO_FLUSHER, 0L, 0L, 0L, 0L) != 1)
		return err_set(e, EPERM, "PR_SET_IO_FLUSHER was set but reads back otherwise; use allow=io-flusher to run"
			       " all the same");
	return 0;
}

bool procself_io_flusher_begin(void)
{
	return prctl(PR_GET_IO_FLUSHER, 0L, 0L, 0L, 0L) == 0 && prctl(PR_SET_IO_FLUSHER, 1L, 0L, 0L, 0L) == 0;
}

void procself_io_flusher_end(bool begun)
{
	if (begun)
		prctl(PR_SET_IO_FLUSHER, 0L, 0L, 0L, 0L);
}

int procself_undumpable(struct errbuf *e)
{
	if (prctl(PR_SET_DUMPABLE, 0L, 0L, 0L, 0L) < 0 || prctl(PR_GET_DUMPABLE, 0L, 0L, 0L, 0L) != 0)
		return err_set(e, EPERM, "core dumps of this process cannot be switched off (PR_SET_DUMPABLE): %s", strerror(errno));
	return 0;
}
