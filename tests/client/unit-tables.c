/* SPDX-License-Identifier: BSD-3-Clause */
/* The tables of text that the client reads: /proc/swaps, /proc/net/tcp and the swaptab. */
#include "config.h"

#include "client/kernelmarks.h"
#include "client/holders.h"
#include "client/link.h"
#include "client/procswaps.h"
#include "client/swaptab.h"
#include "tests/client/unit.h"

#define SWAPS_HEADER "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"

static int swaps(const char *text, struct swap_list *out, struct errbuf *e)
{
	FILE *f = text_stream(text);
	int rc = procswaps_parse(f, out, e);

	fclose(f);
	return rc;
}

static void test_swaps(void **state)
{
	struct swap_list list;
	const struct swap_entry *s;

	assert_int_equal(swaps("", &list, NULL), 0);
	assert_int_equal(list.count, 0);
	assert_int_equal(swaps(SWAPS_HEADER, &list, NULL), 0);
	assert_int_equal(list.count, 0);
	assert_int_equal(swaps(SWAPS_HEADER "/dev/nbd0                               "
					    "partition\t524284\t\t10240\t\t5\n"
					    "/swap\\040file\\012x\\134y                  "
					    "file\t\t2048\t\t0\t\t-2\n"
					    "/dev/nbd10                              partition\t4\t\t4\t\t-3\n",
			       &list, NULL),
			 0);
	assert_int_equal(list.count, 3);
	s = procswaps_find(&list, "/dev/nbd0");
	assert_non_null(s);
	assert_int_equal(s->size, 524284ull * 1024);
	assert_int_equal(s->used, 10240 * 1024);
	assert_int_equal(s->priority, 5);
	s = procswaps_find(&list, "/swap file\nx\\y");
	assert_non_null(s);
	assert_int_equal(s->priority, -2);
	assert_null(procswaps_find(&list, "/dev/nbd1"));
	assert_int_equal(procswaps_free_elsewhere(&list, "/dev/nbd0"), 2048 * 1024);
	assert_int_equal(procswaps_free_elsewhere(&list, "/dev/nbd10"), (524284ull - 10240 + 2048) * 1024);
}

/* A line that is not understood must not make a device look unlisted: it would then be disconnected
 * under live swap.
 */
static void test_swaps_refuses_what_it_does_not_know(void **state)
{
	struct swap_list list;
	struct errbuf e = { 0 };

	assert_int_equal(swaps(SWAPS_HEADER "/dev/nbd0 partition 524284\n", &list, &e), -1);
	assert_non_null(strstr(e.text, "not understood"));
	assert_int_equal(swaps("Name Size\n/dev/nbd0 partition 5 5 5\n", &list, &e), -1);
	assert_non_null(strstr(e.text, "header"));
}

#define TCP_HEADER                                                                                             \
	"  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
#define TCP_LINE(lport, rem, st, retr, inode)                                                                  \
	"   0: 0F02000A:" lport " " rem " " st " 00000000:00000000 00:00000000 " retr "     0        0 " inode \
	" 1 ffff8881 20 4 30 10 -1\n"

