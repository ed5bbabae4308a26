/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's log: lines on standard error, with the priority in front (<3>) when that is the journal. */
#ifndef NBDSWAP_LOG_H
#define NBDSWAP_LOG_H

enum log_priority { LOG_ERROR = 3, LOG_WARN = 4, LOG_NOTE = 6 };

void log_line(enum log_priority priority, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
