/* SPDX-License-Identifier: BSD-3-Clause */
/* Export names as clients ask for them: NAME, NAME?client=ID or NAME?client=ID&slot=I/N&gen=G&lease=L (the parameters in any order).
 * An NBD export name is free text, so any NBD client (nbd-client -N too) can carry it.
 */
#ifndef NBDSWAP_EXPORTNAME_H
#define NBDSWAP_EXPORTNAME_H

#include "common/errbuf.h"
#include "common/generation.h"

#include <stdbool.h>

#define EXPORT_NAME_MAX 255 /* bytes, as a file name */
#define CLIENT_ID_MAX 64
#define EXPORT_SLOTS_MAX 64 /* connections of one client to one export */

struct export_request {
	char name[EXPORT_NAME_MAX + 1];
	char client[CLIENT_ID_MAX + 1]; /* "" when the client gave none: known by its address alone */
	/* Which of how many connections it is: a new one takes the place of the one before in its slot.  slots 0: not said. */
	unsigned slot, slots;
	/* gen=0&lease=0: it asks only what there is, and gives way.  It gets the export without passing the lease on, so it must not touch a page. */
	bool looks;
	bool resumes; /* it comes back, and has swapped out pages under: */
	struct generation generation;
};

/* Is name fit to be an export and a file in one directory?  Not empty, not longer than
 * EXPORT_NAME_MAX bytes, no '/', no leading '.', no control characters, no '?'.
 * Returns 0, or -1 with *e saying which rule it breaks.
 */
int export_name_check(const char *name, struct errbuf *e);

/* Takes a request apart.  A bad name, an unknown parameter, one given twice, a bad client id, slot or number are refused, and slot, gen or lease
 * without a client id (an address does not tell two clients apart), and gen and lease but together.
 * Returns 0, or -1 with *e filled.
 */
int export_request_parse(const char *text, struct export_request *out, struct errbuf *e);

/* Is it NAME?client= with an empty id?  That is how a client finds out whether a server knows client ids (others give out
 * any name): refused like every bad id, but nothing to tell an administrator.
 */
bool export_request_is_probe(const char *text);

#endif
