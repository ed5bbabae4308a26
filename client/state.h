/* SPDX-License-Identifier: BSD-3-Clause */
/* What attach did, one file per device: DIR/nbdN.json, mode 0600 in a directory of mode 0700, replaced by
 * rename so that a reader sees the whole of it.  It describes kernel objects, so it must vanish with
 * a reboot: DIR is below /run whatever the prefix of the installation.
 */
#ifndef NBDSWAP_CLIENT_STATE_H
#define NBDSWAP_CLIENT_STATE_H

#include "client/blockqueue.h"
#include "client/nbddev.h"
#include "client/uri.h"
#include "common/errbuf.h"
#include "common/generation.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATE_DIR "/run/nbdswap"
#define STATE_SERVERS_MAX 1024

struct attach_state {
	struct nbddev dev;
	char uri[URI_TEXT_MAX]; /* in its normal form */
	char host[256], port[8], export[EXPORT_NAME_MAX + 1];
	char servers[STATE_SERVERS_MAX]; /* the host, and others where the export may be found, in the order to try; blanks between them */
	char client[CLIENT_ID_MAX + 1]; /* the identity sent; "" when the server does not know identities */
	uint64_t size; /* bytes */
	struct generation generation; /* activation 0: the server told none */
	char label[64], uuid[40];
	char discard[8]; /* "none", "once", "pages" */
	uint64_t dead_link_timeout; /* seconds */
	struct queue_settings queue_before;
	uint64_t link_inode; /* of the connection's socket, 0 when not known */
	uint16_t link_port; /* its local port */
	int swap_type;	    /* of the device as swap, in the kernel (client/holders.h); SWAP_TYPE_UNKNOWN, also before swap is on */
	uint16_t flags; /* NBD's transmission flags that the kernel was told; 0: not known */
	uint64_t now_inode; /* not in the file: of the connection that the device has now, which the watch may have made; after loading the same */
	uint16_t now_port;
	enum { WATCHED_UNKNOWN, WATCHED_NOT, WATCHED, WATCHED_OVER } watched; /* not in the file: by the watch; OVER: it has given it up for good, because of */
	char watch_words[sizeof(((struct errbuf *)0)->text)];
	int64_t attached_at; /* seconds since the epoch */
};

#define STATES_MAX 64
struct state_list {
	size_t count;
	struct attach_state states[STATES_MAX];
};

/* Makes the directory if it is not there; refuses one that others could write to.  0, or -1 with *e. */
int state_dir_prepare(const char *dir, struct errbuf *e);

/* One attach, and one end of a detach, at a time: takes the lock of the directory, waiting up to timeout_s.
 * Returns a descriptor that holds it until it is closed, or -1 with *e (EBUSY).
 */
int state_lock(const char *dir, int timeout_s, struct errbuf *e);

int state_save(const char *dir, const struct attach_state *s, struct errbuf *e);

/* All states, by device number; a missing directory has none.  A file that cannot be read is an error. */
int state_load_all(const char *dir, struct state_list *out, struct errbuf *e);

/* Removes the device's file; a missing one is fine. */
int state_remove(const char *dir, const struct nbddev *dev, struct errbuf *e);

/* The state of this device, of this address (normal form), or with this swap area; NULL when there is none. */
const struct attach_state *state_by_device(const struct state_list *list, int index);
const struct attach_state *state_by_uri(const struct state_list *list, const char *uri);
const struct attach_state *state_by_uuid(const struct state_list *list, const char *uuid);

#endif
