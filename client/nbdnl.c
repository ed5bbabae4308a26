/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/nbdnl.h"

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

struct status_answer {
	int index;
	bool seen, connected;
};

static int on_status(struct nl_msg *msg, void *arg)
{
	struct status_answer *a = arg;
	struct genlmsghdr *gh = genlmsg_hdr(nlmsg_hdr(msg));
	struct nlattr *attrs[NBD_ATTR_MAX + 1], *item;
	int left;

	if (nla_parse(attrs, NBD_ATTR_MAX, genlmsg_attrdata(gh, 0), genlmsg_attrlen(gh, 0), NULL) < 0 ||
	    !attrs[NBD_ATTR_DEVICE_LIST])
		return NL_OK;
	nla_for_each_nested(item, attrs[NBD_ATTR_DEVICE_LIST], left)
	{
		struct nlattr *dev[NBD_DEVICE_ATTR_MAX + 1];

		if (nla_type(item) != NBD_DEVICE_ITEM ||
		    nla_parse_nested(dev, NBD_DEVICE_ATTR_MAX, item, NULL) < 0 || !dev[NBD_DEVICE_INDEX] ||
		    !dev[NBD_DEVICE_CONNECTED])
			continue;
		if ((int)nla_get_u32(dev[NBD_DEVICE_INDEX]) == a->index) {
			a->seen = true;
			a->connected = nla_get_u8(dev[NBD_DEVICE_CONNECTED]) != 0;
		}
	}
	return NL_OK;
}

int nbdnl_status(int index, bool *connected, struct errbuf *e)
{
	struct status_answer answer = { .index = index };
	CLEANUP_SOCKET struct nl_sock *sk = NULL;
	CLEANUP_MSG struct nl_msg *msg = NULL;
	int family, rc;

	sk = open_family(&family, e);
	if (!sk)
		return -1;
	nl_socket_modify_cb(sk, NL_CB_VALID, NL_CB_CUSTOM, on_status, &answer);
	msg = new_message(family, NBD_CMD_STATUS, index);
	if (!msg)
		return err_set(e, ENOMEM, "no netlink message: out of memory");
	rc = nl_send_auto(sk, msg);
	if (rc >= 0)
		rc = nl_recvmsgs_default(sk);
	if (rc >= 0)
		rc = nl_wait_for_ack(sk);
	if (rc < 0 && !answer.seen)
		return err_set(e, EIO, "nbd%d: the kernel does not tell its state: %s", index, nl_geterror(rc));
	*connected = answer.connected;
	return 0;
}
