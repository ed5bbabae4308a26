/* SPDX-License-Identifier: BSD-3-Clause */
/* The lock that makes an activation exclusive: an OFD lock, the only kind that holds against other processes, against
 * other mounts of the same NFS export and against other SMB clients alike (flock does neither).  It belongs to the open file description, so it
 * passes on with a descriptor that is handed to another process.
 */
#ifndef NBDSWAP_LOCK_H
#define NBDSWAP_LOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Locks bytes 0 .. length-1 for writing without waiting; two activations always meet at byte 0.  The trailer's headers are left out,
 * because SMB's locks are mandatory and the refused one wants to read who holds it.
 * Returns 0; -1 with errno, EBUSY when another holds it (EAGAIN, and EACCES from SMB, are made EBUSY).
 */
int lock_take(int fd, uint64_t length);

/* How far the lock of a backing file of this size reaches: up to the trailer's headers. */
uint64_t lock_range(uint64_t file_size);

/* Gives the lock of this description back, as far as its server still knows it. */
void lock_release(int fd);

/* Of the description fd: it is there.  Shared, on a byte far beyond every file, and gone with the last reference that the kernel has to the
 * description.  0; -1 with errno.
 */
int lock_presence(int fd);

/* Is a description other than fd's present?  Takes nothing.  1 yes, 0 no, -1 with errno. */
int lock_is_present(int fd);

/* Waits until no description but fd's own is present.  Only where locks are the local kernel's.  0; -1 with errno. */
int lock_await_absence(int fd);

/* What a process that was killed in lock_await_absence() left on the description: it keeps others from being present. */
void lock_end_awaiting(int fd);

/* Is it locked by somebody else?  Takes nothing.  1 yes, 0 no, -1 with errno. */
int lock_held(int fd);

#endif
