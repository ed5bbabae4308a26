/* SPDX-License-Identifier: BSD-3-Clause */
/* A connection to an export made by libnbd, for looking at a server and for checks; swap itself never goes
 * through it.  Every step has a time limit, so that a server which accepts and then says nothing is
 * told as such.
 */
#ifndef NBDSWAP_CLIENT_SESSION_H
#define NBDSWAP_CLIENT_SESSION_H

#include "client/nbdclient.h"
#include "client/uri.h"
#include "common/errbuf.h"
#include "common/generation.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SESSION_STEP_MS 15000

struct session;

enum open_result {
	OPEN_OK,
	OPEN_UNREACHABLE, /* no connection, no answer, or not an NBD server */
	OPEN_NO_EXPORT, /* the server does not offer this name */
	OPEN_REFUSED, /* it is offered, but not to us: in use by another client, or not allowed */
	OPEN_FAILED,
};

struct export_facts {
	char request[EXPORT_REQUEST_MAX]; /* the name as the server accepted it: NAME?client=ID or NAME */
	bool identified; /* the request carries the client's identity */
	uint64_t size; /* bytes */
	uint64_t block_min, block_max; /* 0: the server does not say */
	bool read_only, flush, trim, zero, multi_conn;
	struct generation generation; /* under which this client has it; activation 0: the server tells none */
};

/* Connects and opens the export, as NAME?client=ID first and, where the server does not know that name but
 * offers the bare one, as NAME.  client_id "" asks for the bare name only.  *out is the caller's
 * until session_close().
 */
enum open_result session_open(const struct nbd_uri *uri, const char *client_id, struct session **out,
			      struct export_facts *facts, struct errbuf *e);

/* Does the server take an export name apart as nbdswap's do?  One that accepts any name (nbdkit's
 * memory plugin) accepts an identity that is malformed too.  Makes a connection of its own.
 */
bool session_server_knows_clients(const struct nbd_uri *uri);

/* One request; the time it took goes into *ns (may be NULL).  0, or -1 with *e (code: the server's
 * errno value, ETIMEDOUT, or ENOTCONN when the connection is gone).
 */
int session_read(struct session *s, void *buf, size_t count, uint64_t offset, uint64_t *ns, struct errbuf *e);
int session_write(struct session *s, const void *buf, size_t count, uint64_t offset, uint64_t *ns,
		  struct errbuf *e);
int session_trim(struct session *s, uint64_t count, uint64_t offset, struct errbuf *e);
int session_flush(struct session *s, struct errbuf *e);

void session_close(struct session *s); /* NULL is fine */

#endif
