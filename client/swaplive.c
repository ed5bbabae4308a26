/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/swaplive.h"

#include "client/swapheader.h"
#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <uuid.h>

/* What a child says of a device. */
struct found {
	bool is_swap;
	unsigned char uuid[16];
};

static void look(const char *path, int out) __attribute__((noreturn));
static void look(const char *path, int out)
{
	struct found f = { .is_swap = false };
	struct swap_header h;
	int fd;

	/* A process that waits for a server that is gone must hold nothing of ours: not the lock, nor what somebody reads to its end. */
	if (dup2(out, 0) < 0 || close_range(1, ~0u, 0) < 0)
		_exit(1);
	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	if (fd < 0 && errno == EINVAL) /* not of a device */
		fd = open(path, O_RDONLY | O_CLOEXEC);
	switch (fd < 0 ? -1 : swapheader_read(fd, &h, NULL)) {
	case 1:
		f.is_swap = true;
		memcpy(f.uuid, h.uuid, sizeof(f.uuid));
		break;
	case 0:
		break;
	default:
		_exit(1);
	}
	_exit(write(0, &f, sizeof(f)) == (ssize_t)sizeof(f) ? 0 : 1);
}

/* In a process of its own: a read of a device whose server is gone waits for as long as that stays away, and cannot be ended.  False: not known. */
static bool ask(const char *path, int timeout_ms, struct found *out)
{
	struct pollfd p = { .events = POLLIN };
	int ends[2];
	pid_t pid;
	bool known;

	if (pipe2(ends, O_CLOEXEC) < 0)
		return false;
	pid = fork();
	if (pid == 0)
		look(path, ends[1]);
	close(ends[1]);
	p.fd = ends[0];
	known = pid > 0 && poll(&p, 1, timeout_ms) > 0 && read(ends[0], out, sizeof(*out)) == (ssize_t)sizeof(*out);
	close(ends[0]);
	if (pid > 0) {
		kill(pid, SIGKILL);
		waitpid(pid, NULL, known ? 0 : WNOHANG);
	}
	return known;
}

static bool is_nbd(const char *path)
{
	const char *slash = strrchr(path, '/');

	return strncmp(slash ? slash + 1 : path, "nbd", 3) == 0;
}

static bool is_known(const struct state_list *known, const char *path)
{
	for (size_t i = 0; known && i < known->count; i++)
		if (strcmp(known->states[i].dev.path, path) == 0)
			return known->states[i].uuid[0] != '\0';
	return false;
}

int swaplive_check(const struct swap_list *swaps, const struct state_list *known, const char *own, const unsigned char uuid[16], int timeout_ms,
		   struct errbuf *e)
{
	for (size_t i = 0; i < swaps->count; i++) {
		const char *path = swaps->entries[i].path;
		struct found f;
		char text[40];

		if (!is_nbd(path) || strcmp(path, own) == 0 || is_known(known, path))
			continue;
		if (!ask(path, timeout_ms, &f))
			return err_set(e, EBUSY, "swap is on at %s, which does not answer, so whether that is the same swap area is not known; nothing "
				       "was written; detach it, or wait until its server is back", path);
		if (!f.is_swap || memcmp(f.uuid, uuid, sizeof(f.uuid)) != 0)
			continue;
		uuid_unparse_lower(uuid, text);
		return err_set(e, EEXIST, "it holds the swap area with UUID %s, on which swap is on already at %s; nothing was written", text, path);
	}
	return 0;
}
