/* SPDX-License-Identifier: BSD-3-Clause */
/* Is the export fit to be swap?  Asked over a connection of its own before anything is changed. */
#ifndef NBDSWAP_CLIENT_PREFLIGHT_SERVER_H
#define NBDSWAP_CLIENT_PREFLIGHT_SERVER_H

#include "client/findings.h"
#include "client/session.h"
#include "client/uri.h"

#include <stdbool.h>

struct server_facts {
	struct export_facts export;
	bool header_unreadable; /* the first pages answer with an error */
	bool knows_clients; /* asked only when header_unreadable */
	uint64_t latency_us; /* median of a few reads, 0 when none succeeded */
};

/* Adds what it finds to *f.  client_id: this machine's identity.  *out is valid when nothing was refused. */
void preflight_server(const struct nbd_uri *uri, const char *client_id, struct server_facts *out,
		      struct findings *f);

#endif
