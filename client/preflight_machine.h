/* SPDX-License-Identifier: BSD-3-Clause */
/* Is this machine fit to swap to that server?  Changes nothing but one thing: it loads the nbd module. */
#ifndef NBDSWAP_CLIENT_PREFLIGHT_MACHINE_H
#define NBDSWAP_CLIENT_PREFLIGHT_MACHINE_H

#include "client/findings.h"
#include "client/nbddev.h"
#include "client/state.h"
#include "client/uri.h"

#include <stdbool.h>

struct machine_wishes {
	const char *device; /* the device asked for, or NULL: the first that is free */
	const char *nbd_client; /* name or path of the program */
	bool own_address_ok; /* --loopback-i-know */
	const struct nbd_uri *servers; /* hosts beside that of the address */
	size_t nservers;
};

struct machine_facts {
	struct nbddev dev;
	char nbd_client[256];
};

/* Adds what it finds to *f; attached: what nbdswap has attached already.  *out is valid when nothing
 * was refused.
 */
void preflight_machine(const struct nbd_uri *uri, const struct machine_wishes *w,
		       const struct state_list *attached, struct machine_facts *out, struct findings *f);

/* Is uri's host an address of this machine?  1 yes, 0 no, -1 with *e when the name cannot be resolved. */
int uri_is_own_address(const struct nbd_uri *uri, struct errbuf *e);

#endif
