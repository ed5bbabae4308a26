/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/engine/served.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

struct served {
	const struct served_options *o;
	pthread_mutex_t lock; /* of what comes with the first session */
	int fd;
	struct store *store;
	bool direct, blocks;
	bool awaiting; /* sessions of a predecessor; the broker's thread alone */
	struct buffers_share *share;
	struct mover_export *x; /* NULL: no session yet */
};

/* What lies in memory that a successor goes on to use must not be where an orphan read of this process can still land: only where the
 * barrier (backend_barrier) holds that back too.
 */
static bool has_barrier(enum backend_kind kind)
{
	switch (kind) {
	case BACKEND_NFS:
	case BACKEND_EXT4:
	case BACKEND_XFS:
	case BACKEND_TMPFS:
		return true;
	case BACKEND_SMB:
	case BACKEND_BTRFS:
	case BACKEND_BLOCKDEV:
		break;
	}
	return false;
}

static bool direct(void *arg, const struct grant *g)
{
	(void)arg;
	return has_barrier(g->kind) && table_spec(g->table)->seal == PAGE_SEAL_NONE;
}

static bool submission_blocks(enum backend_kind kind)
{
#ifdef NBDSWAP_FAULTS
	return true; /* what goes through the ring meets no faults */
#endif
	return kind == BACKEND_NFS || kind == BACKEND_SMB;
}

static void *added(void *arg, const char *name, int fd, struct table *table, struct store *store, const struct grant *g,
		   struct errbuf *e)
{
	struct served *v = calloc(1, sizeof(*v));

	(void)table;
	if (!v) {
		err_set(e, ENOMEM, "%s: no memory", name);
		return NULL;
	}
	v->o = arg;
	v->fd = fd;
	v->store = store;
	v->direct = direct(arg, g);
	v->blocks = submission_blocks(g->kind);
	pthread_mutex_init(&v->lock, NULL);
	return v;
}

static void removing(void *arg, void *data)
{
	struct served *v = data;

	(void)arg;
	if (v->x)
		mover_remove_export(v->o->mover, v->x);
	buffers_leave(v->share);
	pthread_mutex_destroy(&v->lock);
	free(v);
}

static void refd(void *arg, void *data)
{
	struct served *v = data;

	(void)arg;
	if (v->x)
		mover_refresh_export(v->o->mover, v->x);
}

void served_await(void *data)
{
	struct served *v = data;

	if (!v->awaiting)
		store_await(v->store, 1);
	v->awaiting = true;
}

void served_complete(void *arg, void *data)
{
	struct served *v = data;

	(void)arg;
	if (!v->awaiting)
		return;
	v->awaiting = false;
	store_await(v->store, -1);
	mover_look_again(v->o->mover);
}

struct exports_hooks served_hooks(struct served_options *o)
{
	return (struct exports_hooks){ .added = added, .removing = removing, .refd = refd, .direct = direct, .arg = o };
}

static int make(struct served *v, uint32_t reserve, struct errbuf *e)
{
	struct mover_export_options o = { .fd = v->fd, .store = v->store, .direct = v->direct, .blocks = v->blocks };

	v->share = buffers_join(v->o->buffers, reserve, e);
	if (!v->share)
		return -1;
	o.share = v->share;
	v->x = mover_add_export(v->o->mover, &o, e);
	if (v->x)
		return 0;
	buffers_leave(v->share);
	v->share = NULL;
	return -1;
}

struct mover_export *served_export(void *data, uint32_t reserve, struct errbuf *e)
{
	struct served *v = data;
	struct mover_export *x = NULL;

	pthread_mutex_lock(&v->lock);
	if (v->x || make(v, reserve, e) == 0)
		x = v->x;
	pthread_mutex_unlock(&v->lock);
	return x;
}
