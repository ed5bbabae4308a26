/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/exportprobe.h"

#include "common/cleanup.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#define PAGE 4096u
#define ENDS_BYTES (256u * 1024) /* every signature of libblkid lies within these of the beginning or the end */

static int fetch(struct session *s, int fd, uint64_t from, uint64_t to, unsigned *unreadable, struct errbuf *e)
{
	for (uint64_t at = from; at < to; at += PAGE) {
		unsigned char page[PAGE];

		if (session_read(s, page, PAGE, at, NULL, e) < 0) {
			if (e->code == ENOTCONN || e->code == ETIMEDOUT)
				return -1;
			++*unreadable;
			continue;
		}
		if (page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0)
			continue; /* stays a hole */
		if (pwrite(fd, page, PAGE, (off_t)at) != (ssize_t)PAGE)
			return err_errno(e, "no memory for a copy of the export's first pages");
	}
	return 0;
}

int export_probe(struct session *s, uint64_t size, struct signature *out, unsigned *unreadable,
		 struct errbuf *e)
{
	CLEANUP_CLOSE int fd = memfd_create("export", MFD_CLOEXEC);
	uint64_t end = size / PAGE * PAGE;
	uint64_t head = end < ENDS_BYTES ? end : ENDS_BYTES;
	uint64_t tail = end - head > ENDS_BYTES ? end - ENDS_BYTES : head;

	*unreadable = 0;
	if (fd < 0 || ftruncate(fd, (off_t)size) < 0)
		return err_errno(e, "no memory for a copy of the export's first pages");
	if (fetch(s, fd, 0, head, unreadable, e) < 0 || fetch(s, fd, tail, end, unreadable, e) < 0)
		return -1;
	return signature_probe(fd, out, e);
}
