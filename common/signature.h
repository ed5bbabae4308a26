/* SPDX-License-Identifier: BSD-3-Clause */
/* What known content lies on an open file or device: file systems, swap, RAID members, encrypted
 * volumes, partition tables.  Asked before anything is overwritten.
 */
#ifndef NBDSWAP_SIGNATURE_H
#define NBDSWAP_SIGNATURE_H

#include "common/errbuf.h"

#include <stdbool.h>
#include <stdint.h>

#define SIGNATURE_NOWHERE UINT64_MAX

struct signature {
	char type
		[32]; /* libblkid's name: "swap", "ext4", "crypto_LUKS", "gpt" ...; "ambivalent" when several */
	char usage[24]; /* "filesystem", "raid", "crypto", "other" (swap), "partitions" */
	char label[64]; /* "" when there is none */
	char uuid[40]; /* "" when there is none */
	uint64_t offset; /* bytes, of what it was recognised by; SIGNATURE_NOWHERE: not known */
};

/* Probes fd (a regular file or a block device, readable; any position, which is not kept).
 * Returns 0 when nothing was recognised, 1 with *out filled, -1 with *e when the content cannot be read.
 */
int signature_probe(int fd, struct signature *out, struct errbuf *e);

/* Is it a swap area that mkswap made (not a hibernation image)? */
bool signature_is_swap(const struct signature *s);

#endif
