/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/kernelmarks.h"

#include <stdio.h>

bool kernel_marks_lost_pages(const char *release)
{
	unsigned major, minor;

	return sscanf(release, "%u.%u", &major, &minor) == 2 && (major > 5 || (major == 5 && minor >= 19));
}
