/* SPDX-License-Identifier: BSD-3-Clause */
/* The store as an nbdkit plugin: callbacks that forward.
 *
 * Locks are not inherited over fork, and nbdkit forks into the background after get_ready: so files are activated before
 * (errors reach the terminal), and memory is locked, and threads are started, in after_fork.
 */
#include "config.h"

#include "common/allow.h"
#include "common/exportname.h"
#include "common/procself.h"
#include "plugin/broker_local.h"
#include "plugin/params.h"
#include "plugin/peer.h"
#include "store/page.h"
#include "worker/broker_remote.h"
#include "worker/describe.h"
#include "worker/exports.h"
#include "worker/memory.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL
#define REQUEST_MAX (256u << 10) /* per thread of a connection nbdkit keeps a buffer of the largest request, locked */

#define THREADS_ADVISED 8u /* nbdkit -t; by measurement: nbdkit-swap-plugin(1) */

static struct params params = PARAMS_DEFAULT; /* set by config, read afterwards */

/* Made once before the first connection. */
static struct broker broker;
static struct pool *pool;
static struct exports *exports;
static _Atomic bool orphaned;

/* ---- life ---- */

static void swap_load(void)
{
	worker_memory_tame();
	/* The one arena keeps what is freed, and no buffer of nbdkit's is a mapping of its own, so that the reserve below is what they come from. */
	mallopt(M_MMAP_THRESHOLD, 4 * REQUEST_MAX);
	mallopt(M_TRIM_THRESHOLD, 64 << 20);
}

/* nbdkit makes the buffer of each thread at its first request: room for them is made and touched when the connection begins. */
static void reserve_buffers(void)
{
	void *volatile room = malloc(THREADS_ADVISED * REQUEST_MAX);

	if (room)
		memset(room, 0, THREADS_ADVISED * REQUEST_MAX);
	free(room);
}

static int swap_config(const char *key, const char *value)
{
	return params_set(&params, key, value);
}

static int swap_config_complete(void)
{
	return params_complete(&params);
}

/* nbdkit knows errors and debugging only, and a warning must be seen. */
static void tell(bool warning, const char *text)
{
	if (warning)
		nbdkit_error("warning: %s", text);
	else
		nbdkit_debug("%s", text);
}

static bool on_drain(void *arg, int timeout_ms)
{
	return exports_drain(arg, timeout_ms);
}

static bool on_forget(void *arg, const char *name)
{
	return exports_forget(arg, name);
}

static bool end_one(void *arg, struct session *s)
{
	(void)arg;
	/* In this order: its requests are refused from then on, and if the client is still there it is not to hear of that (deactivation). */
	if (s->sock >= 0)
		shutdown(s->sock, SHUT_RDWR);
	store_end_session(s->store, &s->life);
	return true;
}

static bool on_end(void *arg, uint64_t session)
{
	return exports_end_session(arg, session, end_one, NULL);
}

static bool end_in_place(uint64_t session)
{
	return on_end(exports, session);
}

static size_t on_sessions(void *arg, uint64_t *out, size_t max)
{
	return exports_list_sessions(arg, out, max);
}

/* Sessions go on; with the last one this worker has nothing left to do. */
static void on_orphaned(void *arg, bool draining)
{
	if (draining)
		_exit(EXIT_SUCCESS);
	orphaned = true;
	if (exports_sessions(arg) == 0)
		nbdkit_shutdown();
}

/* Contract point 4: asked for, and read back.  Memory must be locked; the others are warned about (a server's kernel has its own memory
 * to write pages with).
 */
static int lock_memory(uint64_t *locked_kib, struct errbuf *e)
{
	int result = worker_memory_lock(params.allow, locked_kib, e);

	if (result > 0)
		nbdkit_debug("allowed: %s", e->text);
	return result < 0 ? -1 : 0;
}

static void ask_kernel(unsigned allowed, int r, const struct errbuf *e)
{
	if (r == 0 || (params.allow & allowed))
		return;
	if (params.broker_fd >= 0)
		broker_remote_warn(&broker, e->text);
	else
		nbdkit_error("warning: %s", e->text);
}

/* On the exports' own thread: it may allocate (syslog does) and block. */
static void say(enum notice_priority priority, const char *text)
{
	static const char *const names[] = { [NOTICE_INFO] = "info", [NOTICE_WARNING] = "warning", [NOTICE_ERROR] = "err" };

	if (params.broker_fd >= 0 && broker_remote_log(&broker, names[priority], text) == 0)
		return;
	if (priority == NOTICE_ERROR)
		nbdkit_error("%s", text);
	else
		tell(priority == NOTICE_WARNING, text);
}

