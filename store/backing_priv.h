/* SPDX-License-Identifier: BSD-3-Clause */
/* What backing.c and backing_use.c share. */
#ifndef NBDSWAP_BACKING_PRIV_H
#define NBDSWAP_BACKING_PRIV_H

#include "store/backend.h"
#include "store/trailer.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct backing {
	int fd;
	struct stat st;
	uint64_t size; /* of the file, or of the device in whole pages */
	struct backend backend;
	struct trailer trailer; /* as last read or written */
	bool has_trailer;
	bool unclean; /* the trailer said "in use" when we came */
	bool allow_unlocked;
	char name[4096];
};

#endif
