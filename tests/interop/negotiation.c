/* SPDX-License-Identifier: BSD-3-Clause */
/* Cases of negotiation: what is answered, what is declined, what ends the connection. */
#include "config.h"

#include "tests/interop/wire.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void bye(struct conn *c)
{
	request(c, 0, CMD_DISC, 0, 0, 0);
	closed(c, "DISC");
}

static uint32_t error_of(struct conn *c, uint32_t opt, const void *data, uint32_t length)
{
	struct option_reply r;

	option(c, opt, data, length);
	option_reply(c, opt, &r);
	return r.type;
}

/* As a server may answer what it does not want: the connection lives on, and can still be used. */
static void goes_on(struct conn *c)
{
	uint32_t r = go(c, OPT_GO, export_name);

	check(r == REP_ACK, "GO is refused afterwards: error %u", r & 0x7fffffff);
	works(c);
	bye(c);
}

static void start(struct conn *c)
{
	dial(c);
	greet(c, 3);
}

static void go_tells_all(void)
{
	struct conn c;

	attach(&c, export_name);
	check(c.size >= 16 << 20 && c.size % 4096 == 0, "a size of %llu", (unsigned long long)c.size);
	check(c.flags & 1, "the flags are not told to be flags");
	check(c.min == 4096 && c.preferred >= 4096 && c.preferred % c.min == 0, "block sizes %u, %u", c.min, c.preferred);
	check(c.max >= 128 << 10 && c.max % c.min == 0, "a largest request of %u", c.max);
	check((c.flags & (T_FLUSH | T_FUA | T_TRIM | T_ZEROES | T_MULTI_CONN)) == (T_FLUSH | T_FUA | T_TRIM | T_ZEROES | T_MULTI_CONN),
	      "flags 0x%x", c.flags);
	check(!(c.flags & (T_READ_ONLY | 16)), "read-only or rotational: flags 0x%x", c.flags);
	works(&c);
	bye(&c);
}

static void info_then_go(void)
{
	struct conn c;

	start(&c);
	for (int i = 0; i < 3; i++)
		check(go(&c, OPT_INFO, export_name) == REP_ACK, "INFO is refused");
	goes_on(&c);
}

static void old_style(uint32_t flags)
{
	struct conn c;
	unsigned char answer[10], zeroes[124];
	uint16_t server;

	dial(&c);
	server = greet(&c, flags);
	option(&c, OPT_EXPORT_NAME, export_name, (uint32_t)strlen(export_name));
	get(&c, answer, sizeof(answer));
	check(answer[0] == 0 && answer[9] & 1, "not a size and flags");
	if (!(flags & 2) || !(server & 2)) {
		get(&c, zeroes, sizeof(zeroes));
		for (size_t i = 0; i < sizeof(zeroes); i++)
			check(zeroes[i] == 0, "the 124 zeroes are not zero");
	}
	works(&c);
	bye(&c);
}

static void export_name_old_style(void)
{
	old_style(3);
	old_style(1);
}

static void export_name_unknown(void)
{
	struct conn c;

	start(&c);
	option(&c, OPT_EXPORT_NAME, "no-such-export", 14);
	closed(&c, "EXPORT_NAME of an export that is not there");
	server_works();
}

static void go_unknown(void)
{
	static const char *const names[] = { "no-such-export", "../ws1", "a/b", "ws1?colour=red", "ws1?client=", "\xff\xfe", "ws1\n" };
	struct conn c;

	start(&c);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		uint32_t r = go(&c, OPT_INFO, names[i]);

		check(r == REP_ERR(ERR_UNKNOWN) || r == REP_ERR(ERR_INVALID) || r == REP_ERR(ERR_POLICY),
		      "INFO of \"%s\" gives %u", names[i], r & 0x7fffffff);
		r = go(&c, OPT_GO, names[i]);
		check(r == REP_ERR(ERR_UNKNOWN) || r == REP_ERR(ERR_INVALID) || r == REP_ERR(ERR_POLICY),
		      "GO of \"%s\" gives %u", names[i], r & 0x7fffffff);
	}
	goes_on(&c);
}

