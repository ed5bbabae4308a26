/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/protect.h"

#include "common/allow.h"
#include "common/memlock.h"
#include "common/procself.h"
#include "server/log.h"

int protect_process(uint64_t allow, const char *who, struct errbuf *e)
{
	struct errbuf why;

	if (memlock_process(&why) < 0 || memlock_verify(NULL, &why) < 0) {
		if (!(allow & ALLOW_MEMLOCK)) {
			*e = why;
			return -1;
		}
		log_line(LOG_WARN, "%s%s", who, why.text);
	}
	if (procself_oom_score(-1000, &why) < 0 && !(allow & ALLOW_OOM))
		log_line(LOG_WARN, "%s%s", who, why.text);
	if (procself_io_flusher(&why) < 0 && !(allow & ALLOW_IO_FLUSHER))
		log_line(LOG_WARN, "%s%s", who, why.text);
	return 0;
}
