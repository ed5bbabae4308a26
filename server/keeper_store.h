/* SPDX-License-Identifier: BSD-3-Clause */
/* The keeper's descriptor store: open descriptors and their names, in the order of their arrival.  It treats them as systemd's store does,
 * so that a daemon finds the same under either:
 *
 * - the same open file description is kept once, under the name that it came with first, whatever the later one is;
 * - a name can stand for several descriptors, which are removed together;
 * - what is polled and reports EPOLLHUP or EPOLLERR is dropped.  What cannot be polled (a memfd) just stays.
 *
 * All of it is fixed tables: nothing is allocated, in user space, after keeper_store_init().
 */
#ifndef NBDSWAP_KEEPER_STORE_H
#define NBDSWAP_KEEPER_STORE_H

#include "common/errbuf.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* 1024 sessions with two descriptors each, 1024 exports with up to four, listeners, and room. */
#define KEEPER_FDS_MAX 8192

/* The names of all reach the daemon in one variable of its environment, which the kernel limits to so many bytes (MAX_ARG_STRLEN). */
#define KEEPER_NAMES_VAR "LISTEN_FDNAMES="
#define KEEPER_NAMES_SIZE 131072

struct keeper_entry {
	int fd;
	bool polled;
	dev_t dev;
	ino_t ino;
};

struct keeper_store {
	int epoll; /* not the store's own */
	int above;
	size_t max, count;
	struct keeper_entry entry[KEEPER_FDS_MAX];
	size_t used;			/* bytes of names, with the NUL of each */
	char names[KEEPER_NAMES_SIZE]; /* one behind the other, in the order of the entries */
};

/* An empty store for up to max (at most KEEPER_FDS_MAX) descriptors, which get numbers of above and higher.  Those that are to be polled are
 * put into epoll, with their number as data.fd and no events but those that come unasked.  Touches all of *s.
 */
void keeper_store_init(struct keeper_store *s, int epoll, int above, size_t max);

/* Takes fd over, in any case.  name: not empty, printable ASCII without a colon.  1: it is kept; 0: the same open file description is kept
 * already; -1 with *e: it is closed (ENOSPC: the store is full, by number or by the length of all names).
 */
int keeper_store_add(struct keeper_store *s, int fd, const char *name, bool polled, struct errbuf *e);

/* Closes all of this name; returns how many that were. */
size_t keeper_store_remove(struct keeper_store *s, const char *name);

/* Closes the one of this number, of which epoll told something.  false: it is none of the store's. */
bool keeper_store_ended(struct keeper_store *s, int fd);

/* Writes "LISTEN_FDNAMES=a:b:c" for the entries as they are. */
void keeper_store_names(const struct keeper_store *s, char out[KEEPER_NAMES_SIZE]);

#endif
