/* SPDX-License-Identifier: BSD-3-Clause */
/* /etc/nbdswap/swaptab: one swap a line, in the manner of fstab. */
#ifndef NBDSWAP_CLIENT_SWAPTAB_H
#define NBDSWAP_CLIENT_SWAPTAB_H

#include "client/swapctl.h"
#include "client/uri.h"
#include "common/errbuf.h"

#include <stdint.h>
#include <stdio.h>

#define SWAPTAB SYSCONFDIR "/nbdswap/swaptab"
#define SWAPTAB_MAX 32 /* more swap areas than the kernel allows */

#define SWAPTAB_SERVERS_MAX 4

struct swaptab_entry {
	struct nbd_uri uri;
	char label[16]; /* "": not given */
	char device[16]; /* "": not given */
	int priority; /* PRIORITY_KERNEL: not given */
	enum discard_mode discard; /* DISCARD_AUTO: not given */
	uint64_t dead_link_timeout; /* 0: not given */
	struct nbd_uri servers[SWAPTAB_SERVERS_MAX]; /* where it may be found as well */
	size_t nservers;
	unsigned line;
};

struct swaptab {
	size_t count;
	struct swaptab_entry entries[SWAPTAB_MAX];
};

/* Reads and validates the whole file before anything is used of it; name is for messages.  0, or -1
 * with *e naming file, line and reason.
 */
int swaptab_parse(FILE *in, const char *name, struct swaptab *out, struct errbuf *e);
int swaptab_load(const char *path, struct swaptab *out, struct errbuf *e);

/* A priority from 0 to 32767, and a number of seconds from 1; used for options on the command line as
 * well.
 */
int priority_parse(const char *text, int *out, struct errbuf *e);
int seconds_parse(const char *text, uint64_t *out, struct errbuf *e);

#endif
