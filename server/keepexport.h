/* SPDX-License-Identifier: BSD-3-Clause */
/* An export in the text that is left to a successor (keep.h).  There may be a thousand of them, and most do not change from one text to the next. */
#ifndef NBDSWAP_KEEPEXPORT_H
#define NBDSWAP_KEEPEXPORT_H

#include "server/exports.h"
#include "server/keep.h"

/* Changes when anything does that is in its text. */
uint64_t keepexport_print(const struct export *x);

/* Its text, a JSON object, x's own until the next call; names its descriptors. */
const char *keepexport_text(struct keep *k, struct export *x);

#endif
