/* SPDX-License-Identifier: BSD-3-Clause */
/* A new configuration in two phases: everything is read, validated and prepared; then all of it is taken over, or none. */
#ifndef NBDSWAP_RELOAD_H
#define NBDSWAP_RELOAD_H

#include "server/daemon.h"

/* Opens the sockets in want that d does not have yet.  Returns 0; -1 with *e, nothing is open then. */
int listeners_prepare(const struct conf_server *want, const struct listeners *have, struct listeners *out, struct errbuf *e);

/* Closes what is in l but not in keep. */
void listeners_close_others(struct listeners *l, const struct listeners *keep);

/* Reads the configuration file again.  Returns the verdict for a control client: {"ok":true,"added":[],...} or
 * {"ok":false,"error":TEXT,"errors":[...]}.  It has been logged.
 */
json_t *daemon_reload(struct daemon *d);

#endif
