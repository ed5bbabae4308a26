/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/detach_lost.h"

#include "client/kernelmarks.h"
#include "client/nbdnl.h"
#include "client/serverlook.h"
#include "client/watchtalk.h"
#include "common/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <sys/utsname.h>

#define LOCK_SECONDS 60

/* Time has passed since the administrator was told that it is. */
static int still_gone(const char *dir, const struct attach_state *s, struct errbuf *e)
{
	static struct state_list now;
	const struct attach_state *i;
	struct errbuf why;

	if (state_load_all(dir, &now, e) < 0)
		return -1;
	i = state_by_device(&now, s->dev.index);
	if (!i || i->attached_at != s->attached_at || i->link_inode != s->link_inode)
		return err_set(e, EAGAIN, "it was detached, and perhaps attached anew, meanwhile; nothing was done");
	watch_refresh(dir, &now);
	if (server_look(dir, i, &why) == SERVER_GONE)
		return 0;
	return err_set(e, EAGAIN, "its server has come back meanwhile, and its pages with it; nothing was done; detach it without --lost-pages-are-lost");
}

/* Under the lock, so that it is this device that is disconnected. */
static int cut_off(const char *dir, const struct attach_state *s, struct errbuf *e)
{
	CLEANUP_CLOSE int lock = state_lock(dir, LOCK_SECONDS, e);

	if (lock < 0 || still_gone(dir, s, e) < 0)
		return -1;
	if (watch_drop(dir, &s->dev, e) < 0)
		return -1;
	return nbdnl_disconnect(s->dev.index, e);
}

enum swap_off_result swap_off_lost(const char *dir, const struct attach_state *s, bool bar, const volatile int *stop, struct errbuf *e)
{
	struct utsname u;

	if (uname(&u) < 0 || !kernel_marks_lost_pages(u.release)) {
		err_set(e, EOPNOTSUPP, "this kernel (%s) gives processes whatever was in memory in the place of pages that it cannot read (mended in"
			" Linux 5.19), which would damage what they do without a sign; end those processes, then detach again", u.release);
		return SWAP_OFF_FAILED;
	}
	if (cut_off(dir, s, e) < 0)
		return SWAP_OFF_FAILED;
	return swap_off(&s->dev, bar, stop, e);
}
