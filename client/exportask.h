/* SPDX-License-Identifier: BSD-3-Clause */
/* The name under which this machine asks for an export: NAME?gen=G&lease=L&client=ID&slot=I/N, each parameter
 * where it is known.  The server takes it apart (common/exportname.h).
 */
#ifndef NBDSWAP_CLIENT_EXPORTASK_H
#define NBDSWAP_CLIENT_EXPORTASK_H

#include "common/errbuf.h"
#include "common/exportname.h"
#include "common/generation.h"

#include <stddef.h>

#define EXPORT_ASK_MAX \
	(EXPORT_NAME_MAX + sizeof("?") + GENERATION_TEXT + sizeof("&client=") + CLIENT_ID_MAX + \
	 sizeof("&slot=63/64"))

struct export_ask {
	const char *name;
	const struct generation *generation; /* NULL: whatever is there, as at attach */
	const char *client;		     /* "" or NULL: none; then no slot either */
	unsigned slot, slots;		     /* slots 0: not said */
};

/* Forms it; allocates nothing.  0, or -1 with *e (EINVAL, ENAMETOOLONG) when a part of it cannot be right. */
int export_ask_format(const struct export_ask *a, char out[EXPORT_ASK_MAX], struct errbuf *e);

#endif
