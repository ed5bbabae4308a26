/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/reconfigure.h"

#include "client/kernelmarks.h"

#include <errno.h>
#include <linux/genetlink.h>
#include <linux/nbd-netlink.h>
#include <linux/netlink.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define OPEN_SECONDS 10

static int64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

/* ---- messages ---- */

static size_t begin(struct reconfigure *r, uint16_t type, uint8_t command, uint8_t version)
{
	struct nlmsghdr *h = (void *)r->out;
	struct genlmsghdr *g = (void *)(r->out + NLMSG_HDRLEN);

	memset(r->out, 0, sizeof(r->out));
	*h = (struct nlmsghdr){ .nlmsg_type = type, .nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK, .nlmsg_seq = ++r->sequence };
	*g = (struct genlmsghdr){ .cmd = command, .version = version };
	return NLMSG_HDRLEN + GENL_HDRLEN;
}

/* An attribute at *at; NULL data: a nest, to be ended with nest_end(). */
static size_t attribute(struct reconfigure *r, size_t *at, uint16_t type, const void *data, size_t bytes)
{
	struct nlattr *a = (void *)(r->out + *at);
	size_t place = *at;

	*a = (struct nlattr){ .nla_type = data ? type : (uint16_t)(type | NLA_F_NESTED), .nla_len = (uint16_t)(NLA_HDRLEN + bytes) };
	if (data)
		memcpy(r->out + *at + NLA_HDRLEN, data, bytes);
	*at += NLA_ALIGN(a->nla_len);
	return place;
}

static void nest_end(struct reconfigure *r, size_t place, size_t at)
{
	((struct nlattr *)(void *)(r->out + place))->nla_len = (uint16_t)(at - place);
}

static size_t finish(struct reconfigure *r, size_t at)
{
	((struct nlmsghdr *)(void *)r->out)->nlmsg_len = (uint32_t)at;
	return at;
}

size_t reconfigure_message(struct reconfigure *r, int index, int sock, uint64_t dead_link_timeout)
{
	const uint32_t number = (uint32_t)index, fd = (uint32_t)sock;
	size_t at = begin(r, r->family, NBD_CMD_RECONFIGURE, NBD_GENL_VERSION), list, item;

	attribute(r, &at, NBD_ATTR_INDEX, &number, sizeof(number));
	attribute(r, &at, NBD_ATTR_DEAD_CONN_TIMEOUT, &dead_link_timeout, sizeof(dead_link_timeout));
	list = attribute(r, &at, NBD_ATTR_SOCKETS, NULL, 0);
	item = attribute(r, &at, NBD_SOCK_ITEM, NULL, 0);
	attribute(r, &at, NBD_SOCK_FD, &fd, sizeof(fd));
	nest_end(r, item, at);
	nest_end(r, list, at);
	return finish(r, at);
}

size_t reconfigure_disconnect_message(struct reconfigure *r, int index)
{
	const uint32_t number = (uint32_t)index;
	size_t at = begin(r, r->family, NBD_CMD_DISCONNECT, NBD_GENL_VERSION);

	attribute(r, &at, NBD_ATTR_INDEX, &number, sizeof(number));
	return finish(r, at);
}

/* ---- the kernel ---- */

/* One message of it, of this request, in r->in; its header, or NULL with *e. */
static const struct nlmsghdr *receive(struct reconfigure *r, int64_t deadline_ns, struct errbuf *e)
{
	for (;;) {
		struct pollfd p = { .fd = r->sock, .events = POLLIN };
		int64_t left = (deadline_ns - now_ns()) / 1000000;
		const struct nlmsghdr *h = (const void *)r->in;
		ssize_t n;

		if (left < 0 || poll(&p, 1, left > 60000 ? 60000 : (int)left + 1) == 0) {
			if (now_ns() < deadline_ns)
				continue;
			err_set(e, ETIMEDOUT, "the kernel does not answer on netlink");
			return NULL;
		}
		n = recv(r->sock, r->in, sizeof(r->in), MSG_DONTWAIT);
		if (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOBUFS))
			continue;
		if (n < 0) {
			err_errno(e, "netlink");
			return NULL;
		}
		if ((size_t)n >= NLMSG_HDRLEN && h->nlmsg_len >= NLMSG_HDRLEN && h->nlmsg_len <= (size_t)n && h->nlmsg_seq == r->sequence)
			return h;
	}
}

static int ask(struct reconfigure *r, size_t bytes, struct errbuf *e)
{
	const struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };

	while (sendto(r->sock, r->out, bytes, 0, (const struct sockaddr *)&kernel, sizeof(kernel)) < 0)
		if (errno != EINTR)
			return err_errno(e, "netlink");
	return 0;
}

/* Its answer; -1 when there is none, else 0 with *code: 0 or a number of errno. */
static int take_ack(const struct nlmsghdr *h, int *code)
{
	const struct nlmsgerr *error = NLMSG_DATA(h);

	if (h->nlmsg_type != NLMSG_ERROR || h->nlmsg_len < NLMSG_LENGTH(sizeof(error->error)))
		return -1;
	*code = -error->error;
	return 0;
}

/* What the kernel answers to the message in r->out: 0 or a number of errno; -1 with *e when it does not. */
static int answer(struct reconfigure *r, size_t bytes, int64_t deadline_ns, struct errbuf *e)
{
	const struct nlmsghdr *h;
	int code;

	if (ask(r, bytes, e) < 0)
		return -1;
	do {
		h = receive(r, deadline_ns, e);
		if (!h)
			return -1;
	} while (take_ack(h, &code) < 0);
	return code;
}

