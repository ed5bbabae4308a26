/* SPDX-License-Identifier: BSD-3-Clause */
/* What was in a dead worker's hands stays out of others' until its I/O is known to have ended; where that cannot be known, for good. */
#include "config.h"

#include "server/engine/buffers.h"
#include "server/engine/sessmem.h"
#include "server/holds.h"
#include "server/sessions.h"
#include "store/page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#define FIRST (BUFFERS_BLOCK_PAGES + 6)

static struct exports exports;
static struct sessions sessions;
static struct session session;
static struct buffers_head *head;

/* A session over, whose worker had died with a request of two pages in hand. */
static struct export *begin(void)
{
	struct conf_export conf = { .name = "a" };
	struct sess_mem *m;
	struct errbuf e;
	struct export *x;

	exports = (struct exports){ .pool = poolmem_create(4 << 20, true, &e) };
	assert_non_null(exports.pool);
	head = mmap(NULL, sizeof(*head), PROT_READ, MAP_SHARED, poolmem_fd(exports.pool), 0);
	assert_ptr_not_equal(head, MAP_FAILED);
	sessions = (struct sessions){ .exports = &exports, .first = &session };
	x = exports_add(&exports, &conf);
	x->reserve = poolmem_take(exports.pool, &e);
	assert_int_equal(x->reserve, 0);
	x->state = EXPORT_READY;
	session = (struct session){ .x = x, .sock = -1, .memory = sessmem_make(&e) };
	m = mmap(NULL, SESSMEM_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, session.memory, 0);
	assert_ptr_not_equal(m, MAP_FAILED);
	m->request[3].use = 1;
	m->request[3].buffer = FIRST;
	m->request[3].length = 2 * PAGE_BYTES;
	munmap(m, SESSMEM_BYTES);
	holds_worker_died(&sessions);
	sessions.first = NULL;
	holds_session_over(&sessions, &session);
	close(session.memory);
	return x;
}

static bool held(void)
{
	uint64_t word = head->held[FIRST / BUFFERS_BLOCK_PAGES];

	assert_true(word == 0 || word == UINT64_C(3) << FIRST % BUFFERS_BLOCK_PAGES);
	holds_let_go(&sessions);
	return head->held[FIRST / BUFFERS_BLOCK_PAGES] != 0;
}

static void end(void)
{
	while (exports.first)
		exports_remove(&exports, exports.first);
	holds_free(&sessions);
	munmap(head, sizeof(*head));
	poolmem_free(exports.pool);
}

static void until_settled(void **state)
{
	struct export *x = begin();

	(void)state;
	x->dirty = true;
	x->state = EXPORT_SETTLING;
	assert_true(held());
	x->dirty = false;
	x->state = EXPORT_READY;
	assert_false(held());
	end();
}

/* A barrier that failed; a later one waits for the same. */
static void until_a_later_barrier(void **state)
{
	struct export *x = begin();

	(void)state;
	x->orphans = true;
	assert_true(held());
	x->orphans = false;
	assert_false(held());
	end();
}

/* begin(), then a barrier that failed, and the end of the export. */
static struct export *release(void)
{
	struct export *x = begin();

	x->orphans = true;
	x->state = EXPORT_DOWN;
	holds_export_released(&sessions, x);
	return x;
}

/* Released and removed before anybody looked: the place of the export goes to nobody, and its pages stay held. */
static void removed_at_once(void **state)
{
	struct export *x = release();
	struct errbuf e;

	(void)state;
	exports_remove(&exports, x);
	assert_true(held());
	assert_int_equal(poolmem_take(exports.pool, &e), 1);
	end();
}

/* Activated again, perhaps on another file: what that one's barrier waits for is not this. */
static void activated_again(void **state)
{
	struct export *x = release();
	struct errbuf e;

	(void)state;
	x->reserve = poolmem_take(exports.pool, &e);
	assert_int_equal(x->reserve, 1);
	x->state = EXPORT_READY;
	assert_false(x->orphans);
	assert_true(held());
	end();
}

/* Released in order: nothing is left. */
static void released(void **state)
{
	struct export *x = begin();
	struct errbuf e;

	(void)state;
	x->state = EXPORT_DOWN;
	holds_export_released(&sessions, x);
	assert_int_equal(x->reserve, 0);
	exports_remove(&exports, x);
	assert_false(held());
	assert_int_equal(poolmem_take(exports.pool, &e), 0);
	end();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(until_settled), cmocka_unit_test(until_a_later_barrier), cmocka_unit_test(removed_at_once),
		cmocka_unit_test(activated_again), cmocka_unit_test(released),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
