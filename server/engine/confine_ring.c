/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/engine/confine_ring.h"

#include <errno.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

/* What may be registered later: descriptors and buffers come with sessions. */
static const uint8_t later[] = { IORING_REGISTER_FILES_UPDATE, IORING_REGISTER_BUFFERS_UPDATE };

/* liburing.so of Debian 12 does not export io_uring_register_restrictions and io_uring_enable_rings, though its header has them. */
static int ring_register(const struct io_uring *ring, unsigned op, const void *arg, unsigned n)
{
	return (int)syscall(SYS_io_uring_register, ring->ring_fd, op, arg, n);
}

int confine_ring(struct io_uring *ring, const struct ring_rules *rules, struct errbuf *e)
{
	struct io_uring_restriction r[RING_RULES_OPS + sizeof(later) + 2];
	unsigned n = 0;

	if (rules->nops > RING_RULES_OPS)
		return err_set(e, EINVAL, "%zu operations for a ring, at most %d can be told", rules->nops, RING_RULES_OPS);
	memset(r, 0, sizeof(r));
	for (size_t i = 0; i < rules->nops; i++) {
		r[n].opcode = IORING_RESTRICTION_SQE_OP;
		r[n++].sqe_op = rules->ops[i];
	}
	for (size_t i = 0; i < sizeof(later) && !rules->any_file; i++) {
		r[n].opcode = IORING_RESTRICTION_REGISTER_OP;
		r[n++].register_op = later[i];
	}
	if (!rules->any_file) {
		r[n].opcode = IORING_RESTRICTION_SQE_FLAGS_REQUIRED;
		r[n++].sqe_flags = IOSQE_FIXED_FILE;
	}
	r[n].opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
	r[n++].sqe_flags = rules->flags | IOSQE_FIXED_FILE;
	if (ring_register(ring, IORING_REGISTER_RESTRICTIONS, r, n) < 0)
		return err_errno(e, "the io_uring cannot be restricted to what the engine does (IORING_REGISTER_RESTRICTIONS, Linux 5.10);"
				 " with engine = nbdkit none is used");
	return 0;
}

int confine_ring_enable(struct io_uring *ring, struct errbuf *e)
{
	struct io_uring_sqe *sqe;
	struct io_uring_cqe *cqe;
	int code;

	if (ring_register(ring, IORING_REGISTER_ENABLE_RINGS, NULL, 0) < 0)
		return err_errno(e, "the io_uring cannot be enabled (IORING_REGISTER_ENABLE_RINGS)");
	sqe = io_uring_get_sqe(ring);
	if (!sqe)
		return err_set(e, EBUSY, "the io_uring was to be enabled and is full already");
	io_uring_prep_nop(sqe);
	code = io_uring_submit_and_wait(ring, 1);
	if (code >= 0)
		code = io_uring_wait_cqe(ring, &cqe);
	if (code < 0)
		return err_set(e, -code, "the io_uring does not answer: %s", strerror(-code));
	code = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	if (code != -EACCES)
		return err_set(e, EPERM, "the io_uring was restricted, but the kernel did what it was to refuse");
	return 0;
}
