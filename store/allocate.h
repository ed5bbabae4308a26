/* SPDX-License-Identifier: BSD-3-Clause */
/* Allocation by really writing: on network file systems nothing else gives space for sure, and a written extent needs no conversion
 * later.  The data is incompressible and every page differs, because a NAS may turn zeros into holes and equal blocks into one.
 */
#ifndef NBDSWAP_ALLOCATE_H
#define NBDSWAP_ALLOCATE_H

#include "common/errbuf.h"
#include "store/backing.h"
#include "store/trailer.h"

/* Writes every page of the layout in *t from t->allocated on (what lies before is trusted: it was synced before the header said so).
 * The trailer is in state ALLOCATING during the work and CLEAN with a fresh table afterwards, with a new activation number.
 * Returns 0; -1 with *e: ENOSPC, EDQUOT, EINTR (progress said stop: resumable), or the backend's error.
 */
int allocate_pages(int fd, const char *path, struct trailer *t, const struct backing_options *opt, struct errbuf *e);

#endif
