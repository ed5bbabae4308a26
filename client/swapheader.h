/* SPDX-License-Identifier: BSD-3-Clause */
/* The header of a swap area (SWAPSPACE2), as mkswap writes it: one page of the machine's page size. */
#ifndef NBDSWAP_CLIENT_SWAPHEADER_H
#define NBDSWAP_CLIENT_SWAPHEADER_H

#include "common/errbuf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SWAP_LABEL_MAX 15 /* bytes, with a terminating zero behind them */

struct swap_header {
	uint32_t last_page; /* pages - 1 */
	char label[SWAP_LABEL_MAX + 1];
	unsigned char uuid[16];
};

/* Builds the header page of an area of size bytes into page (page_size bytes). label is cut to
 * SWAP_LABEL_MAX bytes. 0, or -1 with *e when the size cannot be a swap area.
 */
int swapheader_build(void *page, size_t page_size, uint64_t size, const char *label,
		     const unsigned char uuid[16], struct errbuf *e);

/* Reads a header out of page.  False when there is none of this page size. */
bool swapheader_parse(const void *page, size_t page_size, struct swap_header *out);

/* Writes the header to fd (a device or a file of size bytes) with this machine's page size, makes it
 * durable and reads it back, past the page cache where fd allows it.  uuid_text: 36 characters.  0,
 * or -1 with *e.
 */
int swapheader_write(int fd, uint64_t size, const char *label, const char *uuid_text, struct errbuf *e);

/* Reads the header of fd.  1 found, 0 none, -1 with *e when it cannot be read. */
int swapheader_read(int fd, struct swap_header *out, struct errbuf *e);

#endif
