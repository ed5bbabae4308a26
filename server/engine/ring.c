/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/engine/ring.h"

#include "server/engine/confine_ring.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static int failed(struct errbuf *e, int code, const char *what)
{
	if (code == ENOSYS || code == EPERM)
		return err_set(e, code, "io_uring is not to be had here (%s: %s); enable it (sysctl kernel.io_uring_disabled=0), or"
			       " use engine = nbdkit", what, strerror(code));
	return err_set(e, code, "io_uring: %s: %s", what, strerror(code));
}

/* All that the engine asks of it. */
static const uint8_t operations[] = {
	IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED, IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_RECV, IORING_OP_RECVMSG,
	IORING_OP_POLL_ADD,
};

int ring_create(struct ring *r, const struct ring_size *size, struct errbuf *e)
{
	struct io_uring_params p = {
		/* One thread submits, and completions are run where it waits for them: no interrupt of it in between. */
		.flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_R_DISABLED | IORING_SETUP_CQSIZE |
			 IORING_SETUP_SUBMIT_ALL,
		.cq_entries = size->under_way, /* or the kernel would have to allocate for more */
	};
	/* What cannot be begun without waiting, and every flush, is done by threads of the kernel's, of which there are only a few by default: a
	 * disk that is stuck would take them all.  They are made when they are needed.
	 */
	unsigned workers[2] = { size->under_way, 0 };
	int code = io_uring_queue_init_params(size->entries, &r->u, &p);

	if (code < 0)
		return failed(e, -code, "setup");
	code = io_uring_register_iowq_max_workers(&r->u, workers);
	if (code < 0) {
		io_uring_queue_exit(&r->u);
		return failed(e, -code, "the number of its threads");
	}
	code = io_uring_register_files_sparse(&r->u, size->files);
	if (code == 0)
		code = io_uring_register_buffers_sparse(&r->u, size->buffers);
	if (code < 0)
		failed(e, -code, "fixed files and buffers");
	if (code < 0 || confine_ring(&r->u, &(struct ring_rules){ .ops = operations, .nops = sizeof(operations) }, e) < 0) {
		io_uring_queue_exit(&r->u);
		return -1;
	}
	return 0;
}

void ring_free(struct ring *r)
{
	io_uring_queue_exit(&r->u);
}

int ring_enable(struct ring *r, struct errbuf *e)
{
	return confine_ring_enable(&r->u, e);
}

int ring_set_file(struct ring *r, unsigned place, int fd, struct errbuf *e)
{
	int code = io_uring_register_files_update(&r->u, place, &fd, 1);

	return code < 0 ? failed(e, -code, "a fixed file") : 0;
}

int ring_set_buffer(struct ring *r, unsigned place, struct iovec memory, struct errbuf *e)
{
	const __u64 tag = 0;
	int code = io_uring_register_buffers_update_tag(&r->u, place, &memory, &tag, 1);

	return code < 0 ? failed(e, -code, "a fixed buffer") : 0;
}

struct io_uring_sqe *ring_entry(struct ring *r)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&r->u);

	while (!sqe) {
		ring_submit(r);
		sqe = io_uring_get_sqe(&r->u);
	}
	return sqe;
}

void ring_submit(struct ring *r)
{
	int code = io_uring_submit(&r->u);

	if (code < 0 && code != -EAGAIN && code != -ENOMEM && code != -EINTR && code != -EBUSY)
		abort();
}

unsigned ring_queued(const struct ring *r)
{
	return io_uring_sq_ready(&r->u);
}
