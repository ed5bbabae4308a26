/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/swaparea.h"

#include "client/swapheader.h"
#include "client/swaplive.h"
#include "common/cleanup.h"
#include "common/signature.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <uuid.h>

#define WIPE_BYTES (1ull << 20)

static void note(struct area_result *out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void note(struct area_result *out, const char *fmt, ...)
{
	size_t n = strlen(out->notes);
	va_list ap;

	if (n)
		n += (size_t)snprintf(out->notes + n, sizeof(out->notes) - n, "; ");
	va_start(ap, fmt);
	vsnprintf(out->notes + n, sizeof(out->notes) - n, fmt, ap);
	va_end(ap);
}

enum content { CONTENT_NONE, CONTENT_SWAP, CONTENT_OTHER, CONTENT_UNREADABLE };

/* What lies on the device.  -1 with *e only when looking itself failed. */
static int look(int fd, struct signature *sig, enum content *out, struct errbuf *e)
{
	struct swap_header header;
	int rc;

	if (swapheader_read(fd, &header, e) < 0) {
		if (e->code != EIO)
			return -1;
		*out = CONTENT_UNREADABLE;
		return 0;
	}
	/* libblkid reads into buffers that O_DIRECT does not accept. */
	if (fcntl(fd, F_SETFL, 0) < 0)
		return err_errno(e, "cannot look for existing content");
	rc = signature_probe(fd, sig, e);
	if (fcntl(fd, F_SETFL, O_DIRECT) < 0)
		return err_errno(e, "cannot set direct I/O again");
	switch (rc) {
	case 0:
		*out = CONTENT_NONE;
		return 0;
	case 1:
		*out = signature_is_swap(sig) ? CONTENT_SWAP : CONTENT_OTHER;
		return 0;
	default:
		if (e->code != EIO)
			return -1;
		*out = CONTENT_UNREADABLE;
		return 0;
	}
}

static int refuse_other(const struct nbddev *dev, const struct signature *sig, struct area_result *out,
			struct errbuf *e)
{
	out->refused = true;
	return err_set(e, EEXIST,
		       "%s already holds something that is not swap: %s (%s)%s%s%s%s; nothing was written; "
		       "name the right export, or use --force to overwrite it",
		       dev->name, sig->type, sig->usage, sig->label[0] ? ", label " : "", sig->label,
		       sig->uuid[0] ? ", UUID " : "", sig->uuid);
}

/* A server lets one machine in as often as it likes, and one server has many addresses: what is swap here already must not be emptied. */
static int refuse_own(const struct nbddev *dev, int fd, const struct area_wishes *w, struct area_result *out, struct errbuf *e)
{
	const struct attach_state *s;
	struct swap_header h;
	struct errbuf live;
	char uuid[40];

	if (swapheader_read(fd, &h, NULL) != 1)
		return 0;
	uuid_unparse_lower(h.uuid, uuid);
	s = state_by_uuid(w->attached, uuid);
	if (s) {
		out->refused = true;
		return err_set(e, EEXIST,
			       "%s holds the swap area with UUID %s, which this machine has attached already, as %s (%s); nothing "
			       "was written",
			       dev->name, uuid, s->dev.name, s->uri);
	}
	if (swaplive_check(w->swaps, w->attached, dev->path, h.uuid, SWAPLIVE_MS, &live) == 0 || (live.code != EEXIST && w->force))
		return 0;
	out->refused = true;
	return err_set(e, live.code, "%s: %s", dev->name, live.text);
}

/* The whole device becomes fresh: stale pages of an earlier use are gone, lost ones can be read again. */
static int discard_all(int fd, uint64_t size, struct errbuf *e)
{
	uint64_t range[2] = { 0, size };

	return ioctl(fd, BLKDISCARD, range) == 0 ? 0 : err_errno(e, "cannot discard the whole device");
}

/* Where the server takes no discards: the places where signatures lie, so that nobody finds the old
 * content again.
 */
static int wipe_ends(int fd, uint64_t size, struct errbuf *e)
{
	uint64_t head[2] = { 0, size < WIPE_BYTES ? size : WIPE_BYTES };
	uint64_t tail[2] = { size - head[1], head[1] };

	if (ioctl(fd, BLKZEROOUT, head) < 0 || ioctl(fd, BLKZEROOUT, tail) < 0)
		return err_errno(e, "cannot clear the old content");
	return 0;
}

static void choose_names(const struct area_wishes *w, const struct signature *sig, enum content content,
			 struct area_result *out)
{
	const char *label = w->label;
	unsigned char uuid[16];

	if (!label)
		label = content == CONTENT_SWAP && sig->label[0] ? sig->label : w->default_label;
	snprintf(out->label, sizeof(out->label), "%.*s", SWAP_LABEL_MAX, label);
	if (content == CONTENT_SWAP && uuid_parse(sig->uuid, uuid) == 0) {
		snprintf(out->uuid, sizeof(out->uuid), "%s", sig->uuid);
	} else {
		uuid_generate(uuid);
		uuid_unparse_lower(uuid, out->uuid);
	}
}

/* Without discards, a header that fits this device, this page size and the wished label stays as it is. */
static bool header_fits(int fd, uint64_t size, const struct area_result *names)
{
	struct swap_header h;
	char uuid[40];
	uint64_t pages = size / (uint64_t)sysconf(_SC_PAGESIZE);

	if (swapheader_read(fd, &h, NULL) != 1)
		return false;
	uuid_unparse_lower(h.uuid, uuid);
	return (uint64_t)h.last_page + 1 == pages && strcmp(uuid, names->uuid) == 0 &&
	       strcmp(h.label, names->label) == 0;
}

int swaparea_prepare(const struct nbddev *dev, uint64_t size, const struct area_wishes *w,
		     struct area_result *out, struct errbuf *e)
{
	CLEANUP_CLOSE int fd = -1;
	struct signature sig = { 0 };
	enum content content = CONTENT_UNREADABLE;

	memset(out, 0, sizeof(*out));
	/* O_EXCL: not while it is mounted or swapped on.  O_DIRECT: what is read comes from the server. */
	fd = open(dev->path, O_RDWR | O_EXCL | O_DIRECT | O_CLOEXEC);
	if (fd < 0)
		return err_errno(e, "cannot open %s for itself", dev->path);
	if (look(fd, &sig, &content, e) < 0)
		return -1;
	if (refuse_own(dev, fd, w, out, e) < 0)
		return -1;
	if (content == CONTENT_OTHER && !w->force)
		return refuse_other(dev, &sig, out, e);
	if (content == CONTENT_UNREADABLE && !w->lost_is_fresh && !w->force) {
		out->refused = true;
		return err_set(e, EIO,
			       "the beginning of %s cannot be read, so what lies there is not known; nothing "
			       "was written; look at the server, or use --force to make it anew",
			       dev->name);
	}
	if (content == CONTENT_UNREADABLE)
		note(out, "the server had lost the old content (an unclean end); the export was discarded and "
			  "made anew");
	if (content == CONTENT_OTHER)
		note(out, "%s content was overwritten", sig.type);
	choose_names(w, &sig, content, out);
	if (w->can_discard) {
		if (discard_all(fd, size, e) < 0)
			return -1;
	} else if (content == CONTENT_SWAP && header_fits(fd, size, out)) {
		return 0;
	} else if (content != CONTENT_NONE && wipe_ends(fd, size, e) < 0) {
		return -1;
	}
	return swapheader_write(fd, size, out->label, out->uuid, e);
}
