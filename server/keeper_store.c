/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/keeper_store.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

void keeper_store_init(struct keeper_store *s, int epoll, int above, size_t max)
{
	memset(s, 0, sizeof(*s));
	s->epoll = epoll;
	s->above = above;
	s->max = max < KEEPER_FDS_MAX ? max : KEEPER_FDS_MAX;
}

/* The same open file description?  Where kcmp cannot say (a kernel without it, a filter on system calls) it is another one: what is kept twice costs a
 * descriptor, and what is not kept is lost, as the lock of a file that was opened anew.
 */
static bool same(int a, int b)
{
	pid_t self = getpid();

	return syscall(SYS_kcmp, self, self, KCMP_FILE, a, b) == 0;
}

static bool is_kept(const struct keeper_store *s, int fd, const struct stat *st)
{
	for (size_t i = 0; i < s->count; i++) {
		const struct keeper_entry *k = &s->entry[i];

		if (k->dev == st->st_dev && k->ino == st->st_ino && same(k->fd, fd))
			return true;
	}
	return false;
}

/* fd is not closed when this fails. */
static int keep(struct keeper_store *s, int fd, const struct stat *st, const char *name, bool polled, struct errbuf *e)
{
	struct keeper_entry *k = &s->entry[s->count];
	struct epoll_event event = { .events = 0 };
	size_t len = strlen(name) + 1;

	if (s->count == s->max)
		return err_set(e, ENOSPC, "%zu descriptors are kept and there is no room for more", s->count);
	if (s->used + len + strlen(KEEPER_NAMES_VAR) > sizeof(s->names))
		return err_set(e, ENOSPC, "the names of %zu descriptors are as long together as can be handed on", s->count);
	*k = (struct keeper_entry){ .polled = polled, .dev = st->st_dev, .ino = st->st_ino };
	k->fd = fcntl(fd, F_DUPFD_CLOEXEC, s->above);
	if (k->fd < 0)
		return err_errno(e, "no number for another descriptor");
	event.data.fd = k->fd;
	if (polled && epoll_ctl(s->epoll, EPOLL_CTL_ADD, k->fd, &event) < 0) {
		if (errno != EPERM) {
			err_errno(e, "it cannot be polled");
			close(k->fd);
			return -1;
		}
		k->polled = false; /* a file */
	}
	memcpy(s->names + s->used, name, len);
	s->used += len;
	s->count++;
	return 1;
}

int keeper_store_add(struct keeper_store *s, int fd, const char *name, bool polled, struct errbuf *e)
{
	struct stat st;
	int r;

	if (fstat(fd, &st) < 0)
		r = err_errno(e, "fstat");
	else
		r = is_kept(s, fd, &st) ? 0 : keep(s, fd, &st, name, polled, e);
	close(fd);
	return r;
}

/* Entry i, whose name is at this place. */
static void drop(struct keeper_store *s, size_t i, char *name)
{
	struct keeper_entry *k = &s->entry[i];
	size_t len = strlen(name) + 1;
	size_t behind = s->used - (size_t)(name + len - s->names);

	/* Others have the same description, with which it would stay in the epoll. */
	if (k->polled)
		epoll_ctl(s->epoll, EPOLL_CTL_DEL, k->fd, NULL);
	close(k->fd);
	memmove(name, name + len, behind);
	s->used -= len;
	memmove(k, k + 1, (s->count - i - 1) * sizeof(*k));
	s->count--;
}

size_t keeper_store_remove(struct keeper_store *s, const char *name)
{
	char *at = s->names;
	size_t i = 0, removed = 0;

	while (i < s->count)
		if (strcmp(at, name) == 0) {
			drop(s, i, at);
			removed++;
		} else {
			at += strlen(at) + 1;
			i++;
		}
	return removed;
}

bool keeper_store_ended(struct keeper_store *s, int fd)
{
	char *at = s->names;

	for (size_t i = 0; i < s->count; i++, at += strlen(at) + 1)
		if (s->entry[i].fd == fd) {
			drop(s, i, at);
			return true;
		}
	return false;
}

void keeper_store_names(const struct keeper_store *s, char out[KEEPER_NAMES_SIZE])
{
	const size_t prefix = strlen(KEEPER_NAMES_VAR);

	memcpy(out, KEEPER_NAMES_VAR, prefix + 1);
	if (s->used == 0)
		return;
	memcpy(out + prefix, s->names, s->used);
	for (size_t i = 0; i < s->used - 1; i++)
		if (out[prefix + i] == '\0')
			out[prefix + i] = ':';
}
