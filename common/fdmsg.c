/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/fdmsg.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

union control {
	struct cmsghdr align;
	char space[CMSG_SPACE(sizeof(int) * FDMSG_FDS)];
};

int fdmsg_send(int sock, const char *text, size_t len, const int fds[], size_t nfds, struct errbuf *e)
{
	union control control;
	struct iovec iov = { .iov_base = (void *)text, .iov_len = len };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	ssize_t r;

	/* An empty packet could not be told from the end of the stream. */
	if (len == 0 || len > FDMSG_MAX || nfds > FDMSG_FDS)
		return err_set(e, EMSGSIZE, "a message of %zu bytes with %zu descriptors: 1 to %d bytes and at most %d"
			       " descriptors can be sent", len, nfds, FDMSG_MAX, FDMSG_FDS);
	if (nfds > 0) {
		struct cmsghdr *c;

		memset(&control, 0, sizeof(control));
		msg.msg_control = control.space;
		msg.msg_controllen = CMSG_SPACE(sizeof(int) * nfds);
		c = CMSG_FIRSTHDR(&msg);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int) * nfds);
		memcpy(CMSG_DATA(c), fds, sizeof(int) * nfds);
	}
	do
		r = sendmsg(sock, &msg, MSG_NOSIGNAL);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return err_errno(e, "sending a message of %zu bytes", len);
	return 0;
}

/* Collects the descriptors of a message; those that do not fit are closed. */
static size_t take_fds(struct msghdr *msg, int fds[FDMSG_FDS])
{
	size_t n = 0;

	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c; c = CMSG_NXTHDR(msg, c)) {
		size_t count;

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(fd));
			if (n < FDMSG_FDS)
				fds[n++] = fd;
			else
				close(fd);
		}
	}
	return n;
}

ssize_t fdmsg_recv(int sock, char *text, int fds[FDMSG_FDS], size_t *nfds, struct errbuf *e)
{
	union control control;
	struct iovec iov = { .iov_base = text, .iov_len = FDMSG_MAX };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.space,
			      .msg_controllen = sizeof(control.space) };
	ssize_t r;

	*nfds = 0;
	do
		r = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return err_errno(e, "receiving a message");
	*nfds = take_fds(&msg, fds);
	if (msg.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) {
		bool no_room = *nfds < FDMSG_FDS && !(msg.msg_flags & MSG_TRUNC);

		for (size_t i = 0; i < *nfds; i++)
			close(fds[i]);
		*nfds = 0;
		if (!no_room)
			return err_set(e, EMSGSIZE, "a message was longer than %d bytes or had more than %d descriptors",
				       FDMSG_MAX, FDMSG_FDS);
	}
	text[r] = '\0';
	return r;
}
