/* SPDX-License-Identifier: BSD-3-Clause */
/* The plugin's parameters (key=value on nbdkit's command line). */
#ifndef NBDSWAP_PLUGIN_PARAMS_H
#define NBDSWAP_PLUGIN_PARAMS_H

#include "plugin/broker_local.h"

#include <stdint.h>


#define RETRY_TIME_DEFAULT 300

struct params {
	struct local_options local;
	char *file, *dir, *key_file; /* what local's point at */
	bool check, key, survive; /* check=, key=, survive= was given */
	int broker_fd;	  /* -1: no daemon */
	unsigned allow;
	uint64_t pool; /* bytes */
};

/* What holds when nothing is given. */
#define PARAMS_DEFAULT { .broker_fd = -1, .local.rewrite = true, .pool = 8u << 20, .local.retry_s = RETRY_TIME_DEFAULT }

/* Takes one parameter; errors go to nbdkit_error.  0 or -1. */
int params_set(struct params *p, const char *key, const char *value);

/* Do they fit together? */
int params_complete(struct params *p);

void params_free(struct params *p);

/* Each line of it is in nbdkit-swap-plugin(1) and back: tests/plugin/test-plugin-docs.sh. */
#define PARAMS_HELP                                                                                                     \
	"[file=]<PATH>     (one of file and dir) backing file or block device to swap on\n"                              \
	"dir=<DIR>         serve the activated files of a directory; export name = file name\n"                          \
	"size=<SIZE>       with file=: size of the export; makes and allocates the file if need be\n"                    \
	"rewrite=<BOOL>    with size=: may a file that nbdswap did not make be overwritten (default: true)\n"            \
	"force=<BOOL>      with size=: overwrite even what holds another known content (default: false)\n"               \
	"check=<KIND>      xxh3 or none: how a page that is read is known to be the one written (default: xxh3)\n"           \
	"seal=<KIND>       none or aes-256-gcm: encrypt and authenticate every page (default: none)\n"                    \
	"key=<KIND>        ephemeral: a key that nobody keeps, nor the pages (default when sealed)\n"                     \
	"key-file=<PATH>   the key of the seal, in place of key=: pages are kept over a clean stop\n"                     \
	"survive=<KIND>    process or host: what pages outlive (default: process)\n"                                      \
	"pool=<SIZE>       buffers for all exports (default: 8M)\n"                                                      \
	"retry-time=<SECS> how long a write is held when the backend gives errors that may pass (default: 300)\n"       \
	"allow=<LIST>      go on without: memlock,oom,io-flusher\n"                                                      \
	"broker=<FD>       for nbdswapd: get the exports through this descriptor"

#endif
