/* SPDX-License-Identifier: BSD-3-Clause */
/* How much has been sent over a TCP connection: the way to see that the kernel uses a socket of which one has a duplicate. */
#ifndef NBDSWAP_CLIENT_SOCKSENT_H
#define NBDSWAP_CLIENT_SOCKSENT_H

#include <stdint.h>

/* Bytes, those sent again counted too; 0 when it cannot be told. */
uint64_t socksent(int sock);

#endif