int reconfigure(struct reconfigure *r, int index, int sock, uint64_t dead_link_timeout, int64_t deadline_ns, struct errbuf *e)
{
	int code = answer(r, reconfigure_message(r, index, sock, dead_link_timeout), deadline_ns, e);

	if (code <= 0)
		return code;
	return err_set(e, code == ENODEV || code == EINVAL ? code : EIO, "nbd%d: the kernel refused the new connection: %s%s", index, strerror(code),
		       code == EINVAL ? " (was it attached over netlink?)" : "");
}

int reconfigure_disconnect(struct reconfigure *r, int index, int64_t deadline_ns, struct errbuf *e)
{
	struct utsname u;
	int code;

	if (uname(&u) < 0 || !kernel_marks_lost_pages(u.release))
		return err_set(e, EOPNOTSUPP, "nbd%d: this kernel would give processes whatever was in memory in the place of pages that a swapoff cannot read",
			       index);
	code = answer(r, reconfigure_disconnect_message(r, index), deadline_ns, e);

	/* EINVAL: there is nothing connected. */
	if (code <= 0 || code == EINVAL)
		return code < 0 ? -1 : 0;
	return err_set(e, EIO, "nbd%d: the kernel does not disconnect it: %s", index, strerror(code));
}

/* ---- the family ---- */

const void *netlink_attribute(const void *from, const void *end, uint16_t type, size_t *bytes)
{
	const unsigned char *p = from;

	while (p + NLA_HDRLEN <= (const unsigned char *)end) {
		struct nlattr a;

		memcpy(&a, p, sizeof(a));
		if (a.nla_len < NLA_HDRLEN || a.nla_len > (const unsigned char *)end - p)
			return NULL;
		if ((a.nla_type & NLA_TYPE_MASK) == type) {
			*bytes = (size_t)a.nla_len - NLA_HDRLEN;
			return p + NLA_HDRLEN;
		}
		p += NLA_ALIGN(a.nla_len);
	}
	return NULL;
}

/* The number of the group of this name among the groups of CTRL_CMD_NEWFAMILY; 0: there is none. */
static uint32_t group_of(const unsigned char *list, size_t bytes, const char *wanted)
{
	/* The list's items are numbered from 1. */
	for (uint16_t i = 1; i < 16; i++) {
		size_t item_bytes, name_bytes = 0, id_bytes = 0;
		const unsigned char *item = netlink_attribute(list, list + bytes, i, &item_bytes);
		const char *name = item ? netlink_attribute(item, item + item_bytes, CTRL_ATTR_MCAST_GRP_NAME, &name_bytes) : NULL;
		const void *id = item ? netlink_attribute(item, item + item_bytes, CTRL_ATTR_MCAST_GRP_ID, &id_bytes) : NULL;
		uint32_t v;

		if (!name || !id || id_bytes < sizeof(v) || name_bytes != strlen(wanted) + 1 || memcmp(name, wanted, name_bytes) != 0)
			continue;
		memcpy(&v, id, sizeof(v));
		return v;
	}
	return 0;
}

static void take_family(struct reconfigure *r, const struct nlmsghdr *h)
{
	const unsigned char *p = (const unsigned char *)h + NLMSG_HDRLEN + GENL_HDRLEN, *end = (const unsigned char *)h + h->nlmsg_len;
	size_t n;
	const void *id = netlink_attribute(p, end, CTRL_ATTR_FAMILY_ID, &n);

	if (id && n >= sizeof(r->family))
		memcpy(&r->family, id, sizeof(r->family));
	p = netlink_attribute(p, end, CTRL_ATTR_MCAST_GROUPS, &n);
	r->group = p ? group_of(p, n, NBD_GENL_MCAST_GROUP_NAME) : 0;
}

static int find_family(struct reconfigure *r, struct errbuf *e)
{
	int64_t until = now_ns() + OPEN_SECONDS * INT64_C(1000000000);
	size_t at = begin(r, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, 1);
	const struct nlmsghdr *h;
	int code;

	attribute(r, &at, CTRL_ATTR_FAMILY_NAME, NBD_GENL_FAMILY_NAME, sizeof(NBD_GENL_FAMILY_NAME));
	r->family = 0;
	if (ask(r, finish(r, at), e) < 0)
		return -1;
	for (;;) {
		h = receive(r, until, e);
		if (!h)
			return -1;
		if (take_ack(h, &code) == 0)
			break;
		if (h->nlmsg_type == GENL_ID_CTRL && h->nlmsg_len >= NLMSG_HDRLEN + GENL_HDRLEN)
			take_family(r, h);
	}
	if (code || !r->family)
		return err_set(e, ENODEV, "the kernel's nbd does not answer on netlink (%s); run `modprobe nbd`",
			       code ? strerror(code) : "it has no number");
	return 0;
}

int reconfigure_open(struct reconfigure *r, struct errbuf *e)
{
	const struct sockaddr_nl any = { .nl_family = AF_NETLINK };

	memset(r, 0, sizeof(*r));
	r->sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_GENERIC);
	if (r->sock < 0)
		return err_errno(e, "no generic netlink");
	if (bind(r->sock, (const struct sockaddr *)&any, sizeof(any)) < 0) {
		err_errno(e, "no generic netlink");
		reconfigure_close(r);
		return -1;
	}
	if (find_family(r, e) < 0) {
		reconfigure_close(r);
		return -1;
	}
	return 0;
}

void reconfigure_close(struct reconfigure *r)
{
	if (r->sock >= 0)
		close(r->sock);
	r->sock = -1;
}
