/* SPDX-License-Identifier: BSD-3-Clause */
/* Gives a connected device a new socket in the place of one that is dead, by a netlink message made in memory of its own: libnl allocates, and
 * this is for a machine whose memory waits for this very device.
 */
#ifndef NBDSWAP_CLIENT_RECONFIGURE_H
#define NBDSWAP_CLIENT_RECONFIGURE_H

#include "common/errbuf.h"

#include <stddef.h>
#include <stdint.h>

#define RECONFIGURE_BYTES 128u

struct reconfigure {
	int sock; /* generic netlink */
	uint16_t family;
	uint32_t group; /* in which nbd tells of dead links; 0: it has none */
	uint32_t sequence;
	_Alignas(8) unsigned char out[RECONFIGURE_BYTES], in[1024];
};

/* Opens the socket and finds nbd's family.  At the start: the kernel may load the module and allocate.  0, or -1 with *e. */
int reconfigure_open(struct reconfigure *r, struct errbuf *e);
void reconfigure_close(struct reconfigure *r);

/* The first attribute of this type between from and end; NULL: there is none.  *bytes of it follow. */
const void *netlink_attribute(const void *from, const void *end, uint16_t type, size_t *bytes);

/* The messages, in r->out; they return their bytes.  Public for their test. */
size_t reconfigure_message(struct reconfigure *r, int index, int sock, uint64_t dead_link_timeout);
size_t reconfigure_disconnect_message(struct reconfigure *r, int index);

/* Hands sock (in the transmission phase; the caller keeps his descriptor) to device index, and says again how many seconds it may wait without a
 * link, above 0.  The kernel puts it into the place of a socket that it knows to be dead; where it knows of none it does nothing and says that all is
 * well (see link.h for how to find out).  Waits for the answer until deadline_ns (CLOCK_MONOTONIC).
 *
 * 0; -1 with *e (ENODEV: the device is not connected; EINVAL: it was not attached over netlink; ETIMEDOUT).
 */
int reconfigure(struct reconfigure *r, int index, int sock, uint64_t dead_link_timeout, int64_t deadline_ns, struct errbuf *e);

/* Disconnects device index: what waits for it fails, and what is asked of it from now on.  While it is open (as swap) nobody else gets its number.  0, also
 * when it is disconnected already; -1 with *e (EOPNOTSUPP: not on this kernel, ever: see kernelmarks.h).
 */
int reconfigure_disconnect(struct reconfigure *r, int index, int64_t deadline_ns, struct errbuf *e);

#endif
