/* SPDX-License-Identifier: BSD-3-Clause */
/* What known content lies on an export that is not attached: its beginning and end are fetched and
 * given to libblkid in a sparse file in memory of the same size.
 */
#ifndef NBDSWAP_CLIENT_EXPORTPROBE_H
#define NBDSWAP_CLIENT_EXPORTPROBE_H

#include "client/session.h"
#include "common/errbuf.h"
#include "common/signature.h"

#include <stdint.h>

/* As signature_probe(): 0 nothing, 1 found, -1 with *e.  Pages that the server cannot read count as
 * empty; their number goes into *unreadable.
 */
int export_probe(struct session *s, uint64_t size, struct signature *out, unsigned *unreadable,
		 struct errbuf *e);

#endif
