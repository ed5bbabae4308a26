/* SPDX-License-Identifier: BSD-3-Clause */
/* What the native worker gives up before it serves its first client, so that whoever takes it over by a request has little to do.
 *
 * It works on descriptors that are open already or come from the daemon.  So, for all its threads and those they start:
 *
 *   capabilities  none, but CAP_IPC_LOCK where RLIMIT_MEMLOCK is limited and cannot be raised: tables, sessions' memory and
 *                 buffers are mapped and locked as clients come
 *   rights        no_new_privs; undumpable; no path can be opened or changed and no TCP connection made (Landlock, Linux 5.13 on,
 *                 Debian 12 has it; what of it the kernel knows)
 *   system calls  those of confine_calls.c, others fail with EPERM
 *
 * The user stays what it was (root, under the unit).  Another one would have to be one that no other process has, or that process could stop
 * the worker by a signal, which is a client's swap standing still; the daemon's unit would need CAP_SETUID to get there and
 * CAP_KILL to end its worker.  What user 0 without capabilities could still do - open root's files, signal root's processes - is what
 * Landlock and the filter refuse.  chroot is not used either: it needs CAP_SYS_CHROOT and takes away less than Landlock.
 *
 * io_uring does not pass the filter: see confine_ring.h.
 */
#ifndef NBDSWAP_ENGINE_CONFINE_H
#define NBDSWAP_ENGINE_CONFINE_H

#include "common/errbuf.h"

#include <signal.h>
#include <stdbool.h>

struct confined {
	bool ipc_lock; /* CAP_IPC_LOCK was kept */
	int landlock;  /* its version in the kernel, 0: there is none */
};

/* Confines the process for good, all threads, and reads back what the kernel says of each.  To be called when everything is open, mapped and
 * locked; other threads are interrupted for a moment by a signal, which they must not block.  0 with *out; -1 with *e: the process is
 * confined in part then and must end.
 */
#define CONFINE_SIGNAL (SIGRTMAX - 1)
int confine_process(struct confined *out, struct errbuf *e);

/* Its parts, for tests: the second allows system calls only.  confine_process calls them in this order. */
int confine_rights(struct confined *out, struct errbuf *e);
int confine_calls(struct errbuf *e);

#endif
