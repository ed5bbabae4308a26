/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/nbddev.h"

#include "common/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define POLL_MS 20

void nbddev_set(struct nbddev *d, int index)
{
	d->index = index;
	snprintf(d->name, sizeof(d->name), "nbd%d", index);
	snprintf(d->path, sizeof(d->path), "/dev/nbd%d", index);
}

int nbddev_parse(const char *text, struct nbddev *out, struct errbuf *e)
{
	const char *p = text;

	if (strncmp(p, "/dev/", 5) == 0)
		p += 5;
	if (strncmp(p, "nbd", 3) != 0 || !isdigit((unsigned char)p[3]) || strlen(p + 3) > 6 ||
	    strspn(p + 3, "0123456789") != strlen(p + 3))
		return err_set(e, EINVAL, "\"%.64s\" is not an nbd device; write nbdN or /dev/nbdN", text);
	nbddev_set(out, atoi(p + 3));
	return 0;
}

static int sys_number(const struct nbddev *d, const char *file, uint64_t *value)
{
	CLEANUP_FCLOSE FILE *in = NULL;
	char path[96];

	snprintf(path, sizeof(path), "/sys/block/%s/%s", d->name, file);
	in = fopen(path, "re");
	return in && fscanf(in, "%" SCNu64, value) == 1 ? 0 : -1;
}

bool nbddev_exists(const struct nbddev *d)
{
	char path[96];

	snprintf(path, sizeof(path), "/sys/block/%s", d->name);
	return access(path, F_OK) == 0;
}

uint64_t nbddev_size(const struct nbddev *d)
{
	uint64_t sectors;

	return sys_number(d, "size", &sectors) == 0 ? sectors * 512 : 0;
}

bool nbddev_connected(const struct nbddev *d)
{
	uint64_t pid;

	/* The file pid is there only while a connection is configured; its content may name a process that
	 * is gone, since nbd-client ends after the hand-over.
	 */
	return sys_number(d, "pid", &pid) == 0 || nbddev_size(d) > 0;
}

bool nbddev_claimed(const struct nbddev *d)
{
	CLEANUP_CLOSE int fd = open(d->path, O_RDONLY | O_EXCL | O_CLOEXEC);

	return fd < 0 && errno == EBUSY;
}

int nbddev_first_free(struct nbddev *out, struct errbuf *e)
{
	int i;

	for (i = 0;; i++) {
		nbddev_set(out, i);
		if (!nbddev_exists(out))
			break;
		if (!nbddev_connected(out))
			return 0;
	}
	if (i == 0)
		return err_set(e, ENOENT,
			       "this kernel shows no nbd devices; run `modprobe nbd` "
			       "(the module comes with the kernel package of most distributions)");
	return err_set(e, EBUSY,
		       "all %d nbd devices are in use; detach one, or load the module with more: "
		       "modprobe nbd nbds_max=%d",
		       i, 2 * i);
}

bool nbddev_wait_gone(const struct nbddev *d, int timeout_ms)
{
	for (int waited = 0;; waited += POLL_MS) {
		const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };

		if (!nbddev_connected(d))
			return true;
		if (waited >= timeout_ms)
			return false;
		nanosleep(&pause, NULL);
	}
}

int nbddev_stat(const struct nbddev *d, struct nbddev_stat *out, struct errbuf *e)
{
	CLEANUP_FCLOSE FILE *in = NULL;
	uint64_t rs, ws, ds = 0;
	char path[96];

	memset(out, 0, sizeof(*out));
	snprintf(path, sizeof(path), "/sys/block/%s/stat", d->name);
	in = fopen(path, "re");
	if (!in)
		return err_errno(e, "cannot open %s", path);
	/* Documentation/block/stat.rst: requests, merges, sectors, ticks for reads, then writes; in flight,
	 * two times; then the same four for discards (since 4.19).
	 */
	if (fscanf(in,
		   "%" SCNu64 " %*u %" SCNu64 " %*u %" SCNu64 " %*u %" SCNu64 " %*u %" SCNu64
		   " %*u %*u %" SCNu64 " %*u %" SCNu64,
		   &out->reads, &rs, &out->writes, &ws, &out->in_flight, &out->discards, &ds) < 5)
		return err_set(e, EINVAL, "%s is not in the format that is known", path);
	out->read_bytes = rs * 512;
	out->write_bytes = ws * 512;
	out->discard_bytes = ds * 512;
	return 0;
}
