/* SPDX-License-Identifier: BSD-3-Clause */
/* A session that a daemon granted which died before the worker heard of it: the worker asks again, and is answered with it, or it is nobody's. */
#include "config.h"

#include "server/sessions.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define REQUEST 7

static struct exports exports;
static struct sessions sessions;
static struct worker worker;

static struct export *begin(enum export_state state)
{
	struct conf_export conf = { .name = "a" };
	struct session *i;
	struct export *x;

	exports = (struct exports){ .first = NULL };
	worker = (struct worker){ .sock = -1 };
	sessions = (struct sessions){ .exports = &exports, .worker = &worker };
	x = exports_add(&exports, &conf);
	x->state = state;
	strcpy(x->lease.holder, "me");
	x->lease.sessions = 1;
	i = session_adopt(&sessions, x, 3);
	strcpy(i->client, "me");
	i->request = REQUEST;
	return x;
}

/* The worker asks for it once more. */
static void ask(void)
{
	json_t *msg = json_pack("{s:s, s:i, s:s, s:s, s:b}", "op", "open", "id", REQUEST, "export", "a?client=me", "peer", "10.0.0.1:5", "live", 1);
	int pair[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
	opens_request(&sessions, msg, pair[0]);
	close(pair[1]);
	json_decref(msg);
}

static void expect_nobody(struct export *x)
{
	assert_null(sessions.first);
	assert_int_equal(x->lease.sessions, 0);
	assert_null(sessions.opens);
	exports_remove(&exports, x);
}

static void taken_over_too_late(void **state)
{
	struct export *x = begin(EXPORT_ADOPTING);

	(void)state;
	ask();
	assert_non_null(sessions.opens);
	assert_non_null(sessions.first);
	sessions.opens->until_ms = 0;
	opens_tick(&sessions);
	expect_nobody(x);
}

static void not_to_be_had_any_more(void **state)
{
	struct export *x = begin(EXPORT_READY);

	(void)state;
	x->deactivated = true;
	ask();
	expect_nobody(x);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(taken_over_too_late),
		cmocka_unit_test(not_to_be_had_any_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
