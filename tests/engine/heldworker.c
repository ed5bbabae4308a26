/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/engine/heldworker.h"

#include "server/engine/mover.h"
#include "store/page.h"
#include "tests/engine/tcppair.h"

#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

void held_make(struct held *h, uint64_t pages, uint32_t common, bool direct, int *client)
{
	struct tcp_pair pair;
	struct errbuf e;

	*h = (struct held){ .file = scratch_file(pages * PAGE_BYTES), .table = unit_table(pages, PAGE_FRESH), .direct = direct,
			     .common = common };
	unit_unlock(h->table);
	h->table_fd = table_fd(h->table);
	h->memory = sessmem_make(&e);
	h->pool = memfd_create("pool", MFD_CLOEXEC);
	assert_int_equal(ftruncate(h->pool, (off_t)buffers_bytes(common, 1)), 0);
	assert_int_equal(tcp_pair(&(struct tcp_kind){ .name = "IPv4" }, &pair), 0);
	h->sock = pair.ours;
	*client = pair.peers;
}

void held_free(struct held *h)
{
	table_free(h->table);
	close(h->file);
	close(h->pool);
	close(h->memory);
	close(h->sock);
}

static void ended(void *arg, void *owner, bool left, const char *why)
{
	(void)arg;
	(void)left;
	(void)owner;
	if (!why)
		return; /* its client is done: so is the test with this process */
	fprintf(stderr, "worker: the session ended: %s\n", why);
	_exit(3);
}

void held_serve(const struct held *h, bool again, void (*watch)(struct sess_mem *m))
{
	struct errbuf e;
	struct table *t = table_map(h->table_fd, true, &e);
	struct buffers *b = buffers_create(h->pool, h->common, true, &e);
	struct buffers_share *share = b ? buffers_join(b, 0, &e) : NULL;
	struct pool *pool = h->direct ? NULL : pool_create(h->common / 2, true, &e);
	struct store *s;
	struct sess_mem *m = sessmem_map(h->memory, true, &e);
	struct mover *mover;
	struct tcp_account account = { 0 };
	struct mover_session_options o = { .sock = h->sock, .memory = m };

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	unit_unlock(t);
	s = store_create(&(struct store_options){ .name = "unit", .fd = h->file, .table = t, .pool = pool, .kind = BACKEND_EXT4 }, &e);
	mover = s && m && share ? mover_create(&(struct mover_options){ .buffers = b, .sessions = 4, .exports = 4, .ended = ended }, &e)
				: NULL;
	if (mover)
		o.export = mover_add_export(mover, &(struct mover_export_options){ .fd = h->file, .store = s, .share = share,
										   .direct = h->direct }, &e);
	if (!mover || !o.export || tcp_account(h->sock, &account, &e) < 0)
		goto failed;
	if (again)
		o.account = &account;
	else
		sessmem_begin(m, account.received, account.queued, HELD_PREAMBLE, sizeof(HELD_PREAMBLE) - 1);
	if (watch)
		watch(m);
	if (!mover_add_session(mover, &o, &e))
		goto failed;
	for (;;)
		pause();
failed:
	fprintf(stderr, "worker: %s\n", e.text);
}
