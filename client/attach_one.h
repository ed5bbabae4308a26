/* SPDX-License-Identifier: BSD-3-Clause */
/* Attaches one export as swap: preflight, then a row of steps, each with what undoes it.  A step that
 * fails, or a signal, undoes in reverse order all that was done.
 */
#ifndef NBDSWAP_CLIENT_ATTACH_ONE_H
#define NBDSWAP_CLIENT_ATTACH_ONE_H

#include "client/findings.h"
#include "client/state.h"
#include "client/swapctl.h"
#include "client/uri.h"
#include "common/errbuf.h"
#include "common/exitcodes.h"

#include <stdbool.h>
#include <stdint.h>

/* Seven days: as good as for ever to a process that waits, and yet a machine whose server never
 * returns ends.
 */
#define DEAD_LINK_TIMEOUT_DEFAULT (7 * 24 * 3600)

#define ATTACH_SERVERS_MAX 8 /* beside that of the address */

struct attach_request {
	struct nbd_uri uri;
	struct nbd_uri servers[ATTACH_SERVERS_MAX]; /* host and port of where the export may be found as well */
	size_t nservers;
	const char *device; /* NULL: the first that is free */
	const char *label; /* NULL: what is there, else the export's name */
	bool via_nbd_client; /* else attach negotiates itself */
	const char *nbd_client; /* program, for that */
	const char *state_dir;
	int priority;
	enum discard_mode discard;
	uint64_t dead_link_timeout; /* seconds, above 0 */
	bool no_watch; /* nothing makes a lost connection anew */
	const char *watch_allow; /* what may be missing to the watch; NULL: nothing */
	bool force, own_address_ok, dry_run;
};

void attach_request_init(struct attach_request *r);

struct attach_result {
	struct findings findings; /* of the preflight, always filled */
	struct attach_state state; /* valid after success without dry_run */
	enum discard_mode discard; /* what was chosen */
	char notes[512]; /* what a person should know about what was done, "" or sentences */
};

/* Does it.  *stop: set by a signal handler.  Returns EX_OK_, or another code: then either the
 * findings hold a refusal (*e is unset), or *e says which step failed and what became of it.
 */
enum exit_code attach_one(const struct attach_request *r, struct attach_result *out, const volatile int *stop,
			  struct errbuf *e);

#endif
