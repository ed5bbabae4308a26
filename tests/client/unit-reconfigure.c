/* SPDX-License-Identifier: BSD-3-Clause */
/* The message that gives a device a new socket, as another library takes it apart; what it does is tested in a guest. */
#include "config.h"

#include "tests/client/unit.h"

#include "client/reconfigure.h"

#include <errno.h>
#include <linux/nbd-netlink.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>
#include <unistd.h>

static void test_message(void **state)
{
	struct nlattr *attrs[NBD_ATTR_MAX + 1], *item, *parts[NBD_SOCK_MAX + 1];
	struct reconfigure r = { .sock = -1, .family = 77 };
	size_t bytes = reconfigure_message(&r, 5, 9, 604800);
	struct nlmsghdr *h = (void *)r.out;
	int left, items = 0;

	(void)state;
	assert_int_equal(h->nlmsg_len, bytes);
	assert_true(bytes <= sizeof(r.out));
	assert_int_equal(h->nlmsg_type, 77);
	assert_int_equal(h->nlmsg_flags, NLM_F_REQUEST | NLM_F_ACK);
	assert_true(genlmsg_valid_hdr(h, 0));
	assert_int_equal(((struct genlmsghdr *)nlmsg_data(h))->cmd, NBD_CMD_RECONFIGURE);
	assert_int_equal(((struct genlmsghdr *)nlmsg_data(h))->version, NBD_GENL_VERSION);
	assert_int_equal(genlmsg_parse(h, 0, attrs, NBD_ATTR_MAX, NULL), 0);
	assert_int_equal(nla_get_u32(attrs[NBD_ATTR_INDEX]), 5);
	assert_int_equal(nla_get_u64(attrs[NBD_ATTR_DEAD_CONN_TIMEOUT]), 604800);
	assert_null(attrs[NBD_ATTR_TIMEOUT]); /* a request that is held would cut the link */
	assert_true(attrs[NBD_ATTR_SOCKETS]->nla_type & NLA_F_NESTED);
	nla_for_each_nested(item, attrs[NBD_ATTR_SOCKETS], left)
	{
		items++;
		assert_int_equal(nla_type(item), NBD_SOCK_ITEM);
		assert_int_equal(nla_parse_nested(parts, NBD_SOCK_MAX, item, NULL), 0);
		assert_int_equal(nla_get_u32(parts[NBD_SOCK_FD]), 9);
	}
	assert_int_equal(items, 1);
	assert_int_equal(left, 0);
}

static void test_disconnect(void **state)
{
	struct nlattr *attrs[NBD_ATTR_MAX + 1];
	struct reconfigure r = { .sock = -1, .family = 77 };
	size_t bytes = reconfigure_disconnect_message(&r, 5);
	struct nlmsghdr *h = (void *)r.out;

	(void)state;
	assert_int_equal(h->nlmsg_len, bytes);
	assert_int_equal(h->nlmsg_type, 77);
	assert_true(genlmsg_valid_hdr(h, 0));
	assert_int_equal(((struct genlmsghdr *)nlmsg_data(h))->cmd, NBD_CMD_DISCONNECT);
	assert_int_equal(genlmsg_parse(h, 0, attrs, NBD_ATTR_MAX, NULL), 0);
	assert_int_equal(nla_get_u32(attrs[NBD_ATTR_INDEX]), 5);
	for (int i = 0; i <= NBD_ATTR_MAX; i++)
		assert_true(i == NBD_ATTR_INDEX || !attrs[i]);
}

/* On a kernel without nbd it says so; on one with it, that there is no such device. */
static void test_no_device(void **state)
{
	struct reconfigure r;
	struct errbuf e;

	(void)state;
	if (reconfigure_open(&r, &e) < 0) {
		assert_int_equal(e.code, ENODEV);
		assert_non_null(strstr(e.text, "modprobe nbd"));
		assert_int_equal(r.sock, -1);
		return;
	}
	assert_int_equal(reconfigure(&r, 12345, STDIN_FILENO, 1, INT64_MAX, &e), -1);
	reconfigure_close(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_message), cmocka_unit_test(test_disconnect),
		cmocka_unit_test(test_no_device),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