static void test_link(void **state)
{
	struct conn_list before = { 0 }, after = { 0 }, six = { 0 };
	const struct tcp_conn *c;
	FILE *f = text_stream(TCP_HEADER TCP_LINE("8F2C", "0202000A:2A39", "01", "00000000", "100")
				      TCP_LINE("8F2D", "0202000A:0016", "01", "00000000", "101"));

	link_parse(f, false, 10809, &before);
	fclose(f);
	assert_int_equal(before.count, 1); /* port 22 is left out */
	f = text_stream(TCP_HEADER TCP_LINE("8F2C", "0202000A:2A39", "01", "00000000", "100")
				TCP_LINE("8F2E", "0202000A:2A39", "06", "00000000", "0")
					TCP_LINE("8F2F", "0202000A:2A39", "01", "00000003", "102"));
	link_parse(f, false, 10809, &after);
	fclose(f);
	c = link_new(&before, &after);
	assert_non_null(c);
	assert_int_equal(c->inode, 102);
	assert_int_equal(c->local_port, 0x8f2f);
	assert_int_equal(c->retransmits, 3);
	assert_null(link_new(&after, &after));

	/* Two new ones: which of them is the device's cannot be told. */
	before.count = 0;
	assert_null(link_new(&before, &after));

	f = text_stream(TCP_HEADER "   0: 00000000000000000000000001000000:8F2C "
				   "000080FE000000000000000001000000:2A39 01 "
				   "00000000:00000000 00:00000000 00000000     0        0 103 1 ffff 20 4 30 "
				   "10 -1\n");
	link_parse(f, true, 10809, &six);
	fclose(f);
	assert_int_equal(six.count, 1);
	assert_int_equal(six.conns[0].inode, 103);
	assert_int_equal(six.conns[0].remote.s6_addr[0], 0xfe);
	assert_int_equal(six.conns[0].remote.s6_addr[15], 1);
}

static int tab(const char *text, struct swaptab *out, struct errbuf *e)
{
	FILE *f = text_stream(text);
	int rc = swaptab_parse(f, "swaptab", out, e);

	fclose(f);
	return rc;
}

static void bad_tab(const char *text, const char *where, const char *reason)
{
	static struct swaptab t;
	struct errbuf e = { 0 };

	assert_int_equal(tab(text, &t, &e), -1);
	if (strncmp(e.text, where, strlen(where)) != 0 || !strstr(e.text, reason))
		fail_msg("\"%s\" does not begin with \"%s\" or does not say \"%s\"", e.text, where, reason);
}