static void long_name(void)
{
	static char name[4097];
	struct conn c;
	uint32_t r;

	memset(name, 'n', 4096);
	start(&c);
	r = go(&c, OPT_GO, name);
	check(r != REP_ACK, "an export with a name of 4096 bytes is served");
	goes_on(&c);
}

static void list(void)
{
	struct conn c;
	struct option_reply r;
	size_t want = strcspn(export_name, "?");
	int seen = 0;

	start(&c);
	option(&c, OPT_LIST, NULL, 0);
	for (;;) {
		option_reply(&c, OPT_LIST, &r);
		if (r.type != REP_SERVER)
			break;
		check(r.length >= 4, "an entry of %u bytes", r.length);
		if (r.data[3] == want && memcmp(r.data + 4, export_name, want) == 0)
			seen++;
	}
	check(r.type == REP_ACK, "the list ends with error %u", r.type & 0x7fffffff);
	check(seen == 1, "the export is listed %d times", seen);
	check(error_of(&c, OPT_LIST, "x", 1) == REP_ERR(ERR_INVALID), "LIST with data");
	goes_on(&c);
}

static uint32_t read_4096(uint64_t cookie)
{
	return 4096;
}

/* Declined, or granted and then kept to. */
static void structured_replies(void)
{
	struct conn c;
	unsigned char buf[8192];
	uint64_t cookie;
	uint32_t r;

	start(&c);
	r = error_of(&c, OPT_STRUCTURED, NULL, 0);
	check(r == REP_ACK || r == REP_ERR(ERR_UNSUP) || r == REP_ERR(ERR_POLICY), "STRUCTURED_REPLY gives %u", r & 0x7fffffff);
	c.structured = r == REP_ACK;
	printf("structured replies are %s\n", c.structured ? "granted" : "declined");
	check(go(&c, OPT_GO, export_name) == REP_ACK, "GO is refused");
	if (!c.structured)
		check(!(c.flags & 128), "SEND_DF without structured replies");
	write_seed(&c, 77, 0, 8192);
	request(&c, 0, CMD_READ, 5, 0, 4096);
	check(reply(&c, &cookie, buf, read_4096) == 0 && cookie == 5, "a read fails");
	check(is_seed(buf, 77, 0, 4096), "a read gives other content");
	bye(&c);
}

static void starttls(void)
{
	struct conn c;
	uint32_t r;

	start(&c);
	r = error_of(&c, OPT_STARTTLS, NULL, 0);
	check(r == REP_ERR(ERR_UNSUP) || r == REP_ERR(ERR_POLICY), "STARTTLS gives %u", r & 0x7fffffff);
	goes_on(&c);
}

static void unknown_options(void)
{
	static const uint32_t numbers[] = { 4, 11, 12, 99, 0x7fffffff, 0xffffffff, 0 };
	char data[300] = "data of an option that nobody knows";
	struct conn c;

	start(&c);
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
		uint32_t r = error_of(&c, numbers[i], data, i % 2 ? sizeof(data) : 0);

		check(r == REP_ERR(ERR_UNSUP) || r == REP_ERR(ERR_INVALID), "option %u gives %u", numbers[i], r & 0x7fffffff);
	}
	goes_on(&c);
}

static void meta_context(void)
{
	unsigned char data[512] = { 0 };
	size_t name = strlen(export_name), n;
	struct conn c;
	uint32_t r;

	/* name, 1 query: base:allocation */
	data[3] = (unsigned char)name;
	memcpy(data + 4, export_name, name);
	n = 4 + name;
	data[n + 3] = 1;
	data[n + 7] = 15;
	memcpy(data + n + 8, "base:allocation", 15);
	n += 23;
	start(&c);
	r = error_of(&c, OPT_SET_META, data, (uint32_t)n); /* structured replies were not asked for */
	check(r == REP_ERR(ERR_UNSUP) || r == REP_ERR(ERR_INVALID), "SET_META_CONTEXT gives %u", r & 0x7fffffff);
	goes_on(&c);
}

