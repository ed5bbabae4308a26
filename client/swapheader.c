/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/swapheader.h"

#include "common/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <uuid.h>

/* include/linux/swap.h, union swap_header: 1024 bytes for boot blocks, then these words, and the magic in the
 * last ten bytes of the page.
 */
struct swap_info_words {
	uint32_t version;
	uint32_t last_page;
	uint32_t bad_pages;
	unsigned char uuid[16];
	char label[16];
};

#define INFO_OFFSET 1024
#define MAGIC "SWAPSPACE2"
#define MAGIC_BYTES 10
#define PAGES_MIN 10 /* as mkswap: less is no swap area */

int swapheader_build(void *page, size_t page_size, uint64_t size, const char *label,
		     const unsigned char uuid[16], struct errbuf *e)
{
	struct swap_info_words info = { .version = 1 };
	uint64_t pages = size / page_size;

	if (pages < PAGES_MIN)
		return err_set(e, EINVAL, "a swap area needs at least %d pages of %zu bytes, this one has %llu",
			       PAGES_MIN, page_size, (unsigned long long)pages);
	/* The header has room for 32 bits: 16 TiB with pages of 4 KiB.  What lies beyond is not used,
	 * as with mkswap.
	 */
	info.last_page = pages - 1 > UINT32_MAX ? UINT32_MAX : (uint32_t)(pages - 1);
	memcpy(info.uuid, uuid, sizeof(info.uuid));
	memcpy(info.label, label, strnlen(label, SWAP_LABEL_MAX));
	memset(page, 0, page_size);
	memcpy((char *)page + INFO_OFFSET, &info, sizeof(info));
	memcpy((char *)page + page_size - MAGIC_BYTES, MAGIC, MAGIC_BYTES);
	return 0;
}

bool swapheader_parse(const void *page, size_t page_size, struct swap_header *out)
{
	struct swap_info_words info;

	if (memcmp((const char *)page + page_size - MAGIC_BYTES, MAGIC, MAGIC_BYTES) != 0)
		return false;
	memcpy(&info, (const char *)page + INFO_OFFSET, sizeof(info));
	if (info.version != 1)
		return false;
	out->last_page = info.last_page;
	memcpy(out->uuid, info.uuid, sizeof(out->uuid));
	memcpy(out->label, info.label, SWAP_LABEL_MAX);
	out->label[SWAP_LABEL_MAX] = '\0';
	return true;
}

static size_t machine_page(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

static int move_page(int fd, void *page, size_t size, bool write_it, struct errbuf *e)
{
	size_t done = 0;

	while (done < size) {
		ssize_t n = write_it ? pwrite(fd, (char *)page + done, size - done, (off_t)done)
				     : pread(fd, (char *)page + done, size - done, (off_t)done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n == 0)
			errno = EIO;
		if (n <= 0)
			return err_errno(e, "cannot %s the swap header", write_it ? "write" : "read");
		done += (size_t)n;
	}
	return 0;
}

static void *aligned_page(size_t size)
{
	void *p = NULL;

	return posix_memalign(&p, size, size) == 0 ? p : NULL;
}

int swapheader_write(int fd, uint64_t size, const char *label, const char *uuid_text, struct errbuf *e)
{
	size_t page_size = machine_page();
	CLEANUP_FREE void *page = aligned_page(page_size);
	CLEANUP_FREE void *again = aligned_page(page_size);
	unsigned char uuid[16];

	if (!page || !again)
		return err_set(e, ENOMEM, "no memory for the swap header");
	if (uuid_parse(uuid_text, uuid) < 0)
		return err_set(e, EINVAL, "\"%.40s\" is not a UUID", uuid_text);
	if (swapheader_build(page, page_size, size, label, uuid, e) < 0 ||
	    move_page(fd, page, page_size, true, e) < 0)
		return -1;
	if (fsync(fd) < 0)
		return err_errno(e, "cannot flush the swap header");
	/* Without O_DIRECT the page cache would answer, whatever reached the server. */
	posix_fadvise(fd, 0, (off_t)page_size, POSIX_FADV_DONTNEED);
	if (move_page(fd, again, page_size, false, e) < 0)
		return -1;
	if (memcmp(page, again, page_size) != 0)
		return err_set(e, EIO,
			       "the swap header reads back other than it was written: this export cannot be "
			       "trusted with swap; look at the server");
	return 0;
}

int swapheader_read(int fd, struct swap_header *out, struct errbuf *e)
{
	size_t page_size = machine_page();
	CLEANUP_FREE void *page = aligned_page(page_size);

	if (!page)
		return err_set(e, ENOMEM, "no memory for the swap header");
	if (move_page(fd, page, page_size, false, e) < 0)
		return -1;
	return swapheader_parse(page, page_size, out) ? 1 : 0;
}
