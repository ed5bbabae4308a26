/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/nbdnl.h"

#include "common/procself.h"

#include <errno.h>
#include <linux/nbd-netlink.h>
#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>

static void cleanup_socket_(struct nl_sock **sk)
{
	if (*sk)
		nl_socket_free(*sk);
}

static void cleanup_msg_(struct nl_msg **msg)
{
	if (*msg)
		nlmsg_free(*msg);
}

#define CLEANUP_SOCKET __attribute__((cleanup(cleanup_socket_)))
#define CLEANUP_MSG __attribute__((cleanup(cleanup_msg_)))

/* The kernel holds one lock over all generic netlink while it works at a message.  Whoever waits for memory there, which comes from the very device that has
 * no connection, keeps the watch from giving it another.  Not longer than the message: what else a command does (swapoff) may need that I/O.
 */
static void end_flusher_(const bool *begun)
{
	procself_io_flusher_end(*begun);
}

#define WITHOUT_IO __attribute__((cleanup(end_flusher_), unused)) const bool flusher_ = procself_io_flusher_begin()

static struct nl_sock *open_family(int *family, struct errbuf *e)
{
	CLEANUP_SOCKET struct nl_sock *sk = nl_socket_alloc();
	struct nl_sock *out;
	int rc;

	if (!sk) {
		err_set(e, ENOMEM, "no netlink socket: out of memory");
		return NULL;
	}
	rc = genl_connect(sk);
	if (rc < 0) {
		err_set(e, EIO, "no generic netlink: %s", nl_geterror(rc));
		return NULL;
	}
	*family = genl_ctrl_resolve(sk, NBD_GENL_FAMILY_NAME);
	if (*family < 0) {
		err_set(e, ENODEV, "the kernel's nbd does not answer on netlink (%s); run `modprobe nbd`",
			nl_geterror(*family));
		return NULL;
	}
	out = sk;
	sk = NULL;
	return out;
}

static struct nl_msg *new_message(int family, int command, int index)
{
	struct nl_msg *msg = nlmsg_alloc();

	if (msg &&
	    (!genlmsg_put(msg, NL_AUTO_PORT, NL_AUTO_SEQ, family, 0, 0, (uint8_t)command, NBD_GENL_VERSION) ||
	     nla_put_u32(msg, NBD_ATTR_INDEX, (uint32_t)index) < 0)) {
		nlmsg_free(msg);
		msg = NULL;
	}
	return msg;
}

static int put_sockets(struct nl_msg *msg, int sock)
{
	struct nlattr *list = nla_nest_start(msg, NBD_ATTR_SOCKETS), *item = list ? nla_nest_start(msg, NBD_SOCK_ITEM) : NULL;

	if (!item || nla_put_u32(msg, NBD_SOCK_FD, (uint32_t)sock) < 0)
		return -1;
	nla_nest_end(msg, item);
	nla_nest_end(msg, list);
	return 0;
}

int nbdnl_connect(int index, int sock, const struct nbdnl_device *d, struct errbuf *e)
{
	WITHOUT_IO;
	CLEANUP_SOCKET struct nl_sock *sk = NULL;
	CLEANUP_MSG struct nl_msg *msg = NULL;
	int family, rc;

	sk = open_family(&family, e);
	if (!sk)
		return -1;
	msg = new_message(family, NBD_CMD_CONNECT, index);
	if (!msg || nla_put_u64(msg, NBD_ATTR_SIZE_BYTES, d->size) < 0 || nla_put_u64(msg, NBD_ATTR_BLOCK_SIZE_BYTES, 4096) < 0 ||
	    nla_put_u64(msg, NBD_ATTR_SERVER_FLAGS, d->flags) < 0 ||
	    nla_put_u64(msg, NBD_ATTR_DEAD_CONN_TIMEOUT, d->dead_link_timeout) < 0 || put_sockets(msg, sock) < 0)
		return err_set(e, ENOMEM, "no netlink message: out of memory");
	rc = nl_send_sync(sk, msg);
	msg = NULL;
	if (rc < 0)
		return err_set(e, rc == -NLE_BUSY ? EBUSY : EIO, "nbd%d: the kernel refused the connection: %s", index, nl_geterror(rc));
	return 0;
}

int nbdnl_set_dead_link_timeout(int index, uint64_t seconds, struct errbuf *e)
{
	WITHOUT_IO;
	CLEANUP_SOCKET struct nl_sock *sk = NULL;
	CLEANUP_MSG struct nl_msg *msg = NULL;
	int family, rc;

	sk = open_family(&family, e);
	if (!sk)
		return -1;
	/* No NBD_ATTR_TIMEOUT: with one, a request that the server holds cuts a healthy link. */
	msg = new_message(family, NBD_CMD_RECONFIGURE, index);
	if (!msg || nla_put_u64(msg, NBD_ATTR_DEAD_CONN_TIMEOUT, seconds) < 0)
		return err_set(e, ENOMEM, "no netlink message: out of memory");
	rc = nl_send_sync(sk, msg); /* takes msg */
	msg = NULL;
	if (rc < 0)
		return err_set(e, EIO, "nbd%d: the kernel refused the dead-link timeout of %llu s: %s", index,
			       (unsigned long long)seconds, nl_geterror(rc));
	return 0;
}

int nbdnl_disconnect(int index, struct errbuf *e)
{
	WITHOUT_IO;
	CLEANUP_SOCKET struct nl_sock *sk = NULL;
	CLEANUP_MSG struct nl_msg *msg = NULL;
	int family, rc;

	sk = open_family(&family, e);
	if (!sk)
		return -1;
	msg = new_message(family, NBD_CMD_DISCONNECT, index);
	if (!msg)
		return err_set(e, ENOMEM, "no netlink message: out of memory");
	rc = nl_send_sync(sk, msg);
	msg = NULL;
	if (rc < 0)
		return err_set(e, EIO, "nbd%d: the kernel refused to disconnect: %s", index, nl_geterror(rc));
	return 0;
}
