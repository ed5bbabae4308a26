/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/detach_lost.h"

#include "client/nbdnl.h"
#include "client/watchtalk.h"

#include <errno.h>
#include <stdio.h>
#include <sys/utsname.h>

bool kernel_marks_lost_pages(const char *release)
{
	unsigned major, minor;

	return sscanf(release, "%u.%u", &major, &minor) == 2 && (major > 5 || (major == 5 && minor >= 19));
}

enum swap_off_result swap_off_lost(const char *dir, const struct nbddev *dev, bool bar, const volatile int *stop, struct errbuf *e)
{
	struct utsname u;

	if (uname(&u) < 0 || !kernel_marks_lost_pages(u.release)) {
		err_set(e, EOPNOTSUPP, "this kernel (%s) gives processes whatever was in memory in the place of pages that it cannot read (mended in"
			" Linux 5.19), which would damage what they do without a sign; end those processes, then detach again", u.release);
		return SWAP_OFF_FAILED;
	}
	watch_drop(dir, dev);
	if (nbdnl_disconnect(dev->index, e) < 0)
		return SWAP_OFF_FAILED;
	return swap_off(dev, bar, stop, e);
}
