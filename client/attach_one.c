/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/attach_one.h"

#include "client/bootid.h"
#include "client/direct.h"
#include "client/holders.h"
#include "client/link.h"
#include "client/lookup.h"
#include "client/nbdclient.h"
#include "client/nbdnl.h"
#include "client/preflight_machine.h"
#include "client/preflight_server.h"
#include "client/procswaps.h"
#include "client/swaparea.h"
#include "client/watchtalk.h"
#include "common/cleanup.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOCK_SECONDS 60
#define GONE_MS 10000

void attach_request_init(struct attach_request *r)
{
	memset(r, 0, sizeof(*r));
	r->nbd_client = "nbd-client";
	r->state_dir = STATE_DIR;
	r->priority = PRIORITY_KERNEL;
	r->discard = DISCARD_AUTO;
	r->dead_link_timeout = DEAD_LINK_TIMEOUT_DEFAULT;
}

struct work {
	const struct attach_request *r;
	struct attach_result *out;
	struct attach_state *st; /* &out->state */
	struct server_facts server;
	struct machine_facts machine;
	struct direct_link link; /* sock -1: none */
	const struct state_list *attached;
	bool ours; /* the connection of the device is the one that this attach made */
	enum exit_code code; /* of a failure, EX_FAIL unless a step says otherwise */
};

static struct export_ask ask_for(const struct work *w)
{
	return (struct export_ask){ .name = w->r->uri.export, .client = w->st->client, .slots = w->st->client[0] ? 1 : 0 };
}

static int connect_via_nbd_client(struct work *w, struct errbuf *e)
{
	const struct export_ask ask = ask_for(w);
	char request[EXPORT_ASK_MAX];
	uint16_t port = (uint16_t)strtoul(w->r->uri.port, NULL, 10);
	struct conn_list before, after;
	const struct tcp_conn *c;
	int rc;

	if (export_ask_format(&ask, request, e) < 0)
		return -1;
	link_list(port, &before);
	rc = nbdclient_connect(w->machine.nbd_client, &w->r->uri, request, &w->st->dev, e);
	link_list(port, &after);
	c = link_new(&before, &after);
	if (c) {
		w->st->link_inode = c->inode;
		w->st->link_port = c->local_port;
	}
	/* After a failure the device may be connected by somebody who was faster.  nbd-client has ended, so a new
	 * connection that still stands is one it had handed to the kernel before it failed.
	 */
	w->ours = rc == 0 || c;
	return rc;
}

static void note_link(struct work *w)
{
	w->st->link_inode = w->link.inode;
	w->st->link_port = w->link.port;
	w->st->flags = w->link.export.flags;
	w->st->generation = w->link.export.generation;
}

static int connect_directly(struct work *w, struct errbuf *e)
{
	const struct export_ask ask = ask_for(w);

	if (direct_connect(&w->r->uri, &ask, &w->st->dev, w->r->dead_link_timeout, &w->link, e) < 0)
		return -1;
	w->ours = true;
	note_link(w);
	return 0;
}

/* nbd-client's connection was made with what nbd-client sets, and nobody has a duplicate of it: from here on there is one as if it had been made directly.
 * A server that does not know identities would not end the first: there it stays.
 */
static int do_take_over(struct work *w, struct errbuf *e)
{
	struct export_ask ask = ask_for(w);

	/* Who does not say what he comes back to does not get the place of a connection that lives. */
	if (w->server.export.generation.activation)
		ask.generation = &w->server.export.generation;
	if (!w->r->via_nbd_client || w->r->no_watch || !w->st->client[0] || !w->st->link_inode)
		return 0;
	if (direct_take_over(&w->r->uri, &ask, &w->st->dev, w->r->dead_link_timeout, w->st->link_inode, &w->link, e) < 0)
		return -1;
	note_link(w);
	return 0;
}

static int do_connect(struct work *w, struct errbuf *e)
{
	if ((w->r->via_nbd_client ? connect_via_nbd_client(w, e) : connect_directly(w, e)) < 0)
		return -1;
	w->st->size = nbddev_size(&w->st->dev);
	if (w->st->size != w->server.export.size)
		return err_set(e, EIO, "%s has %llu bytes although the export has %llu", w->st->dev.name,
			       (unsigned long long)w->st->size, (unsigned long long)w->server.export.size);
	return 0;
}

/* Also after a connect that failed: nbd-client may have got as far as handing over the socket. */
static int undo_connect(struct work *w, struct errbuf *e)
{
	struct swap_list swaps;

	if (!w->ours || !nbddev_connected(&w->st->dev))
		return 0;
	if (procswaps_read(&swaps, e) < 0)
		return -1;
	if (procswaps_find(&swaps, w->st->dev.path))
		return err_set(e, EBUSY, "%s stays connected, since swap on it is still on", w->st->dev.name);
	if (nbddev_claimed(&w->st->dev))
		return err_set(e, EBUSY, "%s stays connected, since somebody else uses it", w->st->dev.name);
	if (nbdnl_disconnect(w->st->dev.index, e) < 0)
		return -1;
	if (!nbddev_wait_gone(&w->st->dev, GONE_MS))
		return err_set(e, ETIMEDOUT, "%s is still connected %d s after the disconnect", w->st->dev.name,
			       GONE_MS / 1000);
	return 0;
}