/* nbdkit ends the sleep when the client of this thread has gone, or nbdkit itself is to end. */
static int sleep_ms(int ms)
{
	return nbdkit_nanosleep((unsigned)ms / 1000, (unsigned)ms % 1000 * 1000000);
}

static int make_exports(struct errbuf *e)
{
	struct exports_options o = { .broker = &broker, .allow_unlocked = params.allow & ALLOW_MEMLOCK, .say = say,
				     .sleep = sleep_ms };

	pool = pool_create((size_t)(params.pool / PAGE_BYTES), o.allow_unlocked, e);
	if (!pool)
		return -1;
	o.pool = pool;
	exports = exports_create(&o, e);
	return exports ? 0 : -1;
}

static int swap_get_ready(void)
{
	uint64_t locked_kib;
	struct errbuf e;

	/* Locks do not outlive the fork into the background, but what would refuse them does, and after it nobody is told. */
	if (lock_memory(&locked_kib, &e) < 0) {
		nbdkit_error("%s", e.text);
		return -1;
	}
	if (params.broker_fd < 0 && broker_local_create(&params.local, tell, end_in_place, &broker, &e) < 0) {
		nbdkit_error("%s", e.text);
		return -1;
	}
	return 0;
}

static int swap_after_fork(void)
{
	static const int ending[] = { SIGTERM, SIGINT, SIGQUIT };
	struct remote_commands commands = { .drain = on_drain, .forget = on_forget, .orphaned = on_orphaned, .end = on_end,
					    .sessions = on_sessions };
	uint64_t locked_kib;
	struct errbuf e;

	if (lock_memory(&locked_kib, &e) < 0 || make_exports(&e) < 0)
		goto failed;
	commands.arg = exports;
	if (params.broker_fd >= 0 &&
	    broker_remote_create(params.broker_fd, params.local.allow_unlocked, &commands, &broker, &e) < 0)
		goto failed;
	ask_kernel(ALLOW_OOM, procself_oom_score(-1000, &e), &e);
	ask_kernel(ALLOW_IO_FLUSHER, procself_io_flusher(&e), &e);
	/* Again, now that pool and lists are there: what is reported is what a worker at rest holds. */
	if (lock_memory(&locked_kib, &e) < 0 || broker.ready(broker.self, locked_kib, &e) < 0)
		goto failed;
	/* nbdkit 1.32 asks, in the foreground, for SIGTERM at its parent's death, whether or not it was told --exit-with-parent. */
	if (params.broker_fd >= 0)
		prctl(PR_SET_PDEATHSIG, 0);
	/* nbdkit's own way to end answers what is under way with errors, which a swapping client does not survive; under the daemon it
	 * is cut instead, as by SIGKILL, and ridden through.
	 */
	if (params.broker_fd >= 0)
		for (size_t i = 0; i < sizeof(ending) / sizeof(ending[0]); i++)
			signal(ending[i], SIG_DFL);
	return 0;
failed:
	nbdkit_error("%s", e.text);
	return -1;
}

/* Connections have ended; pages and table are safe in the file after this. */
static void swap_cleanup(void)
{
	exports_free(exports);
	exports = NULL;
	if (broker.finish)
		broker.finish(broker.self);
	broker = (struct broker){ .self = NULL };
	pool_free(pool);
	pool = NULL;
}

static void swap_unload(void)
{
	swap_cleanup();
	params_free(&params);
}

/* ---- exports and sessions ---- */

struct list_target {
	struct nbdkit_exports *out;
	int error;
};

static void list_one(void *arg, const char *name, const char *description)
{
	struct list_target *t = arg;

	if (nbdkit_add_export(t->out, name, description) < 0)
		t->error = -1;
}

static int swap_list_exports(int readonly, int is_tls, struct nbdkit_exports *out)
{
	struct list_target t = { .out = out };
	struct errbuf e;

	if (broker.list(broker.self, list_one, &t, &e) < 0) {
		nbdkit_error("%s", e.text);
		return -1;
	}
	return t.error;
}

static void *swap_open(int readonly)
{
	const char *request = nbdkit_export_name();
	struct session *s;
	struct peer who;
	struct errbuf e;

	if (!request || peer_find(&who) < 0)
		return NULL;
	if (export_request_is_probe(request)) {
		nbdkit_debug("%s asks whether client ids are known here", who.address);
		nbdkit_set_error(EINVAL);
		return NULL;
	}
	reserve_buffers();
	s = exports_open_session(exports, request, &who, &e);
	if (!s) {
		nbdkit_error("%s: %s", who.address, e.text);
		return NULL;
	}
	s->sock = peer_socket();
	if (s->life.ended && s->sock >= 0)
		shutdown(s->sock, SHUT_RDWR);
	return s;
}

