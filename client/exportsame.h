/* SPDX-License-Identifier: BSD-3-Clause */
/* Is the export that a server gives now the one that a device was attached to?  Before a socket of it goes to
 * the kernel.
 */
#ifndef NBDSWAP_CLIENT_EXPORTSAME_H
#define NBDSWAP_CLIENT_EXPORTSAME_H

#include "client/negotiate.h"
#include "common/errbuf.h"

#include <stdbool.h>
#include <stdint.h>

/* What a device had when it was attached, and goes on with. */
struct export_expected {
	uint64_t size;		/* bytes */
	uint16_t flags;		/* transmission flags that the kernel was told */
	uint32_t request_bytes; /* the largest request that the device sends; 0: not compared */
	bool has_generation;	/* else it is not compared */
	struct generation generation;
};

/* Flags that the kernel's driver does not use, and what the server offers in addition, make no difference.
 * Allocates nothing.  0; -1 with *e: everything that differs, in words about the server (as nego_error() has
 * them), and the remedy.  Its code is ESTALE when another generation is told: the pages are gone; EMEDIUMTYPE when it has another size or tells
 * no generation, which may be another server that is here by mistake; else EINVAL: then the server may be mended.
 */
int export_same(const struct nego_export *got, const struct export_expected *want, struct errbuf *e);

#endif
