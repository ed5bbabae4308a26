/* SPDX-License-Identifier: BSD-3-Clause */
/* Where the store calls the system for the backing file: one name for each place whose failure means something of its own.  The words
 * are used by the fault layer of the tests alone (store/fault.h); in a normal build a point is a number that nobody looks at.
 */
#ifndef NBDSWAP_SYSPOINT_H
#define NBDSWAP_SYSPOINT_H

#define SYS_POINTS(X)                      \
	X(RW_READ, "rw.read")              \
	X(RW_WRITE, "rw.write")            \
	X(RW_SYNC, "rw.sync")              \
	X(RECORD_WRITE, "record.write")    \
	X(RECORD_SYNC, "record.sync")      \
	X(SETTLE_READ, "settle.read")      \
	X(SCRUB_READ, "scrub.read")        \
	X(BARRIER, "barrier")              \
	X(BARRIER_ALLOCATE, "barrier.allocate") \
	X(TRAILER_READ, "trailer.read")    \
	X(TRAILER_WRITE, "trailer.write")  \
	X(TRAILER_SYNC, "trailer.sync")    \
	X(IMAGE_READ, "image.read")        \
	X(IMAGE_WRITE, "image.write")      \
	X(IMAGE_SYNC, "image.sync")        \
	X(ALLOC_WRITE, "alloc.write")      \
	X(ALLOC_SYNC, "alloc.sync")        \
	X(ALLOC_TRUNCATE, "alloc.truncate") \
	X(LOCK_TAKE, "lock.take")          \
	X(LOCK_GIVE, "lock.give")          \
	X(LOCK_LOOK, "lock.look")          \
	X(OPEN_LOOK, "open.look")          \
	X(OPEN, "open")                    \
	X(OPEN_FLAGS, "open.flags")        \
	X(CREATE, "create")                \
	X(REMOVE, "remove")                \
	X(STAT, "stat")                    \
	X(SPACE, "space")                  \
	X(FLAGS, "flags")                  \
	X(SEEK, "seek")                    \
	X(EXTENTS, "extents")              \
	X(DEVICE, "device")

enum sys_point {
#define SYS_POINT_ENUM(name, word) POINT_##name,
	SYS_POINTS(SYS_POINT_ENUM)
#undef SYS_POINT_ENUM
	SYS_POINT_COUNT
};

#endif
