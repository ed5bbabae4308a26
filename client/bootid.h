/* SPDX-License-Identifier: BSD-3-Clause */
/* Who this client is to a server: the boot id, since diskless machines share their image and with it
 * the machine-id.
 */
#ifndef NBDSWAP_CLIENT_BOOTID_H
#define NBDSWAP_CLIENT_BOOTID_H

#include "common/errbuf.h"
#include "common/exportname.h"

/* 0, or -1 with *e. */
int bootid_read(char out[CLIENT_ID_MAX + 1], struct errbuf *e);

#endif
