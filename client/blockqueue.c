/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/blockqueue.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

static int queue_get(const struct nbddev *d, const char *file, int *value, struct errbuf *e)
{
	CLEANUP_FCLOSE FILE *in = NULL;
	char path[96];

	snprintf(path, sizeof(path), "/sys/block/%s/queue/%s", d->name, file);
	in = fopen(path, "re");
	if (!in || fscanf(in, "%d", value) != 1)
		return err_errno(e, "cannot read %s", path);
	return 0;
}

static int queue_set(const struct nbddev *d, const char *file, int value, struct errbuf *e)
{
	CLEANUP_CLOSE int fd = -1;
	char path[96], text[16];
	int n = snprintf(text, sizeof(text), "%d\n", value);

	snprintf(path, sizeof(path), "/sys/block/%s/queue/%s", d->name, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)n) != n)
		return err_errno(e, "cannot write %d to %s", value, path);
	return 0;
}

/* Sets file to value if it is not so yet; *before is what it was when it had to be changed. */
static int change(const struct nbddev *d, const char *file, int value, int *before, struct errbuf *e)
{
	int now;

	if (queue_get(d, file, &now, e) < 0)
		return -1;
	if (now == value)
		return 0;
	if (queue_set(d, file, value, e) < 0)
		return -1;
	*before = now;
	if (queue_get(d, file, &now, e) < 0)
		return -1;
	if (now != value)
		return err_set(e, EIO, "/sys/block/%s/queue/%s is %d after %d was written to it", d->name, file,
			       now, value);
	return 0;
}

bool scheduler_parse(const char *text, char now[SCHEDULER_MAX])
{
	const char *open = strchr(text, '['), *close = open ? strchr(open, ']') : NULL;
	bool has_none = false;

	for (const char *p = text; (p = strstr(p, "none")) != NULL; p += 4)
		has_none |= (p == text || p[-1] == ' ') && (p[4] == ' ' || p[4] == '\n' || p[4] == '\0');
	if (!has_none || !close || close - open - 1 >= SCHEDULER_MAX)
		return false;
	memcpy(now, open + 1, (size_t)(close - open - 1));
	now[close - open - 1] = '\0';
	return true;
}

static int scheduler_set(const struct nbddev *d, const char *name, struct errbuf *e)
{
	CLEANUP_CLOSE int fd = -1;
	char path[96];

	snprintf(path, sizeof(path), "/sys/block/%s/queue/scheduler", d->name);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, name, strlen(name)) != (ssize_t)strlen(name))
		return err_errno(e, "cannot write %s to %s", name, path);
	return 0;
}

/* Kernels before 6.14 send the rest of a request that a socket has taken in part later, and a scheduler may put another between. */
static int no_scheduler(const struct nbddev *d, char before[SCHEDULER_MAX], struct errbuf *e)
{
	CLEANUP_FCLOSE FILE *in = NULL;
	char path[96], text[256], now[SCHEDULER_MAX];

	snprintf(path, sizeof(path), "/sys/block/%s/queue/scheduler", d->name);
	in = fopen(path, "re");
	if (!in || !fgets(text, sizeof(text), in) || !scheduler_parse(text, now))
		return 0; /* a kernel without any */
	if (scheduler_set(d, "none", e) < 0)
		return -1;
	strcpy(before, now);
	return 0;
}

int blockqueue_set(const struct nbddev *d, struct queue_settings *before, struct errbuf *e)
{
	*before = (struct queue_settings){ .io_timeout_ms = -1, .rotational = -1 };
	if (change(d, "io_timeout", IO_TIMEOUT_MS, &before->io_timeout_ms, e) < 0)
		return -1;
	if (no_scheduler(d, before->scheduler, e) < 0)
		return -1;
	/* A rotational device makes swap allocate in another manner; nbd is none, whatever was set before. */
	return change(d, "rotational", 0, &before->rotational, e);
}

void blockqueue_restore(const struct nbddev *d, const struct queue_settings *before)
{
	if (before->io_timeout_ms > 0)
		queue_set(d, "io_timeout", before->io_timeout_ms, NULL);
	if (before->rotational >= 0)
		queue_set(d, "rotational", before->rotational, NULL);
	if (before->scheduler[0])
		scheduler_set(d, before->scheduler, NULL);
}