static void abort_acknowledged(void)
{
	struct conn c;

	start(&c);
	check(error_of(&c, OPT_ABORT, NULL, 0) == REP_ACK, "ABORT is not acknowledged");
	closed(&c, "ABORT");
	server_works();
}

static void wrong_magic(void)
{
	struct conn c;

	start(&c);
	put(&c, "IHAVEOPX\0\0\0\7\0\0\0\0", 16);
	closed(&c, "an option without its magic");
	dial(&c);
	greet(&c, 3);
	put(&c, "GET / HTTP/1.1\r\nHost: swap\r\n\r\n", 30);
	closed(&c, "a request of another protocol");
	server_works();
}

/* Refused, or closed: but no waiting for all that data, and nobody else is disturbed. */
static void oversized_option(void)
{
	static const uint32_t lengths[] = { 1 << 20, 0x7fffffff, 0xffffffff };
	static char data[1 << 20];

	for (size_t i = 0; i < 3; i++) {
		struct conn c;
		char header[16];

		start(&c);
		put(&c, header, option_bytes(header, OPT_INFO, NULL, lengths[i]));
		for (int n = 0; n < 1 && i == 0; n++)
			send(c.fd, data, sizeof(data), MSG_NOSIGNAL); /* it may be closed meanwhile */
		if (is_closed(&c)) {
			hang_up(&c);
		} else {
			struct option_reply r;

			option_reply(&c, OPT_INFO, &r);
			check(r.type == REP_ERR(ERR_TOO_BIG) || r.type == REP_ERR(ERR_INVALID), "%u bytes give %u", lengths[i],
			      r.type & 0x7fffffff);
			hang_up(&c);
		}
		server_works();
	}
}

static void unknown_client_flags(void)
{
	struct conn c;

	start(&c);
	hang_up(&c);
	dial(&c);
	greet(&c, 0x80000003);
	closed(&c, "client flags that nobody knows");
	server_works();
}

static void broken_go(void)
{
	static const struct {
		const char *what;
		unsigned char data[16];
		uint32_t length;
	} broken[] = {
		{ "nothing", { 0 }, 0 },
		{ "half a length", { 0, 0 }, 2 },
		{ "a name longer than the data", { 0, 0, 0, 200, 'w', 's', 0, 0 }, 8 },
		{ "a name of 4 GiB", { 255, 255, 255, 255, 'w', 's', 0, 0 }, 8 },
		{ "no number of informations", { 0, 0, 0, 2, 'w', 's' }, 6 },
		{ "more informations than there are", { 0, 0, 0, 2, 'w', 's', 0, 9, 0, 3 }, 10 },
		{ "something behind it", { 0, 0, 0, 2, 'w', 's', 0, 0, 1, 2, 3 }, 11 },
	};

	for (size_t i = 0; i < sizeof(broken) / sizeof(broken[0]); i++) {
		struct conn c;
		uint32_t r;

		start(&c);
		option(&c, OPT_GO, broken[i].data, broken[i].length);
		if (is_closed(&c)) {
			hang_up(&c);
		} else {
			struct option_reply answer;

			option_reply(&c, OPT_GO, &answer);
			r = answer.type;
			check(r == REP_ERR(ERR_INVALID), "GO with %s gives %u", broken[i].what, r & 0x7fffffff);
			goes_on(&c);
		}
	}
	server_works();
}

static void byte_by_byte(void)
{
	struct conn c;
	unsigned char bytes[1024], data[512];
	size_t n;
	struct option_reply r;

	start(&c);
	n = option_bytes(bytes, OPT_GO, data, (uint32_t)go_data(data, export_name));
	for (size_t i = 0; i < n; i++)
		put(&c, bytes + i, 1);
	do
		option_reply(&c, OPT_GO, &r);
	while (r.type == REP_INFO);
	check(r.type == REP_ACK, "GO is refused");
	works(&c);
	bye(&c);
}

