/* SPDX-License-Identifier: BSD-3-Clause */
/* /proc/meminfo and the kernel's reserve. */
#ifndef NBDSWAP_CLIENT_MEMINFO_H
#define NBDSWAP_CLIENT_MEMINFO_H

#include "common/errbuf.h"

#include <stdint.h>

/* The value of one line of /proc/meminfo ("MemTotal", "MemAvailable") in bytes.  0, or -1 with *e. */
int meminfo_get(const char *key, uint64_t *bytes, struct errbuf *e);

/* vm.min_free_kbytes in bytes.  0, or -1 with *e. */
int meminfo_min_free(uint64_t *bytes, struct errbuf *e);

#endif
