/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/poolmem.h"

#include "server/conffile.h"
#include "server/engine/buffers.h"
#include "store/lockedmem.h"
#include "store/page.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define BLOCK_BYTES ((uint64_t)BUFFERS_BLOCK_PAGES * PAGE_BYTES)

/* Those that have left the configuration may still be held by clients. */
#define RESERVES_MAX (2 * CONF_EXPORTS_MAX)

#define RESERVE_BYTES ((size_t)BUFFERS_RESERVE_PAGES * PAGE_BYTES)

struct poolmem {
	int fd;
	struct buffers_head *head;
	uint64_t common;
	bool allow_unlocked;
	bool taken[RESERVES_MAX];
	/* Nobody looks into these here: what is mapped and locked by one process stays in memory, also while no worker has it. */
	void *locked_common, *locked[RESERVES_MAX];
};

struct poolmem *poolmem_create(uint64_t bytes, bool allow_unlocked, struct errbuf *e)
{
	struct poolmem *p = calloc(1, sizeof(*p));

	if (!p) {
		err_set(e, ENOMEM, "no memory");
		return NULL;
	}
	p->head = MAP_FAILED;
	p->allow_unlocked = allow_unlocked;
	p->common = (bytes + BLOCK_BYTES - 1) / BLOCK_BYTES * BLOCK_BYTES;
	p->fd = memfd_create("nbdswap-pool", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	/* A worker that finds less of it than was there would die of it. */
	if (p->fd < 0 || ftruncate(p->fd, (off_t)buffers_bytes(p->common / PAGE_BYTES, 0)) < 0 || fcntl(p->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_SEAL) < 0 ||
	    (p->head = mmap(NULL, sizeof(*p->head), PROT_READ | PROT_WRITE, MAP_SHARED, p->fd, 0)) == MAP_FAILED) {
		err_errno(e, "the memory of the pool");
		poolmem_free(p);
		return NULL;
	}
	return p;
}

struct poolmem *poolmem_adopt(int fd, uint64_t common, bool allow_unlocked, struct errbuf *e)
{
	struct poolmem *p = calloc(1, sizeof(*p));
	int seals = fcntl(fd, F_GET_SEALS);
	struct stat st;

	if (!p) {
		err_set(e, ENOMEM, "no memory");
		return NULL;
	}
	p->allow_unlocked = allow_unlocked;
	p->common = common;
	p->fd = -1;
	p->head = MAP_FAILED;
	if (common % BLOCK_BYTES || seals < 0 || !(seals & F_SEAL_SHRINK) || fstat(fd, &st) < 0 ||
	    (uint64_t)st.st_size < buffers_bytes(common / PAGE_BYTES, 0))
		err_set(e, EPROTO, "the memory of the pool is not what it should be");
	else if ((p->head = mmap(NULL, sizeof(*p->head), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)) == MAP_FAILED)
		err_errno(e, "the memory of the pool");
	if (p->head == MAP_FAILED) {
		poolmem_free(p);
		return NULL;
	}
	p->fd = fd;
	return p;
}

void poolmem_free(struct poolmem *p)
{
	if (!p)
		return;
	if (p->head != MAP_FAILED)
		munmap(p->head, sizeof(*p->head));
	if (p->locked_common)
		munmap(p->locked_common, p->common);
	for (int i = 0; i < RESERVES_MAX; i++)
		if (p->locked[i])
			munmap(p->locked[i], RESERVE_BYTES);
	if (p->fd >= 0)
		close(p->fd);
	free(p);
}

int poolmem_fd(const struct poolmem *p)
{
	return p->fd;
}

uint64_t poolmem_common(const struct poolmem *p)
{
	return p->common;
}

/* Not before the first reserve is taken: other workers than the engine have no use for the memory. */
static int lock_memory(struct poolmem *p, int i, struct errbuf *e)
{
	if (!p->locked_common)
		p->locked_common = lockedmem_map(p->fd, BUFFERS_HEAD_BYTES, p->common, p->allow_unlocked, "pool", e);
	if (p->locked_common && !p->locked[i])
		p->locked[i] = lockedmem_map(p->fd, BUFFERS_HEAD_BYTES + (off_t)p->common + i * (off_t)RESERVE_BYTES, RESERVE_BYTES,
					     p->allow_unlocked, "reserve of an export in the pool", e);
	return p->locked_common && p->locked[i] ? 0 : -1;
}

int poolmem_take(struct poolmem *p, struct errbuf *e)
{
	struct stat st;
	off_t end;
	int i;

	for (i = 0; i < RESERVES_MAX && p->taken[i]; i++)
		;
	if (i == RESERVES_MAX)
		return err_set(e, ENOSPC, "no more than %d exports can have buffers of their own", RESERVES_MAX);
	end = (off_t)buffers_bytes(p->common / PAGE_BYTES, (uint64_t)i + 1);
	if (fstat(p->fd, &st) < 0 || (st.st_size < end && ftruncate(p->fd, end) < 0))
		return err_errno(e, "the memory of the pool");
	if (lock_memory(p, i, e) < 0)
		return -1;
	p->taken[i] = true;
	return i;
}

int poolmem_take_again(struct poolmem *p, int index, struct errbuf *e)
{
	struct stat st;

	if (index < 0 || index >= RESERVES_MAX || fstat(p->fd, &st) < 0 ||
	    st.st_size < (off_t)buffers_bytes(p->common / PAGE_BYTES, (uint64_t)index + 1))
		return err_set(e, EPROTO, "the memory of the pool has no place %d", index);
	if (lock_memory(p, index, e) < 0)
		return -1;
	p->taken[index] = true;
	return 0;
}

int poolmem_places(void)
{
	return RESERVES_MAX;
}

bool poolmem_taken(const struct poolmem *p, int index)
{
	return p->taken[index];
}

void poolmem_give(struct poolmem *p, int index)
{
	p->taken[index] = false;
}

void poolmem_hold(struct poolmem *p, uint32_t first, uint32_t pages, bool held)
{
	buffers_hold(p->head, first, pages, held);
}

void poolmem_hold_nothing(struct poolmem *p)
{
	memset(p->head, 0, sizeof(*p->head));
}
