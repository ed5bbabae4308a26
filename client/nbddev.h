/* SPDX-License-Identifier: BSD-3-Clause */
/* The kernel's nbd devices as sysfs shows them. */
#ifndef NBDSWAP_CLIENT_NBDDEV_H
#define NBDSWAP_CLIENT_NBDDEV_H

#include "common/errbuf.h"

#include <stdbool.h>
#include <stdint.h>

struct nbddev {
	int index;
	char name[16]; /* "nbd3" */
	char path[24]; /* "/dev/nbd3" */
};

/* From "nbd3" or "/dev/nbd3".  0, or -1 with *e. */
int nbddev_parse(const char *text, struct nbddev *out, struct errbuf *e);
void nbddev_set(struct nbddev *d, int index);

bool nbddev_exists(const struct nbddev *d);
bool nbddev_connected(const struct nbddev *d); /* it has a size or a connection */
/* Has anybody claimed it for himself: swap by whatever name, a mounted file system, another device on top?  Its link need not be alive for that. */
bool nbddev_claimed(const struct nbddev *d);
uint64_t nbddev_size(const struct nbddev *d); /* bytes, 0 when it is not connected */

/* The first device that is free.  0; -1 with *e: ENOENT when there are no nbd devices at all (the module is
 * not loaded), EBUSY when all are taken.
 */
int nbddev_first_free(struct nbddev *out, struct errbuf *e);

/* Waits until the device is disconnected, at most timeout_ms.  True when it is. */
bool nbddev_wait_gone(const struct nbddev *d, int timeout_ms);

struct nbddev_stat {
	uint64_t reads, read_bytes, writes, write_bytes, discards,
		discard_bytes; /* since the device was made */
	uint64_t in_flight;
};

/* /sys/block/nbdN/stat.  0, or -1 with *e. */
int nbddev_stat(const struct nbddev *d, struct nbddev_stat *out, struct errbuf *e);

#endif
