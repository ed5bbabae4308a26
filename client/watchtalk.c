/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/watchtalk.h"

#include "client/direct.h"
#include "client/run.h"
#include "common/cleanup.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define ANSWER_SECONDS 30
#define REQUEST_BYTES (128 * 1024) /* the kernel's largest, as the device is left */
#define START_TRIES 100

static int connect_to(const char *dir, struct errbuf *e)
{
	CLEANUP_CLOSE int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct timeval limit = { .tv_sec = ANSWER_SECONDS };
	struct sockaddr_un a = { .sun_family = AF_UNIX };

	if (snprintf(a.sun_path, sizeof(a.sun_path), WATCH_SOCKET, dir) >= (int)sizeof(a.sun_path))
		return err_set(e, ENAMETOOLONG, "%s: the path is too long for a socket in it", dir);
	/* The one for sending is connect's, too. */
	if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) < 0)
		return err_errno(e, "a socket to the watch");
	if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
		return err_set(e, errno == ENOENT ? ECONNREFUSED : errno, "there is no watch at %s: %s", a.sun_path, strerror(errno));
	return steal_fd(&fd);
}

static int send_with(int fd, const struct watch_message *m, int sock)
{
	struct iovec iov = { .iov_base = (void *)m, .iov_len = sizeof(*m) };
	union {
		struct cmsghdr h;
		char space[CMSG_SPACE(sizeof(int))];
	} control = { .h = { .cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS } };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	memcpy(CMSG_DATA(&control.h), &sock, sizeof(sock));
	if (sock >= 0) {
		msg.msg_control = &control;
		msg.msg_controllen = sizeof(control.space);
	}
	return sendmsg(fd, &msg, MSG_NOSIGNAL) == (ssize_t)sizeof(*m) ? 0 : -1;
}

int watch_say(const char *dir, const struct watch_message *m, int sock, struct watch_answer *answer, struct errbuf *e)
{
	CLEANUP_CLOSE int fd = connect_to(dir, e);

	if (fd < 0)
		return -1;
	if (send_with(fd, m, sock) < 0 || recv(fd, answer, sizeof(*answer), 0) != (ssize_t)sizeof(*answer) || answer->magic != WATCH_MAGIC)
		return err_set(e, EPROTO, "the watch does not answer as this nbdswap does; is it of another version? (end it and attach anew)");
	answer->text[sizeof(answer->text) - 1] = '\0';
	return answer->code ? err_set(e, answer->code, "the watch: %s", answer->text) : 0;
}

int watch_adopt(const char *dir, const struct attach_state *s, const union reach_address *address, size_t addresses, int sock, struct errbuf *e)
{
	struct export_ask ask = { .name = s->export, .client = s->client, .slots = s->client[0] ? 1 : 0,
					.generation = s->generation.activation && s->client[0] ? &s->generation : NULL };
	struct watch_message m = { .magic = WATCH_MAGIC, .word = WATCH_ADOPT,
				   .order = { .index = s->dev.index, .addresses = (uint32_t)addresses, .dead_link_timeout = s->dead_link_timeout,
					      .user_timeout_ms = DIRECT_USER_TIMEOUT_MS, .keepalive_s = DIRECT_KEEPALIVE_S,
					      .expected = { .size = s->size, .flags = s->flags, .request_bytes = REQUEST_BYTES,
							    .has_generation = s->generation.activation != 0, .generation = s->generation } } };
	struct watch_answer answer;

	memcpy(m.order.address, address, addresses * sizeof(*address));
	if (export_ask_format(&ask, m.order.request, e) < 0)
		return -1;
	/* Only to know: it must take the export from nobody. */
	ask.generation = &(struct generation){ .activation = 0 };
	ask.slots = 0;
	if (export_ask_format(&ask, m.order.look, e) < 0)
		return -1;
	return watch_say(dir, &m, sock, &answer, e);
}

int watch_drop(const char *dir, const struct nbddev *dev, struct errbuf *e)
{
	const struct watch_message m = { .magic = WATCH_MAGIC, .word = WATCH_DROP, .order = { .index = dev->index } };
	struct watch_answer answer;
	struct errbuf why;

	if (watch_say(dir, &m, -1, &answer, &why) == 0 || why.code == ECONNREFUSED)
		return 0;
	return err_set(e, why.code, "the watch does not let go of %s: %s; run the same command again", dev->name, why.text);
}

void watch_refresh(const char *dir, struct state_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		struct attach_state *s = &list->states[i];
		const struct watch_message m = { .magic = WATCH_MAGIC, .word = WATCH_TELL, .order = { .index = s->dev.index } };
		struct watch_answer answer;
		struct errbuf e;

		if (watch_say(dir, &m, -1, &answer, &e) < 0) {
			s->watched = e.code == ECONNREFUSED ? WATCHED_NOT : WATCHED_UNKNOWN; /* EACCES: only root may ask */
			continue;
		}
		s->watched = answer.state == WATCH_FREE ? WATCHED_NOT : answer.state == WATCH_OVER ? WATCHED_OVER : WATCHED;
		if (answer.state == WATCH_FREE)
			continue;
		snprintf(s->watch_words, sizeof(s->watch_words), "%s", answer.text);
		s->now_inode = answer.state == WATCH_UP ? answer.inode : UINT64_MAX;
		s->now_port = (uint16_t)answer.port;
	}
}

int watch_start(const char *dir, const char *allow, struct errbuf *e)
{
	const struct timespec pause = { .tv_nsec = 50000000 };
	char program[PATH_MAX], option[] = "--state-dir", background[] = "--background", without[] = "--allow";
	char *argv[] = { program, background, option, (char *)dir, allow ? without : NULL, (char *)allow, NULL }, output[512];
	struct errbuf none;
	int fd = connect_to(dir, &none), rc;
	ssize_t n;

	if (fd >= 0) {
		close(fd);
		return 0;
	}
	/* It lies beside this program. */
	n = readlink("/proc/self/exe", program, sizeof(program) - sizeof("nbdswap-watch"));
	if (n < 0)
		return err_errno(e, "/proc/self/exe");
	program[n] = '\0';
	strcpy(strrchr(program, '/') + 1, "nbdswap-watch");
	rc = run_program(argv, output, sizeof(output), ANSWER_SECONDS, e);
	if (rc != 0)
		return rc < 0 ? -1 : err_set(e, EIO, "the watch does not start: %s", output);
	for (int i = 0; i < START_TRIES; i++) {
		fd = connect_to(dir, &none);
		if (fd >= 0) {
			close(fd);
			return 0;
		}
		nanosleep(&pause, NULL);
	}
	*e = none;
	return -1;
}
