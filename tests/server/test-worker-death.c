/* SPDX-License-Identifier: BSD-3-Clause */
/* What the death of a worker, or its silence, means for an export: only what it had of it. */
#include "config.h"

#include "server/sessions.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const struct worker_end killed = { .killed = true };

static struct exports exports;
static struct sessions sessions;
static struct worker worker;
static int worker_end;

/* An export that the worker has, in this state.  It is borrowed for ever, so jobs on it do not begin. */
static struct export *begin(enum export_state state)
{
	struct conf_export conf = { .name = "a" };
	struct errbuf e;
	struct export *x;
	int pair[2];

	exports = (struct exports){ .pool = poolmem_create(4 << 20, true, &e) };
	assert_non_null(exports.pool);
	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
	worker = (struct worker){ .sock = pair[0] };
	worker_end = pair[1];
	sessions = (struct sessions){ .exports = &exports, .worker = &worker };
	x = exports_add(&exports, &conf);
	x->state = state;
	x->used = true;
	export_borrow(x);
	return x;
}

static void end(void)
{
	exports_remove(&exports, exports.first);
	close(worker.sock);
	close(worker_end);
	poolmem_free(exports.pool);
}

static void tell(const char *text)
{
	json_t *msg = json_loads(text, 0, NULL);

	sessions_message(&sessions, msg, NULL, 0);
	json_decref(msg);
}

/* It had closed the file, so it left nothing there: whoever holds the release up for a barrier may lose every page for one that fails. */
static void closed_before(void **state)
{
	struct export *x = begin(EXPORT_FORGETTING);

	(void)state;
	tell("{\"event\":\"forgotten\",\"export\":\"a\"}");
	assert_int_equal(x->state, EXPORT_RELEASING);
	sessions_worker_died(&sessions, &killed);
	assert_false(x->dirty);
	x->state = EXPORT_DOWN;
	sessions_worker_died(&sessions, &killed);
	assert_false(x->dirty);
	end();
}

static void closed_by_death(void **state)
{
	struct export *x = begin(EXPORT_FORGETTING);

	(void)state;
	sessions_worker_died(&sessions, &killed);
	assert_int_equal(x->state, EXPORT_RELEASING);
	assert_true(x->dirty);
	end();
}

/* What lives may still write: the export stays its own, however long that takes, and it is asked again, for its last session may have ended. */
static void not_closed(void **state)
{
	struct export *x = begin(EXPORT_READY);
	char text[64] = "";

	(void)state;
	sessions_release(&sessions, x);
	assert_int_equal(x->state, EXPORT_FORGETTING);
	assert_true(recv(worker_end, text, sizeof(text), 0) > 0);
	sessions_tick(&sessions);
	assert_int_equal(recv(worker_end, text, sizeof(text), 0), -1);
	for (int i = 0; i < 2; i++) {
		x->forget_until_ms = 0;
		sessions_tick(&sessions);
		assert_int_equal(x->state, EXPORT_FORGETTING);
		memset(text, 0, sizeof(text));
		assert_true(recv(worker_end, text, sizeof(text) - 1, 0) > 0);
		assert_non_null(strstr(text, "\"forget\""));
	}
	sessions_worker_died(&sessions, &killed);
	assert_int_equal(x->state, EXPORT_RELEASING);
	assert_true(x->dirty);
	end();
}

/* Has its client the export when what its dead worker left is settled? */
static bool has_it_after(int64_t kept_for_ms)
{
	struct export *x = begin(EXPORT_READY);
	struct lease_clock now;
	bool held;

	lease_clock_now(&now);
	x->lease = (struct lease){ .holder = "A", .kept_until_ms = now.ms + kept_for_ms };
	sessions_worker_died(&sessions, &killed);
	assert_int_equal(x->state, EXPORT_SETTLING);
	x->lease.kept_until_ms = now.ms < x->lease.kept_until_ms ? 0 : x->lease.kept_until_ms; /* settling takes long */
	x->state = EXPORT_READY;
	sessions_settled(&sessions, x);
	held = sessions_held(x);
	end();
	return held;
}

/* Who could not come back for it is waited for again; who had not come long before is not. */
static void lease_after_settling(void **state)
{
	(void)state;
	assert_true(has_it_after(60000));
	assert_false(has_it_after(-60000));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(closed_before), cmocka_unit_test(closed_by_death), cmocka_unit_test(not_closed),
		cmocka_unit_test(lease_after_settling),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
