/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the daemon's messages come in.  The socket has no name that anybody could find: the file that it was bound to is unlinked at once, in a
 * directory that only its owner could enter, and the way to it is a descriptor of that file (O_PATH), which the daemon inherits and names by
 * /proc/self/fd/N.
 */
#ifndef NBDSWAP_KEEPER_SOCKET_H
#define NBDSWAP_KEEPER_SOCKET_H

#include "common/errbuf.h"
#include "server/keeper_message.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A message as it came. */
struct keeper_incoming {
	char text[KEEPER_MESSAGE_MAX + 1];
	size_t len;
	pid_t sender; /* as the kernel says; 0: it does not */
	int fds[KEEPER_MESSAGE_FDS]; /* close-on-exec, the receiver's */
	size_t nfds;
	bool whole; /* neither text nor descriptors were cut off */
};

/* The socket (non-blocking) and in *address the descriptor of its file, with a number of at least above; both close-on-exec.  -1 with *e. */
int keeper_socket_create(int above, int *address, struct errbuf *e);

/* false: there is no message.  Allocates nothing. */
bool keeper_socket_receive(int sock, struct keeper_incoming *in);

#endif
