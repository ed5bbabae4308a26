/* SPDX-License-Identifier: BSD-3-Clause */
/* Runs nbd-client, which negotiates and hands the socket to the kernel. */
#ifndef NBDSWAP_CLIENT_NBDCLIENT_H
#define NBDSWAP_CLIENT_NBDCLIENT_H

#include "client/nbddev.h"
#include "client/uri.h"
#include "common/errbuf.h"

#define EXPORT_REQUEST_MAX (EXPORT_NAME_MAX + sizeof("?client=") + CLIENT_ID_MAX)

/* Connects dev to the export request (a name with its parameters) at uri.  program: path of nbd-client.
 * Returns 0 when the kernel shows the device connected, or -1 with *e holding nbd-client's own words; then it
 * may or may not have connected the device.
 */
int nbdclient_connect(const char *program, const struct nbd_uri *uri, const char *request,
		      const struct nbddev *dev, struct errbuf *e);

#endif
