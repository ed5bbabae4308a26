/* SPDX-License-Identifier: BSD-3-Clause */
/* What other threads have the mover do: each such call leaves a command, wakes the mover, and waits until that has done it between two turns. */
#include "config.h"

#include "server/engine/mover_priv.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

enum what { ADD_EXPORT, REMOVE_EXPORT, REFRESH_EXPORT, ADD_SESSION, END_SESSION, FORGET_SESSION, LOOK_AGAIN };

/* On the stack of a thread that waits for it. */
struct command {
	struct command *next;
	enum what what;
	struct mover_export *x;
	struct live *s;
	const struct mover_session_options *options;
	struct errbuf *e;
	int result;
	sem_t done;
};

/* ---- what the commands do, on the mover's thread ---- */

/* No file that a submitter has to do with: who gives up the last reference to it may have to wait for its server (a lock is given back). */
static int set_file(struct mover *m, const struct mover_export *x, int fd, struct errbuf *e)
{
	return x->mount ? 0 : ring_set_file(&m->ring, file_of_export(m, x->place), fd, e);
}

static int add_export(struct mover *m, struct mover_export *x, struct errbuf *e)
{
	if (x->mount)
		m->submitter[x->mount - m->mount] = x->mount->submitter;
	if (set_file(m, x, x->fd, e) < 0)
		return -1;
	/* Without a registered buffer it goes too: each request then has the kernel find its pages. */
	x->registered = m->registered && ring_set_buffer(&m->ring, buffer_of_export(x->place), buffers_reserve(x->share), e) == 0;
	return 0;
}

static void remove_export(struct mover *m, struct mover_export *x)
{
	struct errbuf e;

	set_file(m, x, -1, &e);
	if (x->registered)
		ring_set_buffer(&m->ring, buffer_of_export(x->place), (struct iovec){ .iov_base = NULL }, &e);
	if (x->mount && x->mount->users == 1)
		m->submitter[x->mount - m->mount] = NULL;
}

static struct live *free_place(struct mover *m)
{
	for (unsigned i = 0; i < m->o.sessions; i++)
		if (!m->session[i].x)
			return &m->session[i];
	return NULL;
}

static void init_session(struct live *s, struct mover *m, const struct mover_session_options *o)
{
	unsigned place = file_of_session(m, (unsigned)(s - m->session));

	memset(s, 0, sizeof(*s));
	s->m = m;
	s->x = o->export;
	s->mem = o->memory;
	s->sock = o->sock;
	s->place = place;
	s->owner = o->owner;
	s->payload_slot = -1;
}

static void init_slots(struct live *s)
{
	for (uint32_t i = SESSMEM_REQUESTS; i-- > 0;) {
		s->mem->request[i].buffer = SESSMEM_NO_BUFFER;
		s->free[s->nfree++] = (uint16_t)i;
	}
}

static int add_session(struct mover *m, struct command *c)
{
	struct live *s = free_place(m);
	const struct mover_session_options *o = c->options;

	if (!s)
		return err_set(c->e, EMFILE, "all %u places for sessions are taken (connections = %u)", m->o.sessions, m->o.sessions);
	init_session(s, m, o);
	if (ring_set_file(&m->ring, s->place, s->sock, c->e) < 0 ||
	    (o->account && resume(s, o->account, o->blame, c->e) < 0)) {
		struct errbuf e;

		ring_set_file(&m->ring, s->place, -1, &e);
		s->x = NULL;
		return -1;
	}
	if (!o->account)
		init_slots(s);
	s->x->sessions++;
	c->s = s;
	live_touch(s);
	return 0;
}

static void forget_session(struct mover *m, struct live *s)
{
	struct errbuf e;

	ring_set_file(&m->ring, s->place, -1, &e);
	s->x->sessions--;
	s->x = NULL;
}

static void run_command(struct mover *m, struct command *c)
{
	switch (c->what) {
	case ADD_EXPORT:
		c->result = add_export(m, c->x, c->e);
		break;
	case REMOVE_EXPORT:
		remove_export(m, c->x);
		break;
	case REFRESH_EXPORT:
		c->result = set_file(m, c->x, c->x->fd, c->e);
		break;
	case ADD_SESSION:
		c->result = add_session(m, c);
		break;
	case END_SESSION:
		live_end(c->s, "the daemon ended it");
		break;
	case FORGET_SESSION:
		forget_session(m, c->s);
		break;
	case LOOK_AGAIN:
		m->freed = true;
		break;
	}
	sem_post(&c->done);
}

