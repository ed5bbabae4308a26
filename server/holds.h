/* SPDX-License-Identifier: BSD-3-Clause */
/* Pages of the pool that were in the hands of a worker that died (server/engine/buffers.h: held).
 *
 * A session's pages are held from its worker's death until its successor has claimed them, or, when the session is over, until its export is
 * settled: what the dead worker had read into them may still be on its way.  On the loop's thread.
 */
#ifndef NBDSWAP_HOLDS_H
#define NBDSWAP_HOLDS_H

#include "server/livesessions.h"

#include <jansson.h>

struct sessions;

/* The worker has been reaped: holds what all sessions have, and no more. */
void holds_worker_died(struct sessions *s);

/* The session is over, or goes on in another worker. */
void holds_session_over(struct sessions *s, struct session *i);
void holds_session_resumed(struct session *i);

/* Lets go of what is held for sessions that are over, where the export has been settled. */
void holds_let_go(struct sessions *s);

/* The export has been released, and is not the one any more that a later barrier would wait for: what could not be waited for until now stays held
 * for good, and its place in the pool is nobody's.
 */
void holds_export_released(struct sessions *s, struct export *x);

/* What is held for sessions that are over, for a successor (keep.h), who takes it from that.  -1: it is not understood. */
json_t *holds_json(const struct sessions *s);
int holds_adopt(struct sessions *s, const json_t *list);

/* Forgets them all, with the pool: the daemon ends. */
void holds_free(struct sessions *s);

#endif
