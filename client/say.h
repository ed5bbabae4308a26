/* SPDX-License-Identifier: BSD-3-Clause */
/* What the program says to a person: on standard error, with its name in front.  Only the commands use it. */
#ifndef NBDSWAP_CLIENT_SAY_H
#define NBDSWAP_CLIENT_SAY_H

#include "client/findings.h"
#include "common/errbuf.h"

#include <stdbool.h>

void say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void say_error(const struct errbuf *e);

/* Prints warnings and refusals, and with all = true what is well too (on standard output). */
void say_findings(const struct findings *f, bool all);

/* Set to the signal's number when SIGINT, SIGTERM or SIGHUP has arrived after catch_signals(). */
extern volatile int caught_signal;
void catch_signals(void);

#endif
