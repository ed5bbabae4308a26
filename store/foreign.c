/* SPDX-License-Identifier: BSD-3-Clause */
/* A file or device that was put to another use keeps our trailer where the newcomer did not come to its end: a clean one, by which it would be
 * served, and written over.  What gives it away is a signature (of a file system, a volume, a partition table) that no client wrote, for clients
 * may write such things too: in a file in which no page was ever written, and that is not as it was allocated, or beside pages that are not what the table says.  A page
 * that went bad alone is no such sign, nor is a signature in a page that is what it should be.
 */
#include "config.h"

#include "store/backing_priv.h"

#include "common/cleanup.h"
#include "common/signature.h"
#include "store/fullio.h"
#include "store/mark.h"
#include "store/open.h"
#include "store/page.h"

#include <errno.h>
#include <stdlib.h>

#define LOW_PAGES 32 /* where nearly all signatures are, and what is made with them is written over */

enum known { AS_WRITTEN, NOT_AS_WRITTEN, NOT_KNOWN };

/* Is the page what the table says it is?  Of one without content there nobody knows what is in the file. */
static enum known look(const struct backing *b, struct table *table, const struct marker *marker, void *buffer, uint64_t page)
{
	struct page_mark m;
	struct page_view v = entry_read(table_entries(table), page, &m);

	if (!v.valid || v.in_flight || v.state != PAGE_WRITTEN || !m.value)
		return NOT_KNOWN;
	if (full_pread(POINT_IMAGE_READ, b->fd, buffer, PAGE_BYTES, (off_t)(page * PAGE_BYTES)) < 0)
		return NOT_KNOWN;
	return mark_verify(marker, page, &m, buffer, NULL) ? AS_WRITTEN : NOT_AS_WRITTEN;
}

/* A file is allocated with noise, in which a short signature comes up by chance, once in many files; of zeros it has one in 256 bytes. */
static bool is_noise(const struct backing *b, void *buffer, uint64_t page)
{
	const unsigned char *p = buffer;
	unsigned zeros = 0;

	if (full_pread(POINT_IMAGE_READ, b->fd, buffer, PAGE_BYTES, (off_t)(page * PAGE_BYTES)) < 0)
		return true; /* nothing says that it is not */
	for (unsigned i = 0; i < PAGE_BYTES; i++)
		zeros += p[i] == 0;
	return zeros < PAGE_BYTES / 16;
}

static bool is_foreign(const struct backing *b, struct table *table, const struct signature *sig, void *buffer)
{
	uint64_t pages = table_pages(table), page = sig->offset / PAGE_BYTES;
	struct marker marker;

	if (b->trailer.table == TRAILER_TABLE_FRESH) {
		for (page = 0; page < LOW_PAGES && page < pages; page++)
			if (!is_noise(b, buffer, page))
				return true;
		return false;
	}
	marker_init(&marker, table);
	if (sig->offset != SIGNATURE_NOWHERE && page < pages) {
		enum known k = look(b, table, &marker, buffer, page);

		if (k != NOT_KNOWN)
			return k == NOT_AS_WRITTEN;
	}
	for (page = 0; page < LOW_PAGES && page < pages; page++)
		if (look(b, table, &marker, buffer, page) == NOT_AS_WRITTEN)
			return true;
	return false;
}

int backing_refuse_foreign(const struct backing *b, struct table *table, struct errbuf *e)
{
	CLEANUP_CLOSE int fd = -1;
	CLEANUP_FREE void *buffer = NULL;
	struct signature sig;
	struct errbuf unseen;

	if (b->force || b->trailer.state != TRAILER_CLEAN)
		return 0;
	fd = reopen_buffered(b->fd); /* libblkid reads at any offset */
	if (fd < 0)
		return err_errno(e, "%s: cannot look at its content", b->name);
	if (posix_memalign(&buffer, PAGE_BYTES, PAGE_BYTES) != 0)
		return err_set(e, ENOMEM, "%s: no memory to look at its content", b->name);
	/* Pages that cannot be read are lost when they are asked for, and say nothing here. */
	if (signature_probe(fd, &sig, &unseen) != 1)
		return 0;
	if (signature_is_swap(&sig) || !is_foreign(b, table, &sig, buffer))
		return 0;
	return err_set(e, EEXIST, "%s: holds %s (%s) that was not written by a client of this export: it seems to be in another use by now, although "
		       "the end of it is still nbdswap's; take it out of nbdswapd.conf, or, if nobody needs what is there, make it anew "
		       "(`nbdswapctl activate --rewrite`)", b->name, sig.usage, sig.type);
}