static void swap_close(void *handle)
{
	struct session *s = handle;
	int sock = s->sock;

	exports_close_session(exports, s);
	if (sock >= 0)
		close(sock);
	if (orphaned && exports_sessions(exports) == 0)
		nbdkit_shutdown();
}

/* ---- what an export can do ---- */

static const char *swap_export_description(void *handle)
{
	struct session *s = handle;
	struct describe d = { .name = s->name };
	char text[DESCRIBE_BYTES];
	struct errbuf e;

	if (broker.list(broker.self, describe_find, &d, &e) < 0)
		d.configured[0] = '\0';
	describe(d.configured, &s->grant.generation, text);
	return text[0] ? nbdkit_strdup_intern(text) : NULL;
}

static int64_t swap_get_size(void *handle)
{
	struct session *s = handle;

	return (int64_t)store_size(s->store);
}

static int swap_block_size(void *handle, uint32_t *minimum, uint32_t *preferred, uint32_t *maximum)
{
	*minimum = *preferred = PAGE_BYTES; /* a page costs no more than its share of a larger request */
	*maximum = REQUEST_MAX;
	return 0;
}

static int yes(void *handle)
{
	return 1;
}

static int no(void *handle)
{
	return 0;
}

static int swap_can_fua(void *handle)
{
	return NBDKIT_FUA_EMULATE; /* write, then flush */
}

static int swap_can_cache(void *handle)
{
	return NBDKIT_CACHE_NONE;
}

/* ---- requests ---- */

/* Of several threads that find at the same instant that their client is gone nbdkit does not survive all: the one whose reply fails gives the
 * socket up, and the next one's, already on its way, ends the process (seen with 1.32.5: an assertion in raw_send_socket).  So they go one by one.
 */
#define LEAVE_NS 5000000

static void leave(void)
{
	static pthread_mutex_t one_by_one = PTHREAD_MUTEX_INITIALIZER;
	const struct timespec until_it_is_known = { .tv_nsec = LEAVE_NS };

	pthread_mutex_lock(&one_by_one);
	nanosleep(&until_it_is_known, NULL);
	pthread_mutex_unlock(&one_by_one);
}

/* What the backend does to requests the store says itself, not too often. */
static int forward(struct session *s, enum rw_op op, uint64_t offset, uint64_t length, void *buf)
{
	int cause, error = store_rw(s->store, &s->life, op, offset, length, buf, &cause);

	/* The client goes on in another session, and has the answer there: here it gets none, for it would take an error for one. */
	while (cause == ECANCELED && s->life.ended && nbdkit_nanosleep(3600, 0) == 0)
		;
	if (cause == ECANCELED || s->life.ended)
		leave();
	if (!error)
		return 0;
	if (error == EINVAL)
		nbdkit_error("%s: a request of %" PRIu64 " bytes at %" PRIu64 ": not in whole pages of 4096 bytes, or beyond the end",
			     s->name, length, offset);
	nbdkit_set_error(error);
	return -1;
}

static int swap_pread(void *handle, void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	return forward(handle, RW_READ, offset, count, buf);
}

static int swap_pwrite(void *handle, const void *buf, uint32_t count, uint64_t offset, uint32_t flags)
{
	return forward(handle, RW_WRITE, offset, count, (void *)buf);
}

static int swap_discard(void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
	return forward(handle, RW_DISCARD, offset, count, NULL);
}

static int swap_flush(void *handle, uint32_t flags)
{
	struct session *s = handle;

	int error = store_flush(s->store);

	if (!error)
		return 0;
	nbdkit_set_error(error);
	return -1;
}

static struct nbdkit_plugin plugin = {
	.name = "swap",
	.longname = "nbdswap page store",
	.version = PACKAGE_VERSION,
	.description = "swap space in preallocated files on NFS, SMB and local storage",
	.load = swap_load,
	.unload = swap_unload,
	.config = swap_config,
	.config_complete = swap_config_complete,
	.config_help = PARAMS_HELP,
	.magic_config_key = "file",
	.get_ready = swap_get_ready,
	.after_fork = swap_after_fork,
	.cleanup = swap_cleanup,
	.list_exports = swap_list_exports,
	.open = swap_open,
	.close = swap_close,
	.export_description = swap_export_description,
	.get_size = swap_get_size,
	.block_size = swap_block_size,
	.can_write = yes,
	.can_flush = yes,
	.can_trim = yes,
	.can_zero = yes,
	.can_fast_zero = yes,
	.can_multi_conn = yes,
	.can_extents = no,
	.is_rotational = no,
	.can_fua = swap_can_fua,
	.can_cache = swap_can_cache,
	.pread = swap_pread,
	.pwrite = swap_pwrite,
	.flush = swap_flush,
	.trim = swap_discard,
	.zero = swap_discard,
};

NBDKIT_REGISTER_PLUGIN(plugin)
