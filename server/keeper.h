/* SPDX-License-Identifier: BSD-3-Clause */
/* The keeper: what systemd is to the daemon, where there is no systemd.
 *
 *  - It starts the daemon (its only child, in a process group of its own) and starts it again when it dies.
 *  - It keeps the descriptors that the daemon sends it, and hands them to the next one (server/keeper_store.h).  They stay until the daemon has
 *    them removed; a clean end of the daemon is the keeper's end, and with it the end of all.
 *  - It passes signals on.
 *
 * It speaks the protocol of sd_notify(3) and sd_listen_fds(3), so that the daemon has one way for both.  Messages are heeded only from
 * the daemon's own process (the kernel says whose they are), and only that has a way to send any (server/keeper_socket.h).
 *
 *   none --start--> running --died--> (messages it has left) --> none, and after a pause again
 *                      |
 *                      +--ended: clean, as it was told to, or before one was ever ready--> the keeper's end, with its exit code
 *
 * It is locked in memory and takes no more of it once it runs.  Pages of a memfd that nobody but the keeper has are not locked by that: what
 * must never reach a disk is stored only where nothing can (common/noswap.h), which is for the daemon to see to.
 */
#ifndef NBDSWAP_KEEPER_H
#define NBDSWAP_KEEPER_H

#include <stdint.h>

struct keeper_plan {
	const char *program; /* what is there when a daemon is started is executed; should it be missing then, this program as it is */
	char **argv;
	uint64_t allow;	    /* bits of enum allow: what the keeper itself may lack */
	unsigned soon_ms;   /* a daemon that lived for so long is followed by the next at once */
	unsigned pause_ms;  /* after one that did not; doubled each time */
	unsigned pause_max_ms;
};

/* Runs until the daemon has ended for good.  Returns the exit code: the daemon's; EX_PRIV, EX_FAIL when the keeper cannot be set up, or when the
 * daemon was told to stop and was killed over it.  Closes descriptors from 3 on.  To be called once, with no other thread.
 */
int keeper_run(const struct keeper_plan *plan);

#endif
