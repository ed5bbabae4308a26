/* SPDX-License-Identifier: BSD-3-Clause */
/* The control socket: a Unix stream on which nbdswapctl (or anything else) sends requests, one JSON object per line, and gets
 * lines back: any number of {"progress":{...}}, then one with "ok".  Whatever is sent here, the daemon lives on.
 */
#ifndef NBDSWAP_CONTROL_H
#define NBDSWAP_CONTROL_H

#include "common/errbuf.h"

#include <ev.h>
#include <jansson.h>
#include <stdint.h>

#define CONTROL_LINE_MAX 65536 /* bytes of a request with its newline */
#define CONTROL_CLIENTS_MAX 16
#define CONTROL_IDLE_SECONDS 60.

struct control;

/* Called for each request that is an object; must answer, now or later, with control_answer. */
typedef void (*control_fn)(void *arg, uint64_t client, const json_t *request);

/* Makes the directory (0755) when it is missing, and the socket (0600).  A socket that a dead daemon left is replaced; one that is
 * answered on is not (EADDRINUSE).  NULL with *e.
 */
struct control *control_create(struct ev_loop *loop, const char *path, control_fn fn, void *arg, struct errbuf *e);

/* Sends what is left where that goes at once, closes, removes the socket.  NULL is fine. */
void control_free(struct control *c);

/* Lines to a client (obj is consumed); it may be gone, then nothing happens.  A client that does not read loses progress lines, and
 * its connection if it goes on.
 */
void control_progress(struct control *c, uint64_t client, json_t *obj);
void control_answer(struct control *c, uint64_t client, json_t *obj);

/* {"ok":false,"error":TEXT} */
void control_refuse(struct control *c, uint64_t client, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
