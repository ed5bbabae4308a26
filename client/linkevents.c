/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/linkevents.h"

#include "client/reconfigure.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

int linkevents_open(uint32_t group, struct errbuf *e)
{
	const struct sockaddr_nl any = { .nl_family = AF_NETLINK };
	int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_GENERIC);

	if (sock >= 0 && bind(sock, (const struct sockaddr *)&any, sizeof(any)) == 0 &&
	    setsockopt(sock, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) == 0)
		return sock;
	err_errno(e, "no events of the kernel's nbd");
	if (sock >= 0)
		close(sock);
	return -1;
}

int linkevents_device(const void *message, size_t n, uint16_t family)
{
	const unsigned char *p = message;
	struct nlmsghdr h;
	struct genlmsghdr g;
	const void *value;
	uint32_t index;
	size_t bytes;

	if (n < NLMSG_HDRLEN + GENL_HDRLEN)
		return -1;
	memcpy(&h, p, sizeof(h));
	memcpy(&g, p + NLMSG_HDRLEN, sizeof(g));
	if (h.nlmsg_type != family || h.nlmsg_len > n || h.nlmsg_len < NLMSG_HDRLEN + GENL_HDRLEN || g.cmd != NBD_CMD_LINK_DEAD)
		return -1;
	value = netlink_attribute(p + NLMSG_HDRLEN + GENL_HDRLEN, p + h.nlmsg_len, NBD_ATTR_INDEX, &bytes);
	if (!value || bytes < sizeof(index))
		return -1;
	memcpy(&index, value, sizeof(index));
	return index <= INT32_MAX ? (int)index : -1;
}

int linkevents_next(int sock, uint16_t family)
{
	_Alignas(8) unsigned char in[1024];

	for (;;) {
		ssize_t n = recv(sock, in, sizeof(in), MSG_DONTWAIT);
		int device;

		if (n < 0 && (errno == EINTR || errno == ENOBUFS)) /* some were lost: the sockets tell, too */
			continue;
		if (n < 0)
			return -1;
		device = linkevents_device(in, (size_t)n, family);
		if (device >= 0)
			return device;
	}
}
