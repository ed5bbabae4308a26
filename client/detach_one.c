/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/detach_one.h"

#include "client/blockqueue.h"
#include "client/detach_lost.h"
#include "client/meminfo.h"
#include "client/nbdnl.h"
#include "client/procswaps.h"
#include "client/serverlook.h"
#include "client/swapctl.h"
#include "client/watchtalk.h"
#include "common/cleanup.h"
#include "common/size.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define LOCK_SECONDS 60
#define GONE_MS 10000
#define HOLDERS_MS 3000
#define MARGIN_BYTES (8ull << 20)

int detach_memory_check(uint64_t used, uint64_t available, uint64_t other_swap, struct errbuf *e)
{
	/* MemAvailable leaves out the kernel's reserve already; but it is an estimate, and swapoff
	 * needs room to work in.
	 */
	uint64_t needed = used + MARGIN_BYTES;
	char used_text[SIZE_TEXT], available_text[SIZE_TEXT], other_text[SIZE_TEXT];

	if (used == 0 || available + other_swap >= needed)
		return 0;
	return err_set(e, ENOMEM,
		       "%s of pages would have to come back, but only %s of memory is available and %s of "
		       "other swap is free; end processes, add other swap, or use --force and risk that the kernel ends "
		       "processes",
		       size_format(used, used_text), size_format(available, available_text),
		       size_format(other_swap, other_text));
}

static int look_at_memory(const struct detach_request *r, const struct swap_list *swaps, uint64_t used,
			  struct errbuf *e)
{
	uint64_t available;

	if (meminfo_get("MemAvailable", &available, e) < 0)
		return -1;
	return detach_memory_check(used, available, procswaps_free_elsewhere(swaps, r->dev.path), e);
}

/* Without the word for it, nothing is done to pages that the server, which is gone, has. */
static enum exit_code look_at_server(const struct detach_request *r, const struct swap_list *swaps, uint64_t used, struct detach_result *out,
				     struct errbuf *e)
{
	enum server_look look = r->state && used > 0 ? server_look(r->state_dir, r->state, e) : SERVER_THERE;
	char text[SIZE_TEXT];
	struct errbuf he;

	if (look == SERVER_THERE)
		return EX_OK_;
	if (look == SERVER_BACK) {
		size_t n = strlen(e->text);

		snprintf(e->text + n, sizeof(e->text) - n, "; wait some seconds and run the same command again");
		return EX_REFUSED;
	}
	out->lost = used;
	if (holders_find(swaps, r->dev.path, r->state->swap_type, HOLDERS_MS, &out->holders, &he) < 0)
		out->holders.count = 0; /* then they are not named */
	if (r->lost)
		return EX_OK_;
	err_prefix(e, "its server is gone, and with it %s of pages that processes need (%llu pages)", size_format(used, text),
		   (unsigned long long)used / 4096);
	return EX_LOST;
}

static enum exit_code turn_off(const struct detach_request *r, struct detach_result *out, const volatile int *stop, struct errbuf *e)
{
	enum swap_off_result result;
	struct swap_list swaps;
	const struct swap_entry *s;
	enum exit_code code;

	if (procswaps_read(&swaps, e) < 0)
		return EX_FAIL;
	s = procswaps_find(&swaps, r->dev.path);
	if (!s)
		return EX_OK_;
	code = look_at_server(r, &swaps, s->used, out, e);
	if (code != EX_OK_)
		return code;
	if (out->lost) {
		result = swap_off_lost(r->state_dir, r->state, r->bar, stop, e);
	} else {
		if (!r->force && look_at_memory(r, &swaps, s->used, e) < 0)
			return EX_REFUSED;
		result = swap_off(&r->dev, r->bar, stop, e);
	}
	return result == SWAP_OFF_DONE ? EX_OK_ : e->code == EOPNOTSUPP || e->code == EAGAIN ? EX_REFUSED : EX_FAIL;
}

/* Under the lock, so that an attach which takes the same device next is not hit. */
static int disconnect(const struct detach_request *r, struct errbuf *e)
{
	struct swap_list swaps;

	if (nbddev_connected(&r->dev)) {
		/* Once more, and right before it: a disconnect under live swap ends the processes
		 * that have pages there.
		 */
		if (procswaps_read(&swaps, e) < 0)
			return -1;
		if (procswaps_find(&swaps, r->dev.path))
			return err_set(e, EBUSY, "swap on %s was turned on again meanwhile; it stays attached",
				       r->dev.name);
		/* That list knows devices by their names, as they are seen from here; and the device may be somebody else's by now. */
		if (nbddev_claimed(&r->dev))
			return err_set(e, EBUSY,
				       "%s stays connected, for it is in use: mounted, part of another device, or swap "
				       "by another name; end that first",
				       r->dev.name);
		if (watch_drop(r->state_dir, &r->dev, e) < 0) /* or it would make the connection anew */
			return -1;
		if (nbdnl_disconnect(r->dev.index, e) < 0)
			return -1;
		if (!nbddev_wait_gone(&r->dev, GONE_MS))
			return err_set(e, ETIMEDOUT,
				       "%s is still connected %d s after the disconnect; something may have it "
				       "open; run the same command again",
				       r->dev.name, GONE_MS / 1000);
	}
	/* Also of one that somebody else has disconnected: its number may be another's soon. */
	if (watch_drop(r->state_dir, &r->dev, e) < 0)
		return -1;
	if (!r->state)
		return 0;
	blockqueue_restore(&r->dev, &r->state->queue_before);
	return state_remove(r->state_dir, &r->dev, e);
}

enum exit_code detach_one(const struct detach_request *r, struct detach_result *out, const volatile int *stop, struct errbuf *e)
{
	static struct state_list now;
	CLEANUP_CLOSE int lock = -1;
	enum exit_code code;

	memset(out, 0, sizeof(*out));
	if (!r->state && !nbddev_connected(&r->dev)) {
		err_set(e, ENOENT, "it is not attached");
		return EX_FAIL;
	}
	if (!r->state && !r->force) {
		err_set(e, EPERM, "it is connected, but not by nbdswap; --force detaches it all the same");
		return EX_REFUSED;
	}
	code = turn_off(r, out, stop, e);
	if (code != EX_OK_)
		return code;
	if (state_dir_prepare(r->state_dir, e) < 0)
		return EX_FAIL;
	lock = state_lock(r->state_dir, LOCK_SECONDS, e);
	if (lock < 0)
		return EX_BUSY;
	if (r->state) {
		const struct attach_state *s;

		if (state_load_all(r->state_dir, &now, e) < 0)
			return EX_FAIL;
		s = state_by_device(&now, r->dev.index);
		/* Another detach was faster, and perhaps an attach after it: nothing of ours is left. */
		if (!s || s->attached_at != r->state->attached_at || s->link_inode != r->state->link_inode)
			return EX_OK_;
	}
	return disconnect(r, e) < 0 ? EX_FAIL : EX_OK_;
}
