/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/serverlook.h"

#include "client/exportask.h"
#include "client/link.h"
#include "client/lookup.h"
#include "client/reach.h"
#include "client/watchtalk.h"
#include "common/cleanup.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define TRIAL_NS INT64_C(5000000000)
#define TRIAL_CONNECT_MS 2000

/* Asks the server for just what the device had; beside its slot, so that no connection is ended for it. */
static int try_server(const struct attach_state *s, struct errbuf *e)
{
	const struct export_ask ask = { .name = s->export, .client = s->client,
					.generation = s->generation.activation && s->client[0] ? &s->generation : NULL };
	union reach_address address[REACH_ADDRESSES_MAX];
	char request[EXPORT_ASK_MAX];
	CLEANUP_FREE struct reach *r = malloc(sizeof(*r));
	struct reach_wishes w = { .addresses = address, .request = request, .connect_ms = TRIAL_CONNECT_MS, .user_timeout_ms = 5000,
				  .keepalive_s = 5 };
	struct timespec now;
	int sock;

	if (lookup_add(s->servers, address, &w.count, e) < 0 || export_ask_format(&ask, request, e) < 0)
		return -1;
	if (!r)
		return err_set(e, ENOMEM, "no memory");
	clock_gettime(CLOCK_MONOTONIC, &now);
	w.deadline_ns = now.tv_sec * INT64_C(1000000000) + now.tv_nsec + TRIAL_NS;
	sock = reach(r, &w, e);
	if (sock < 0)
		return -1;
	close(sock);
	return 0;
}

enum server_look server_look(const char *dir, const struct attach_state *s, struct errbuf *why)
{
	const struct watch_message m = { .magic = WATCH_MAGIC, .word = WATCH_TELL, .order = { .index = s->dev.index } };
	struct watch_answer answer;
	struct errbuf e;
	bool watched = watch_say(dir, &m, -1, &answer, &e) == 0 && answer.state != WATCH_FREE;
	enum link_state link = link_state(s->now_inode, s->now_port);

	if (watched && answer.state == WATCH_OVER) {
		err_set(why, ESTALE, "the watch has given it up: %s", answer.text);
		return SERVER_GONE;
	}
	if (!nbddev_connected(&s->dev)) {
		err_set(why, ENOTCONN, "the device is disconnected");
		return SERVER_GONE;
	}
	if (watched ? answer.state == WATCH_UP && link != LINK_STALLED : link != LINK_DEAD && link != LINK_STALLED)
		return SERVER_THERE;
	if (try_server(s, &e) < 0) {
		err_set(why, ENOTCONN, "its connection %s, and the server cannot be had: %s", link == LINK_STALLED ? "is not answered" : "is dead",
			e.text);
		/* A kernel that still sends holds a lock that disconnecting needs; TCP_USER_TIMEOUT ends that. */
		return link == LINK_STALLED ? SERVER_BACK : SERVER_GONE;
	}
	if (link == LINK_STALLED)
		return SERVER_THERE;
	err_set(why, ENOTCONN, "its connection is dead; the server is there, %s", watched ? "and the watch connects to it anew" :
		"but nothing connects to it anew (it has no watch)");
	return watched ? SERVER_BACK : SERVER_GONE;
}