static int do_watch(struct work *w, struct errbuf *e)
{
	size_t addresses = w->link.addresses;

	/* Without a generation nothing tells whether what a server gives out after a restart is what was swapped out. */
	if (w->link.sock < 0 || w->r->no_watch || !w->st->generation.activation)
		return 0;
	if (lookup_add(w->st->servers, w->link.address, &addresses, e) < 0 || watch_start(w->r->state_dir, w->r->watch_allow, e) < 0)
		return -1;
	return watch_adopt(w->r->state_dir, w->st, w->link.address, addresses, w->link.sock, e);
}

static int undo_watch(struct work *w, struct errbuf *e)
{
	return watch_drop(w->r->state_dir, &w->st->dev, e);
}

static int do_timeouts(struct work *w, struct errbuf *e)
{
	return nbdnl_set_dead_link_timeout(w->st->dev.index, w->r->dead_link_timeout, e);
}

static int do_queue(struct work *w, struct errbuf *e)
{
	return blockqueue_set(&w->st->dev, &w->st->queue_before, e);
}

static int undo_queue(struct work *w, struct errbuf *e)
{
	(void)e;
	blockqueue_restore(&w->st->dev, &w->st->queue_before);
	return 0;
}

static int do_area(struct work *w, struct errbuf *e)
{
	struct swap_list swaps;
	const struct area_wishes wishes = {
		.label = w->r->label,
		.default_label = w->r->uri.export,
		.attached = w->attached,
		.swaps = &swaps,
		.force = w->r->force,
		.can_discard = w->server.export.trim,
		.lost_is_fresh = w->server.knows_clients,
	};
	struct area_result area;

	if (procswaps_read(&swaps, e) < 0)
		return -1;
	if (swaparea_prepare(&w->st->dev, w->st->size, &wishes, &area, e) < 0) {
		if (area.refused)
			w->code = EX_REFUSED;
		return -1;
	}
	snprintf(w->st->label, sizeof(w->st->label), "%s", area.label);
	snprintf(w->st->uuid, sizeof(w->st->uuid), "%s", area.uuid);
	snprintf(w->out->notes, sizeof(w->out->notes), "%s", area.notes);
	return 0;
}

static int do_state(struct work *w, struct errbuf *e)
{
	return state_save(w->r->state_dir, w->st, e);
}

static int undo_state(struct work *w, struct errbuf *e)
{
	return state_remove(w->r->state_dir, &w->st->dev, e);
}

static void note_not_watched(struct work *w)
{
	size_t n = strlen(w->out->notes);

	if (!w->r->no_watch && !w->st->generation.activation)
		snprintf(w->out->notes + n, sizeof(w->out->notes) - n, "%sThe server tells no generation of its content, so nothing makes a lost connection anew.",
			 n ? " " : "");
}

static int do_swapon(struct work *w, struct errbuf *e)
{
	note_not_watched(w);
	/* Kept with the rest: that is how the pages on this device are told from those on others. */
	return swap_on(&w->st->dev, w->r->priority, w->out->discard, &w->st->swap_type, e) < 0 ? -1 : state_save(w->r->state_dir, w->st, e);
}

static int undo_swapon(struct work *w, struct errbuf *e)
{
	static const volatile int never;
	struct swap_list swaps;

	if (procswaps_read(&swaps, e) == 0 && !procswaps_find(&swaps, w->st->dev.path) && !nbddev_claimed(&w->st->dev))
		return 0;
	return swap_off(&w->st->dev, false, &never, e) == SWAP_OFF_DONE ? 0 : -1;
}

/* undo runs for every step that was begun, also for the one that failed, so it must find out what
 * there is to undo.
 */
static const struct step {
	const char *name;
	int (*run)(struct work *, struct errbuf *);
	int (*undo)(struct work *, struct errbuf *);
} steps[] = {
	{ "connecting", do_connect, undo_connect },
	{ "setting the dead-link timeout", do_timeouts, NULL },
	{ "taking the place of nbd-client's connection", do_take_over, NULL },
	{ "handing it to the watch", do_watch, undo_watch },
	{ "setting the block queue", do_queue, undo_queue },
	{ "preparing the swap area", do_area, NULL },
	/* The state is there before swap is on: whatever happens then, detach knows the device. */
	{ "keeping the state", do_state, undo_state },
	{ "turning swap on", do_swapon, undo_swapon },
};

#define STEPS (sizeof(steps) / sizeof(steps[0]))

/* Undoes steps[last] ... steps[0].  What cannot be undone stops it: a device is not disconnected
 * under live swap.
 */
static void undo(struct work *w, size_t last, struct errbuf *e)
{
	for (size_t i = last + 1; i-- > 0;) {
		struct errbuf ue = { 0 };
		size_t n = strlen(e->text);

		if (!steps[i].undo || steps[i].undo(w, &ue) == 0)
			continue;
		snprintf(e->text + n, sizeof(e->text) - n,
			 "; undoing it failed while %s: %s; see `nbdswap status` and use `nbdswap detach %s`",
			 steps[i].name, ue.text, w->st->dev.name);
		return;
	}
}

