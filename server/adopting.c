/* SPDX-License-Identifier: BSD-3-Clause */
/* An export in use passes from a daemon that died to this one: the file is looked at in a helper thread, for it may take as long as its storage does.
 * Meanwhile a worker may go on serving it.
 */
#include "config.h"

#include "server/exports.h"

#include "common/noswap.h"
#include "server/keep.h"
#include "server/log.h"
#include "store/adopt.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define AGAIN_MS 500

static void adopt_run(struct job *job, void *arg)
{
	const struct timespec pause = { .tv_nsec = AGAIN_MS * 1000000L };
	struct export *x = arg;
	struct adopting *a = x->adopting;
	const struct export_kept *k = x->kept;
	struct adoption o = { .file = a->file, .master = a->master, .ephemeral = k->ephemeral, .marking = a->marking,
			      .resumed = k->resumed, .lost = x->file_lost[0] != '\0',
			      .backend = k->backend, .trailer = k->trailer, .path = k->path, .allow_unlocked = x->set->allow_unlocked,
			      .patience_s = table_retry_time(a->table) };
	char told[sizeof(x->error.text)] = "";
	enum adopted r;

	(void)job;
	while ((r = backing_adopt(&o, a->table, &x->new_backing, &x->error)) == ADOPT_LATER) {
		if (atomic_load(&x->interrupt))
			return;
		if (strcmp(told, x->error.text) != 0)
			log_line(LOG_WARN, "export %s: its file cannot be taken over just now: %s; it is tried again", x->conf.name,
				 strcpy(told, x->error.text));
		nanosleep(&pause, NULL);
	}
	a->file = a->master = -1;
	a->ended = r == ADOPT_ENDED;
	a->lost = x->error;
	x->error.code = 0;
}

static void close_if_open(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void adopt_done(void *arg)
{
	struct export *x = arg;
	struct adopting *a = x->adopting;

	if (!x->new_backing) { /* no thread, or interrupted: the daemon is stopping, or about to */
		if (!atomic_load(&x->interrupt)) {
			x->unstarted = true;
			return;
		}
		log_line(LOG_ERROR, "export %s was not ended cleanly, its pages are lost: %s", x->conf.name, x->error.text);
		x->why = x->error;
	}
	x->adopting = NULL;
	x->backing = x->new_backing;
	x->new_backing = NULL;
	x->table = a->table;
	if (!x->backing || a->ended) {
		close_if_open(a->file);
		close_if_open(a->master);
		backing_close(x->backing);
		table_free(x->table);
		x->backing = NULL;
		x->table = NULL;
		x->state = EXPORT_DOWN;
	} else {
		x->state = EXPORT_READY;
		if (a->marking)
			export_begin_lease(x);
		if (a->lost.code)
			export_lose(x, EXPORT_FILE_LOST, a->lost.text);
		log_line(LOG_NOTE, "export %s was taken over: %s on %s", x->conf.name, backing_path(x->backing),
			 backing_backend(x->backing)->name);
	}
	x->set->ops->adopted(x->set->arg, x, a);
	free(a);
}

static const struct job_ops adopt_ops = { adopt_run, adopt_done, NULL };

void export_adopt_start(struct export *x)
{
	x->unstarted = false;
	memset(&x->error, 0, sizeof(x->error));
	if (job_start(x->set->backends, &adopt_ops, x, &x->error) < 0)
		adopt_done(x);
}
