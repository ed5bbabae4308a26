/* SPDX-License-Identifier: BSD-3-Clause */
/* A full ring is submitted, and a kernel that has no memory for that just now is asked again: a worker must not end of it. */
#include "config.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server/engine/ring.h"

#include <errno.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

enum { ENTRIES = 8, REFUSALS = 5 };

static unsigned refusals;

int __wrap_io_uring_submit(struct io_uring *u);
extern int __real_io_uring_submit(struct io_uring *u);

int __wrap_io_uring_submit(struct io_uring *u)
{
	static const int codes[] = { -EAGAIN, -ENOMEM, -EBUSY, -EINTR };

	return refusals ? codes[refusals-- % 4] : __real_io_uring_submit(u);
}

static void a_refusal_passes(void **state)
{
	const struct ring_size size = { .entries = ENTRIES, .under_way = 4 * ENTRIES, .files = 1, .buffers = 1 };
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	struct io_uring_cqe *cqe;
	struct errbuf e;
	struct ring r;
	unsigned n = 0;

	(void)state;
	if (ring_create(&r, &size, &e) < 0 || ring_enable(&r, &e) < 0 || ring_set_file(&r, 0, fd, &e) < 0)
		fail_msg("%s", e.text);
	refusals = REFUSALS;
	for (unsigned i = 0; i < 2 * ENTRIES; i++) {
		struct io_uring_sqe *sqe = ring_entry(&r);

		io_uring_prep_poll_add(sqe, 0, POLLOUT);
		sqe->flags |= IOSQE_FIXED_FILE;
	}
	assert_int_equal(refusals, 0);
	while (n < 2 * ENTRIES) {
		assert_true(io_uring_submit_and_wait(&r.u, 1) >= 0);
		while (io_uring_peek_cqe(&r.u, &cqe) == 0) {
			assert_true(cqe->res > 0);
			io_uring_cqe_seen(&r.u, cqe);
			n++;
		}
	}
	ring_free(&r);
	close(fd);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(a_refusal_passes) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
