/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/bootid.h"

#include "common/cleanup.h"

#include <errno.h>
#include <string.h>

#define BOOT_ID "/proc/sys/kernel/random/boot_id"

int bootid_read(char out[CLIENT_ID_MAX + 1], struct errbuf *e)
{
	CLEANUP_FCLOSE FILE *in = fopen(BOOT_ID, "re");

	if (!in || !fgets(out, CLIENT_ID_MAX + 1, in))
		return err_errno(e, "cannot read " BOOT_ID);
	out[strcspn(out, "\n")] = '\0';
	return 0;
}