static enum exit_code run_steps(struct work *w, const volatile int *stop, struct errbuf *e)
{
	for (size_t i = 0; i < STEPS; i++) {
		int rc = steps[i].run(w, e);

		/* A failure after a signal is its doing: nbd-client may have had it too. */
		if (*stop)
			rc = err_set(e, EINTR, "%s: interrupted; everything is as it was before",
				     w->r->uri.text);
		else if (rc < 0)
			err_prefix(e, "%s: %s", w->r->uri.text, steps[i].name);
		if (rc < 0) {
			undo(w, i, e);
			return w->code;
		}
	}
	return EX_OK_;
}

static enum discard_mode choose_discard(const struct attach_request *r, const struct server_facts *server)
{
	if (!server->export.trim)
		return DISCARD_NONE;
	/* "once" would do again what attach has just done.  "pages" tells the server which clusters
	 * are free again, so that it need not keep, check or move them; a server of ours answers it
	 * from its table at once. Other servers may take long, and swapon's discards are sent from
	 * reclaim: not there.
	 */
	if (r->discard == DISCARD_AUTO)
		return server->export.identified && session_server_knows_clients(&r->uri) ? DISCARD_PAGES
											  : DISCARD_NONE;
	return r->discard;
}

static int add_server(const struct nbd_uri *u, size_t used, char out[STATE_SERVERS_MAX], struct errbuf *e)
{
	int n = snprintf(out + used, STATE_SERVERS_MAX - used, strchr(u->host, ':') ? "%s[%s]:%s" : "%s%s:%s", used ? " " : "", u->host, u->port);

	return used + (size_t)n < STATE_SERVERS_MAX ? n : err_set(e, E2BIG, "the names of the servers are too long together");
}

static int servers_text(const struct attach_request *r, char out[STATE_SERVERS_MAX], struct errbuf *e)
{
	int n = add_server(&r->uri, 0, out, e), used = 0;

	for (size_t i = 0; i < r->nservers && n >= 0; i++) {
		used += n;
		n = add_server(&r->servers[i], (size_t)used, out, e);
	}
	return n < 0 ? -1 : 0;
}

enum exit_code attach_one(const struct attach_request *r, struct attach_result *out, const volatile int *stop,
			  struct errbuf *e)
{
	struct work w = { .r = r, .out = out, .st = &out->state, .code = EX_FAIL, .link = { .sock = -1 } };
	enum exit_code code;
	CLEANUP_CLOSE int lock = -1;
	char client_id[CLIENT_ID_MAX + 1];
	struct state_list attached = { 0 };

	memset(out, 0, sizeof(*out));
	if (bootid_read(client_id, e) < 0)
		return EX_FAIL;
	if (!r->dry_run && geteuid() == 0) {
		if (state_dir_prepare(r->state_dir, e) < 0)
			return EX_FAIL;
		lock = state_lock(r->state_dir, LOCK_SECONDS, e);
		if (lock < 0)
			return EX_BUSY;
	}
	if (geteuid() == 0 && state_load_all(r->state_dir, &attached, e) < 0)
		return EX_FAIL;
	preflight_machine(&r->uri,
			  &(struct machine_wishes){ .device = r->device,
						    .nbd_client = r->via_nbd_client ? r->nbd_client : NULL,
						    .own_address_ok = r->own_address_ok,
						    .servers = r->servers,
						    .nservers = r->nservers },
			  &attached, &w.machine, &out->findings);
	preflight_server(&r->uri, client_id, &w.server, &out->findings);
	if (findings_verdict(&out->findings) != EX_OK_ || r->dry_run)
		return findings_verdict(&out->findings);
	if (*stop) {
		err_set(e, EINTR, "%s: interrupted; nothing was changed", r->uri.text);
		return EX_FAIL;
	}
	w.attached = &attached;
	out->discard = choose_discard(r, &w.server);
	w.st->dev = w.machine.dev;
	snprintf(w.st->uri, sizeof(w.st->uri), "%s", r->uri.text);
	snprintf(w.st->host, sizeof(w.st->host), "%s", r->uri.host);
	if (servers_text(r, w.st->servers, e) < 0)
		return EX_USAGE_;
	snprintf(w.st->port, sizeof(w.st->port), "%s", r->uri.port);
	snprintf(w.st->export, sizeof(w.st->export), "%s", r->uri.export);
	snprintf(w.st->client, sizeof(w.st->client), "%s", w.server.export.identified ? client_id : "");
	snprintf(w.st->discard, sizeof(w.st->discard), "%s", discard_mode_name(out->discard));
	w.st->queue_before = (struct queue_settings){ .io_timeout_ms = -1, .rotational = -1 };
	w.st->dead_link_timeout = r->dead_link_timeout;
	w.st->swap_type = SWAP_TYPE_UNKNOWN;
	w.st->attached_at = time(NULL);
	code = run_steps(&w, stop, e);
	if (w.link.sock >= 0)
		close(w.link.sock);
	return code;
}
