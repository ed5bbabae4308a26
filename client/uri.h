/* SPDX-License-Identifier: BSD-3-Clause */
/* The address of an export: nbd://HOST[:PORT]/EXPORT, or nbd+unix:///EXPORT?socket=PATH where that is
 * acceptable (for `check`; never for swap).
 */
#ifndef NBDSWAP_CLIENT_URI_H
#define NBDSWAP_CLIENT_URI_H

#include "common/errbuf.h"
#include "common/exportname.h"

#include <stdbool.h>

#define URI_TEXT_MAX 1024
#define NBD_PORT "10809"

struct nbd_uri {
	char host[256]; /* without the brackets of an IPv6 address; "" for a Unix socket */
	char port[8]; /* decimal, 1 to 65535 */
	char socket[108]; /* path of a Unix socket, "" for TCP */
	char export[EXPORT_NAME_MAX + 1]; /* decoded, passes export_name_check() */
	char text[URI_TEXT_MAX]; /* the address in one normal form: equal texts name the same export */
};

enum uri_kinds { URI_TCP_ONLY, URI_TCP_OR_UNIX };

/* Takes text apart.  Returns 0, or -1 with *e naming what is wrong and what would be right. */
int uri_parse(const char *text, enum uri_kinds kinds, struct nbd_uri *out, struct errbuf *e);

/* HOST, HOST:PORT or [HOST]:PORT alone, as it stands in an address; the export is "x".  0, or -1 with *e. */
int uri_parse_server(const char *text, struct nbd_uri *out, struct errbuf *e);

#endif
