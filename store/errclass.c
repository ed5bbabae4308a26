/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "store/errclass.h"

#include <errno.h>
#include <stddef.h>

#define ON(kind) (1u << (kind))
#define NETWORK (ON(BACKEND_NFS) | ON(BACKEND_SMB))
#define DEVICE ON(BACKEND_BLOCKDEV)
#define LOCAL_FS (ON(BACKEND_EXT4) | ON(BACKEND_XFS) | ON(BACKEND_BTRFS) | ON(BACKEND_TMPFS))
#define LOCAL (LOCAL_FS | DEVICE)
#define ANY (NETWORK | LOCAL)

/* What is not in the table is lasting: an error that nobody thought of must not hold a request for ever.  The values that stand
 * here as lasting are those that could be taken for passing.
 */
static const struct {
	int code;
	unsigned kinds;
	enum err_class class;
} table[] = {
	/* A signal or a full queue came between: nothing has failed. */
	{ EINTR, ANY, ERR_PASSING },
	{ EAGAIN, ANY, ERR_PASSING },
	{ ENOBUFS, ANY, ERR_PASSING },	/* transmit queue */
	{ ENOMEM, ANY, ERR_PASSING },	/* the kernel's own shortage, which swap writes are there to end; also BLK_STS_RESOURCE */
	{ EBUSY, ANY, ERR_PASSING },	/* BLK_STS_DEV_RESOURCE; NFS4ERR_DELAY that ran out */

	/* The way to the storage: a server that restarts, a link that is down, a path that fails over. */
	{ ETIMEDOUT, ANY, ERR_PASSING },     /* also BLK_STS_TIMEOUT */
	{ ETIME, ANY, ERR_PASSING },	     /* the same from older transports */
	{ ENOLINK, ANY, ERR_PASSING },	     /* BLK_STS_TRANSPORT: multipath, iSCSI */
	{ EREMOTEIO, NETWORK, ERR_PASSING }, /* a server that is in trouble itself (NFS4ERR_SERVERFAULT...) */
	{ ECONNREFUSED, NETWORK, ERR_PASSING },
	{ ECONNRESET, NETWORK, ERR_PASSING },
	{ ECONNABORTED, NETWORK, ERR_PASSING },
	{ ENOTCONN, NETWORK, ERR_PASSING },
	{ ESHUTDOWN, NETWORK, ERR_PASSING },
	{ EPIPE, NETWORK, ERR_PASSING },
	{ EHOSTDOWN, NETWORK, ERR_PASSING }, /* cifs, while it reconnects */
	{ EHOSTUNREACH, NETWORK, ERR_PASSING },
	{ ENETDOWN, NETWORK, ERR_PASSING },
	{ ENETUNREACH, NETWORK, ERR_PASSING },
	{ ENETRESET, NETWORK, ERR_PASSING },
	{ ENOLCK, NETWORK, ERR_PASSING },	     /* the server is in its grace period after a restart */

	/* Rights that run out and are given anew: tickets of Kerberos, the session of SMB, an export that is not there yet after a restart.
	 * For good if somebody took them away. */
	{ EKEYEXPIRED, NETWORK, ERR_PASSING_AWHILE },
	{ ENOKEY, NETWORK, ERR_PASSING_AWHILE },
	{ EACCES, NETWORK, ERR_PASSING_AWHILE }, /* SMB: also another's mandatory lock */

	/* A soft mount's word for a server that does not answer, and for a bad disk behind it. */
	{ EIO, NETWORK, ERR_PASSING_AWHILE },
	/* Below us there is only the disk, which has tried again itself. */
	{ EIO, LOCAL, ERR_LASTING },

	/* The handle, not the file: a server that was restarted or exports anew.  Removed and replaced files say the same; opening it anew
	 * tells.  A local file system should never say it; the same look does no harm there. */
	{ ESTALE, NETWORK | LOCAL_FS, ERR_STALE },
	{ EBADF, NETWORK, ERR_STALE }, /* what direct I/O gets for a file that is gone; our descriptor itself is open */
	/* A device is held exclusively by the description that we have: it cannot be opened a second time. */
	{ ESTALE, DEVICE, ERR_LASTING },

	/* Every page was written before the first client came. */
	{ ENOSPC, LOCAL, ERR_BROKEN_PROMISE }, /* on a device: a thin pool */
	{ EDQUOT, LOCAL, ERR_BROKEN_PROMISE },
	{ ENOSPC, NETWORK, ERR_SERVER_FULL },
	{ EDQUOT, NETWORK, ERR_SERVER_FULL },
};

enum err_class errclass_of(int code, enum backend_kind kind)
{
	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		if (table[i].code == code && (table[i].kinds & ON(kind)))
			return table[i].class;
	return ERR_LASTING;
}

bool errclass_is_held(enum err_class c)
{
	return c != ERR_LASTING && c != ERR_BROKEN_PROMISE;
}

bool errclass_is_impossible(enum err_class c)
{
	return c == ERR_SERVER_FULL || c == ERR_BROKEN_PROMISE;
}