static uint32_t hasty_length(uint64_t cookie)
{
	return cookie == 2 ? 4096 : 0;
}

/* Client flags, INFO, GO and requests with data in one packet, before anything was answered. */
static void all_at_once(void)
{
	struct conn c;
	static char out[16384], data[512], buf[4096];
	size_t n = 4;
	struct option_reply r;
	uint64_t cookie = 0;
	char hello[18];

	dial(&c);
	memcpy(out, "\0\0\0\3", 4);
	n += option_bytes(out + n, OPT_INFO, data, (uint32_t)go_data(data, export_name));
	n += option_bytes(out + n, OPT_GO, data, (uint32_t)go_data(data, export_name));
	n += request_bytes(out + n, 0, CMD_WRITE, 1, 4096, 4096);
	fill(out + n, 88, 4096, 4096);
	n += 4096;
	put(&c, out, n);
	get(&c, hello, sizeof(hello));
	for (uint32_t opt = OPT_INFO; opt <= OPT_GO; opt++) {
		do
			option_reply(&c, opt, &r);
		while (r.type == REP_INFO);
		check(r.type == REP_ACK, "refused");
	}
	check(reply(&c, &cookie, buf, hasty_length) == 0 && cookie == 1, "the write fails");
	request(&c, 0, CMD_READ, 2, 4096, 4096);
	check(reply(&c, &cookie, buf, hasty_length) == 0 && cookie == 2, "the read fails");
	check(is_seed(buf, 88, 4096, 4096), "not what was written");
	bye(&c);
}

static void silent_clients(void)
{
	struct conn silent[24];

	for (int i = 0; i < 24; i++) {
		dial(&silent[i]);
		if (i % 3)
			greet(&silent[i], 3);
		if (i % 3 == 2)
			put(&silent[i], "IHAVEOPT\0\0", 10);
	}
	server_works();
	for (int i = 0; i < 24; i++)
		hang_up_reset(&silent[i]);
	server_works();
}

static void gone_in_negotiation(void)
{
	char bytes[1024], data[512];
	size_t n = option_bytes(bytes, OPT_GO, data, (uint32_t)go_data(data, export_name));
	struct conn c;

	for (size_t cut = 0; cut <= n; cut += 5) {
		start(&c);
		put(&c, bytes, cut);
		if (cut % 2)
			hang_up(&c);
		else
			hang_up_reset(&c);
	}
	server_works();
}

const struct wire_case negotiation_cases[] = {
	{ "go-tells-size-flags-and-block-sizes", go_tells_all },
	{ "info-then-go", info_then_go },
	{ "export-name-old-style", export_name_old_style },
	{ "export-name-of-an-unknown-export-is-closed", export_name_unknown },
	{ "go-of-a-bad-name-is-refused", go_unknown },
	{ "go-of-a-name-too-long-is-refused", long_name },
	{ "list", list },
	{ "structured-replies-declined-or-right", structured_replies },
	{ "starttls-declined", starttls },
	{ "unknown-options-unsupported", unknown_options },
	{ "meta-context-declined", meta_context },
	{ "abort-acknowledged", abort_acknowledged },
	{ "wrong-option-magic-is-closed", wrong_magic },
	{ "oversized-option-refused", oversized_option },
	{ "unknown-client-flags-are-closed", unknown_client_flags },
	{ "broken-go-is-invalid", broken_go },
	{ "negotiation-byte-by-byte", byte_by_byte },
	{ "negotiation-and-requests-in-one-packet", all_at_once },
	{ "silent-clients-keep-nobody-out", silent_clients },
	{ "clients-gone-in-negotiation", gone_in_negotiation },
	{ NULL, NULL },
};
