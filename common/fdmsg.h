/* SPDX-License-Identifier: BSD-3-Clause */
/* Messages with descriptors between processes: one text message per packet of a SOCK_SEQPACKET socket.
 * Used by both ends of the broker (common/broker.h).
 */
#ifndef NBDSWAP_FDMSG_H
#define NBDSWAP_FDMSG_H

#include "common/errbuf.h"

#include <stddef.h>
#include <sys/types.h>

#define FDMSG_MAX 65536 /* bytes of a message */
#define FDMSG_FDS 6	/* descriptors with a message */

/* Sends len bytes (1 to FDMSG_MAX) with nfds descriptors (borrowed), whole or not at all.
 * Returns 0; -1 with *e: EAGAIN when a non-blocking socket is full, EPIPE when the other end is gone (no signal), EMSGSIZE.
 */
int fdmsg_send(int sock, const char *text, size_t len, const int fds[], size_t nfds, struct errbuf *e);

/* Receives a message into text (FDMSG_MAX + 1 bytes; a NUL is put behind it) and its descriptors (close-on-exec, the
 * caller's from then on) into fds, their number into *nfds.
 * Where this process has no room for its descriptors (RLIMIT_NOFILE) the message comes without any: a request that it answers must not be
 * left waiting.  Returns the length; 0 when the other end has closed; -1 with *e: EAGAIN when there is none on a non-blocking socket,
 * EMSGSIZE when the message or its descriptors were too many (the descriptors are closed, the message is gone).
 */
ssize_t fdmsg_recv(int sock, char *text, int fds[FDMSG_FDS], size_t *nfds, struct errbuf *e);

#endif
