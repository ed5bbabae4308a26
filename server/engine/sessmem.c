/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/engine/sessmem.h"

#include "store/lockedmem.h"
#include "store/page.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

_Static_assert(sizeof(struct sess_mem) % PAGE_BYTES == 0 && offsetof(struct sess_mem, rx) % PAGE_BYTES == 0,
	       "the second view of rx begins where the mapping of the file ends");

int sessmem_make(struct errbuf *e)
{
	int fd = memfd_create("nbdswap-session", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return err_errno(e, "the memory of a session");
	if (ftruncate(fd, (off_t)SESSMEM_BYTES) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0) {
		err_errno(e, "the memory of a session");
		close(fd);
		return -1;
	}
	return fd;
}

struct sess_mem *sessmem_map(int fd, bool allow_unlocked, struct errbuf *e)
{
	const int rw = PROT_READ | PROT_WRITE, at = MAP_SHARED | MAP_FIXED;
	struct stat st;
	unsigned char *p;

	if (fstat(fd, &st) < 0) {
		err_errno(e, "the memory of a session");
		return NULL;
	}
	if (st.st_size != (off_t)SESSMEM_BYTES) {
		err_set(e, EPROTO, "the memory of a session has %lld bytes, not %zu: it is another version's", (long long)st.st_size,
			SESSMEM_BYTES);
		return NULL;
	}
	p = mmap(NULL, SESSMEM_MAPPED, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED) {
		err_errno(e, "the memory of a session");
		return NULL;
	}
	if (mmap(p, SESSMEM_BYTES, rw, at, fd, 0) == MAP_FAILED ||
	    mmap(p + SESSMEM_BYTES, SESSMEM_RX_BYTES, rw, at, fd, offsetof(struct sess_mem, rx)) == MAP_FAILED) {
		err_errno(e, "the memory of a session");
		munmap(p, SESSMEM_MAPPED);
		return NULL;
	}
	if (lockedmem_hold(p, SESSMEM_MAPPED, allow_unlocked, "memory of a session", e) < 0) {
		munmap(p, SESSMEM_MAPPED);
		return NULL;
	}
	return (struct sess_mem *)p;
}

void sessmem_unmap(struct sess_mem *m)
{
	if (m)
		munmap(m, SESSMEM_MAPPED);
}

void sessmem_begin(struct sess_mem *m, uint64_t rx_base, uint64_t tx_base, const void *preamble, uint32_t bytes)
{
	m->magic = SESSMEM_MAGIC;
	m->layout = SESSMEM_LAYOUT;
	m->rx_base = rx_base;
	m->tx_base = tx_base;
	m->preamble_bytes = bytes;
	memcpy(m->preamble, preamble, bytes);
	atomic_store_explicit(&m->begun, 1, memory_order_release);
}