static void test_swaptab(void **state)
{
	static struct swaptab t;
	struct errbuf e = { 0 };

	assert_int_equal(tab("", &t, NULL), 0);
	assert_int_equal(t.count, 0);
	if (tab("# comment\n\n   \nnbd://a/x\n\tnbd://b:9/y  server=c,server=[::1]:7,pri=7,discard=pages,label=L,device=/dev/nbd3,"
		"dead-link-timeout=60 # why\nnbd://c/z defaults",
		&t, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(t.count, 3);
	assert_string_equal(t.entries[0].uri.text, "nbd://a:10809/x");
	assert_int_equal(t.entries[0].line, 4);
	assert_int_equal(t.entries[0].priority, PRIORITY_KERNEL);
	assert_int_equal(t.entries[0].discard, DISCARD_AUTO);
	assert_int_equal(t.entries[1].line, 5);
	assert_int_equal(t.entries[1].priority, 7);
	assert_int_equal(t.entries[1].nservers, 2);
	assert_string_equal(t.entries[1].servers[0].host, "c");
	assert_string_equal(t.entries[1].servers[0].port, "10809");
	assert_string_equal(t.entries[1].servers[1].host, "::1");
	assert_string_equal(t.entries[1].servers[1].port, "7");
	assert_int_equal(t.entries[1].discard, DISCARD_PAGES);
	assert_string_equal(t.entries[1].label, "L");
	assert_string_equal(t.entries[1].device, "nbd3");
	assert_int_equal(t.entries[1].dead_link_timeout, 60);
	assert_int_equal(t.entries[2].line, 6);
}

static void test_swaptab_errors(void **state)
{
	char text[4096];

	bad_tab("nbd://a/x\nbogus\n", "swaptab:2: ", "not an address");
	bad_tab("nbd+unix:///x?socket=/s\n", "swaptab:1: ", "cannot swap to itself");
	bad_tab("nbd://a/x pri\n", "swaptab:1: ", "lacks its =VALUE");
	bad_tab("nbd://a/x pri=\n", "swaptab:1: ", "has no value");
	bad_tab("nbd://a/x pri=32768\n", "swaptab:1: ", "0 to 32767");
	bad_tab("nbd://a/x pri=-1\n", "swaptab:1: ", "0 to 32767");
	bad_tab("nbd://a/x discard=some\n", "swaptab:1: ", "use auto, none");
	bad_tab("nbd://a/x sw=1\n", "swaptab:1: ", "not known");
	bad_tab("nbd://a/x device=sda\n", "swaptab:1: ", "not an nbd device");
	bad_tab("nbd://a/x device=nbd1\nnbd://a/y device=/dev/nbd1\n", "swaptab:2: ", "taken by line 1");
	bad_tab("nbd://a/x dead-link-timeout=0\n", "swaptab:1: ", "number of seconds");
	bad_tab("nbd://a/x dead-link-timeout=99999999999999999999\n", "swaptab:1: ", "number of seconds");
	bad_tab("nbd://a/x server=b/c\n", "swaptab:1: ", "give HOST");
	bad_tab("nbd://a/x server=b,server=c,server=d,server=e,server=f\n", "swaptab:1: ", "more than 4 times");
	bad_tab("nbd://a/x label=1234567890123456\n", "swaptab:1: ", "more than 15 bytes");
	bad_tab("nbd://a/x pri=1 discard=none\n", "swaptab:1: ", "without blanks");
	bad_tab("\n\nnbd://a/x\nnbd://a:10809/x\n", "swaptab:4: ", "already on line 3");
	memset(text, 'x', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	bad_tab(text, "swaptab:1: ", "longer than");
}

static void swaps_of(struct swap_list *l, const char *names)
{
	memset(l, 0, sizeof(*l));
	for (; *names; names++)
		snprintf(l->entries[l->count++].path, sizeof(l->entries[0].path), "/dev/%c", *names);
}

static int type_of(const char *before, const char *after)
{
	struct swap_list b, a;

	swaps_of(&b, before);
	swaps_of(&a, after);
	return swap_type_of_new(&b, &a, "/dev/n");
}

static void test_swap_type(void **state)
{
	assert_int_equal(type_of("", "n"), 0);
	assert_int_equal(type_of("ab", "abn"), 2);
	assert_int_equal(type_of("abc", "anbc"), 1); /* into a gap: all below it are there */
	assert_int_equal(type_of("ab", "an"), SWAP_TYPE_UNKNOWN);
	assert_int_equal(type_of("a", "abn"), SWAP_TYPE_UNKNOWN);
	assert_int_equal(type_of("ab", "ban"), SWAP_TYPE_UNKNOWN);
	assert_int_equal(type_of("a", "a"), SWAP_TYPE_UNKNOWN);
}

static void test_page_table_entries(void **state)
{
	static const uint64_t entries[] = {
		0, UINT64_C(1) << 63, /* in memory */
		UINT64_C(1) << 62 | 1, UINT64_C(1) << 62 | 7 << 5 | 1, /* two pages of type 1, */
		UINT64_C(1) << 62 | 7 << 5, /* one of type 0, */
		UINT64_C(1) << 63 | UINT64_C(1) << 62 | 1, /* and what cannot be */
	};

	assert_int_equal(holders_count_entries(entries, 6, 1), 2);
	assert_int_equal(holders_count_entries(entries, 6, 0), 1);
	assert_int_equal(holders_count_entries(entries, 6, 2), 0);
}

static void test_kernels_that_mark_lost_pages(void **state)
{
	assert_false(kernel_marks_lost_pages("5.10.0-28-amd64"));
	assert_false(kernel_marks_lost_pages("5.18.19"));
	assert_true(kernel_marks_lost_pages("5.19.0"));
	assert_true(kernel_marks_lost_pages("6.1.0-30-amd64"));
	assert_false(kernel_marks_lost_pages("linux"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_swaps),
		cmocka_unit_test(test_swaps_refuses_what_it_does_not_know),
		cmocka_unit_test(test_link),
		cmocka_unit_test(test_swap_type),
		cmocka_unit_test(test_page_table_entries),
		cmocka_unit_test(test_kernels_that_mark_lost_pages),
		cmocka_unit_test(test_swaptab),
		cmocka_unit_test(test_swaptab_errors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
