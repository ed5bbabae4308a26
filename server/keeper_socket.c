/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/keeper_socket.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* A descriptor of the socket's file, of which neither name nor directory stays. */
static int bind_nameless(int sock)
{
	static const char *const places[] = { "/run", "/dev/shm", "/tmp" };
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = -1;

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]) && fd < 0; i++) {
		char dir[64];

		snprintf(dir, sizeof(dir), "%s/nbdswapd.XXXXXX", places[i]);
		if (!mkdtemp(dir)) /* 0700: nobody else gets in while it is there */
			continue;
		snprintf(un.sun_path, sizeof(un.sun_path), "%s/notify", dir);
		if (bind(sock, (const struct sockaddr *)&un, sizeof(un)) == 0) {
			fd = open(un.sun_path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
			unlink(un.sun_path);
		}
		rmdir(dir);
	}
	return fd;
}

int keeper_socket_create(int above, int *address, struct errbuf *e)
{
	CLEANUP_CLOSE int sock = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	CLEANUP_CLOSE int file = -1;
	const int on = 1;

	if (sock < 0 || setsockopt(sock, SOL_SOCKET, SO_PASSCRED, &on, sizeof(on)) < 0)
		return err_errno(e, "keeper: its socket");
	file = bind_nameless(sock);
	if (file < 0)
		return err_errno(e, "keeper: no place for its socket in /run, /dev/shm and /tmp");
	*address = fcntl(file, F_DUPFD_CLOEXEC, above);
	if (*address < 0)
		return err_errno(e, "keeper: its socket's descriptor");
	return steal_fd(&sock);
}

bool keeper_socket_receive(int sock, struct keeper_incoming *in)
{
	union {
		char bytes[CMSG_SPACE(sizeof(struct ucred)) + CMSG_SPACE(KEEPER_MESSAGE_FDS * sizeof(int))];
		struct cmsghdr align;
	} control;
	struct iovec iov = { in->text, sizeof(in->text) };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes, .msg_controllen = sizeof(control) };
	ssize_t n;

	do
		n = recvmsg(sock, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return false;
	in->len = (size_t)n;
	in->sender = 0;
	in->nfds = 0;
	in->whole = !(msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC));
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&msg); c; c = CMSG_NXTHDR(&msg, c)) {
		size_t bytes = c->cmsg_len - CMSG_LEN(0);

		if (c->cmsg_level != SOL_SOCKET)
			continue;
		if (c->cmsg_type == SCM_RIGHTS) {
			memcpy(in->fds, CMSG_DATA(c), bytes);
			in->nfds = bytes / sizeof(int);
		} else if (c->cmsg_type == SCM_CREDENTIALS && bytes == sizeof(struct ucred)) {
			struct ucred u;

			memcpy(&u, CMSG_DATA(c), sizeof(u));
			in->sender = u.pid;
		}
	}
	return true;
}
