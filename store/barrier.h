/* SPDX-License-Identifier: BSD-3-Clause */
/* Waiting for orphans: reads and writes that a worker, dead by now, left at the backend.  A write may land, a read may come to lie in memory that
 * others use, long after the process is gone.
 *
 *   ext4, xfs   fallocate mode 0 over the allocated first page waits for all direct I/O on the inode, reads too (inode_dio_wait).  On a
 *               full xfs it fails after that (ENOSPC, EDQUOT), which is no failure of the wait
 *   NFS         a read through the page cache waits for all direct I/O on the inode (nfs_start_io_read), on 3 and 4.x.  fallocate does so too on
 *               4.2, but a server that is full, or copies on write, may refuse it
 *   btrfs,      the worker has an open description of its own, with a lock on it (lock.h) that goes when the kernel drops the description's
 *   blockdev    last reference. A direct I/O holds one until it has ended: by io_uring, whoever submitted it, and by a system
 *               call, from which a process does not return, not even to die.  So who gets the opposite lock has waited for all of
 *               them, through whatever lies below (dm, md).  Not on NFS and SMB, whose direct I/O outlives its system call
 *   tmpfs       has no orphans
 *   smb         every read and write holds a reference to the client's open file, which /proc/fs/cifs/open_files counts, until the server has
 *               answered; also while it is sent again after the server was away (cifsfiles.h)
 *
 * fsync and fdatasync are no barrier: on NFS they return at once.  fallocate of the first page is none on btrfs, where a read elsewhere
 * lands later.  Measured with a delayed backend on Linux 6.1: tests/vm/test-orphans.sh.
 */
#ifndef NBDSWAP_BARRIER_H
#define NBDSWAP_BARRIER_H

#include "common/errbuf.h"
#include "store/backend.h"

/* A description of fd's file that is to be the worker's own goes to *out, the caller's; -1 where none is needed, and the worker gets fd itself.
 * Returns 0; -1 with *e: EAGAIN when too many files are open.
 */
int barrier_worker_fd(const struct backend *b, int fd, const char *path, int *out, struct errbuf *e);

/* Has somebody such a description of fd's file?  A worker goes on when its daemon is killed, and then that is all that tells of it: the daemon's lock
 * is gone.  Also what a dead one left at the backend.  1 yes; 0 no, or the worker has the daemon's description and with it the lock; -1 with errno.
 */
int barrier_worker_there(const struct backend *b, int fd);

/* Waits until nothing that a worker which is dead by now submitted to this file can still land, neither a write in the file nor a read in memory.  May
 * block as long as the backend does: call it from a helper thread.  fd: the daemon's own.  *worker_fd: what barrier_worker_fd()
 * gave, of which no other process may have a copy but that worker; it is closed, and a new one put there for the next.  path: for messages.
 * After an error it can be asked again.  Returns 0; -1 with *e: EAGAIN when too many files are open; ENOTSUP where no barrier is known: the caller then starts a new generation.
 */
int backend_barrier(const struct backend *b, int fd, int *worker_fd, const char *path, struct errbuf *e);

#endif
