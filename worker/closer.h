/* SPDX-License-Identifier: BSD-3-Clause */
/* A thread that closes descriptors of files, for that may block: on NFS who closes any descriptor of a file that is locked waits until the
 * process's I/O on it has ended, and who closes the last waits for the lock to be given back.  While the server is away that is
 * as long as it stays away, and clients of other exports must not wait for it.
 */
#ifndef NBDSWAP_WORKER_CLOSER_H
#define NBDSWAP_WORKER_CLOSER_H

#include "common/errbuf.h"

struct closer;

/* Starts the thread.  NULL with *e. */
struct closer *closer_create(struct errbuf *e);

/* Closes what is left and ends the thread; blocks as long as that.  NULL is fine. */
void closer_free(struct closer *c);

/* fd is the closer's from here on.  Any thread; blocks only when CLOSER_MAX wait already. */
#define CLOSER_MAX 64
void closer_put(struct closer *c, int fd);

#endif