void commands_run(struct mover *m)
{
	struct command *list, *first = NULL;

	pthread_mutex_lock(&m->lock);
	list = m->commands;
	m->commands = NULL;
	pthread_mutex_unlock(&m->lock);
	while (list) { /* the latest came first */
		struct command *c = list;

		list = c->next;
		c->next = first;
		first = c;
	}
	while (first) {
		struct command *c = first;

		first = c->next;
		run_command(m, c);
	}
}

/* ---- on other threads ---- */

static int do_command(struct mover *m, struct command *c)
{
	sem_init(&c->done, 0, 0);
	pthread_mutex_lock(&m->lock);
	c->next = m->commands;
	m->commands = c;
	pthread_mutex_unlock(&m->lock);
	mover_wake(m);
	while (sem_wait(&c->done) < 0)
		;
	sem_destroy(&c->done);
	return c->result;
}

/* What holds the file; its server is not asked, which may be away for long. */
static int device_of(int fd, dev_t *dev)
{
	struct statx st;

	if (statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_INO, &st) < 0)
		return -1;
	*dev = makedev(st.stx_dev_major, st.stx_dev_minor);
	return 0;
}

/* The submitter of the file system that fd lies on. */
static struct mount *join_mount(struct mover *m, int fd, struct errbuf *e)
{
	struct mount *mount = NULL;
	dev_t dev;

	if (device_of(fd, &dev) < 0) {
		err_errno(e, "what holds its file");
		return NULL;
	}
	for (unsigned i = 0; i < MOUNTS; i++) {
		if (m->mount[i].users && m->mount[i].dev == dev) {
			m->mount[i].users++;
			return &m->mount[i];
		}
		if (!m->mount[i].users && (!mount || m->mount[i].dev == dev))
			mount = &m->mount[i];
	}
	if (!mount) {
		err_set(e, EMFILE, "exports on more than %u network mounts", MOUNTS);
		return NULL;
	}
	if (submitter_start(mount->submitter, e) < 0)
		return NULL;
	mount->dev = dev;
	mount->users = 1;
	return mount;
}

static void leave_mount(struct mount *mount)
{
	if (mount)
		mount->users--;
}

static struct mover_export *add(struct mover *m, const struct mover_export_options *o, struct errbuf *e)
{
	struct command c = { .what = ADD_EXPORT, .e = e };
	struct mover_export *x = NULL;

	for (unsigned i = 0; i < m->o.exports && !x; i++)
		if (!m->export[i].m)
			x = &m->export[i];
	if (!x) {
		err_set(e, EMFILE, "all %u places for exports are taken", m->o.exports);
		return NULL;
	}
	*x = (struct mover_export){ .m = m, .place = (unsigned)(x - m->export), .fd = o->fd, .store = o->store, .share = o->share,
				    .direct = o->direct, .size = store_size(o->store) };
	if (o->blocks && !(x->mount = join_mount(m, o->fd, e))) {
		x->m = NULL;
		return NULL;
	}
	c.x = x;
	if (do_command(m, &c) < 0) {
		leave_mount(x->mount);
		x->m = NULL;
		return NULL;
	}
	return x;
}

struct mover_export *mover_add_export(struct mover *m, const struct mover_export_options *o, struct errbuf *e)
{
	struct mover_export *x;

	pthread_mutex_lock(&m->adding);
	x = add(m, o, e);
	pthread_mutex_unlock(&m->adding);
	return x;
}

void mover_remove_export(struct mover *m, struct mover_export *x)
{
	struct command c = { .what = REMOVE_EXPORT, .x = x };

	pthread_mutex_lock(&m->adding);
	do_command(m, &c);
	leave_mount(x->mount);
	x->mount = NULL;
	x->m = NULL;
	pthread_mutex_unlock(&m->adding);
}

void mover_refresh_export(struct mover *m, struct mover_export *x)
{
	struct errbuf e;
	struct command c = { .what = REFRESH_EXPORT, .x = x, .e = &e };

	do_command(m, &c);
}

struct live *mover_add_session(struct mover *m, const struct mover_session_options *o, struct errbuf *e)
{
	struct command c = { .what = ADD_SESSION, .options = o, .e = e };

	return do_command(m, &c) < 0 ? NULL : c.s;
}

void mover_end_session(struct mover *m, struct live *s)
{
	struct command c = { .what = END_SESSION, .s = s };

	do_command(m, &c);
}

void mover_forget_session(struct mover *m, struct live *s)
{
	struct command c = { .what = FORGET_SESSION, .s = s };

	do_command(m, &c);
}

void mover_look_again(struct mover *m)
{
	struct command c = { .what = LOOK_AGAIN };

	do_command(m, &c);
}
