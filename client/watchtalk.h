/* SPDX-License-Identifier: BSD-3-Clause */
/* How the commands talk to the watch: packets of fixed size over DIR/watch.sock, which only root can reach; both ends are the same program. */
#ifndef NBDSWAP_CLIENT_WATCHTALK_H
#define NBDSWAP_CLIENT_WATCHTALK_H

#include "client/nbddev.h"
#include "client/state.h"
#include "client/watching.h"
#include "common/errbuf.h"

#define WATCH_MAGIC UINT32_C(0x31574e53) /* raised with each change of what follows */

enum watch_word { WATCH_ADOPT, WATCH_DROP, WATCH_TELL };

struct watch_message {
	uint32_t magic, word;
	struct watch_order order; /* WATCH_ADOPT, with the socket; DROP and TELL: its index alone */
};

struct watch_answer {
	uint32_t magic;
	int32_t code; /* 0, or of errno: then text says why */
	/* TELL: */
	uint32_t state, reconnects; /* enum watch_state; WATCH_FREE: it is not watched */
	uint64_t inode;		    /* of WATCH_UP: its socket, and */
	uint32_t port;		    /* the local port of that */
	char text[sizeof(((struct errbuf *)0)->text)];
};

#define WATCH_DIR "/run/nbdswap"
#define WATCH_SOCKET "%s/watch.sock"

/* Says it, with a descriptor or -1, and waits for the answer.  0; -1 with *e (ECONNREFUSED: there is no watch; else what it says). */
int watch_say(const char *dir, const struct watch_message *m, int sock, struct watch_answer *answer, struct errbuf *e);

/* Has it take a device on that is attached, with a duplicate of its socket; -1: it makes a connection of its own, which takes the place of the device's at the
 * server, so that must know identities.  It comes back to just what the device has: its client, size, flags and generation.  0, or -1 with *e.
 */
int watch_adopt(const char *dir, const struct attach_state *s, const union reach_address *address, size_t addresses, int sock, struct errbuf *e);

/* Has it forget a device, if there is a watch that knows it.  0; -1 with *e: there is one that does not answer, so it may connect the device anew. */
int watch_drop(const char *dir, const struct nbddev *dev, struct errbuf *e);

/* Puts into each state which connection its device has now; of one that has none, one that nothing has. */
void watch_refresh(const char *dir, struct state_list *list);

/* Starts one, if there is none, and waits until it listens.  allow: what may be missing to it (nbdswap-watch --allow), or NULL. */
int watch_start(const char *dir, const char *allow, struct errbuf *e);

#endif
