/* SPDX-License-Identifier: BSD-3-Clause */
/* The broker without a daemon: activates files in this process. */
#ifndef NBDSWAP_PLUGIN_BROKER_LOCAL_H
#define NBDSWAP_PLUGIN_BROKER_LOCAL_H

#include "worker/broker.h"
#include "store/table.h"

struct local_options {
	const char *file; /* one of file and dir */
	const char *dir;
	uint64_t size;
	bool rewrite, force, allow_unlocked;
	enum page_check check; /* of what is written from now on */
	enum page_seal seal;
	enum page_survive survive;
	uint32_t retry_s; /* as table_set_retry_time() */
	const char *key_file; /* NULL: the key is ephemeral */
};

/* Tells what became of the pages (warning false) and what an administrator should see; any thread. */
typedef void local_notice(bool warning, const char *text);

/* Ends a session of this number: when it returns true, no request of it can reach the backend any more but those that are there, whose pages stay in
 * flight; false: it cannot be ended just now.  Any thread.
 */
typedef bool local_end(uint64_t session);

/* With file=: activates it now (progress on stderr when that is a terminal), so that it fails before anybody connects.  With dir=: opens the
 * directory; files are activated when they are first asked for and stay so until finish.
 * Strings of opt are copied.  0 or -1 with *e.
 */
int broker_local_create(const struct local_options *opt, local_notice *notice, local_end *end, struct broker *out, struct errbuf *e);

#endif
