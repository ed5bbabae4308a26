/* SPDX-License-Identifier: BSD-3-Clause */
/* What a client sends before it may use an export.  The first byte says in which pieces it comes, the second what the owner of the exports does (as
 * in prepare()), the rest is the client's stream.  The same stream in single bytes must come to the same end; where it ends is found once more
 * by counting; and what is answered must be replies as the protocol has them, one final one to each option.
 */
#include "config.h"

#include "tests/engine/talk.h"
#include "tests/fuzz/fuzz.h"

#include "common/utf8.h"
#include "server/engine/negotiate.h"
#include "server/engine/sessmem.h"

#include <stdlib.h>
#include <string.h>

#define SOCK 5

struct course {
	struct owner owner;
	struct negotiation n;
	enum negotiate_state state;
	size_t taken;
	size_t out_bytes;
	unsigned char out[4 << 20];
};

static struct course once, singly;

static void prepare(struct owner *o, uint8_t how, size_t size)
{
	static const unsigned lengths[] = { 0, 3, 40, 200 };

	owner_init(o);
	o->listed = lengths[how & 3];
	if (size > 4096 && o->listed > 40) /* all that is answered has to fit */
		o->listed = 40;
	o->list_fails = how & 4;
	o->vanish = how & 8 ? 2 : 0;
	o->refusal = how & 16 ? "no, \xc3\nnot now" : NULL;
}

static void hold(struct course *c, const uint8_t *data, size_t size, size_t piece)
{
	static const struct peer who = { .address = "192.0.2.1:1", .sock = -1 };
	size_t left = size, room, bytes;
	const char *told;

	c->out_bytes = 0;
	negotiate_start(&c->n, &c->owner.ops, &who, SOCK);
	for (;;) {
		const void *out = negotiate_output(&c->n, &bytes);
		void *to = negotiate_room(&c->n, &room);

		told = negotiate_told(&c->n);
		if (told)
			promise_text(told, sizeof(c->n.said.text));
		if (bytes) {
			promise(room == 0, "%zu bytes are wanted before the answers are sent", room);
			promise(negotiate_state(&c->n) == NEGOTIATE_GOES_ON, "it is over before the answers are sent");
			if (bytes > piece)
				bytes = piece;
			promise(bytes <= sizeof(c->out) - c->out_bytes, "far too much is answered");
			memcpy(c->out + c->out_bytes, out, bytes);
			c->out_bytes += bytes;
			negotiate_sent(&c->n, bytes);
			continue;
		}
		if (negotiate_state(&c->n) != NEGOTIATE_GOES_ON || left == 0)
			break;
		promise(room > 0, "it neither wants nor has anything");
		promise(room <= sizeof(c->n.in), "more is wanted than there is room for");
		bytes = room < piece ? room : piece;
		if (bytes > left)
			bytes = left;
		memcpy(to, data + (size - left), bytes);
		left -= bytes;
		negotiate_received(&c->n, bytes);
	}
	c->state = negotiate_state(&c->n);
	c->taken = size - left;
}

/* Where the options end that were completed, without a look at what they say. */
static size_t end_of_options(const uint8_t *data, unsigned completed)
{
	size_t at = 4;

	for (unsigned i = 0; i < completed; i++) {
		struct nbd_option o;

		memcpy(&o, data + at, sizeof(o));
		at += sizeof(o) + be32toh(o.length);
	}
	return at;
}

static void check_text(const unsigned char *data, size_t bytes)
{
	char text[NBD_STRING_MAX + 1];

	promise(bytes <= NBD_STRING_MAX, "a string of %zu bytes", bytes);
	memcpy(text, data, bytes);
	text[bytes] = '\0';
	promise(utf8_span(text) == bytes, "a string that is not UTF-8");
	for (size_t i = 0; i < bytes; i++)
		promise((unsigned char)text[i] >= ' ', "a control character in a string");
}

static void check_info(const struct answer *x)
{
	promise(x->option == NBD_OPT_INFO || x->option == NBD_OPT_GO, "information on option %u", x->option);
	promise(x->bytes >= 2, "information without a type");
	switch (answer_u16(x, 0)) {
	case NBD_INFO_EXPORT:
		promise(x->bytes == 12 && answer_u64(x, 2) == OWNER_SIZE && answer_u16(x, 10) & NBD_FLAG_HAS_FLAGS, "a wrong export");
		break;
	case NBD_INFO_NAME:
	case NBD_INFO_DESCRIPTION:
		check_text(x->data + 2, x->bytes - 2);
		break;
	case NBD_INFO_BLOCK_SIZE:
		promise(x->bytes == 14 && answer_u32(x, 2) == 4096 && answer_u32(x, 10) == 256 << 10, "wrong sizes");
		break;
	default:
		promise(false, "information of an unknown type");
	}
}

/* Counts the final replies. */
static unsigned check_replies(struct answers *a)
{
	unsigned finals = 0;
	bool exported = false;
	struct answer x;

	while (a->left) {
		promise(answers_next(a, &x), "no reply where one should begin, %zu bytes before the end", a->left);
		if (x.type == NBD_REP_INFO) {
			check_info(&x);
			exported = exported || answer_u16(&x, 0) == NBD_INFO_EXPORT;
		} else if (x.type == NBD_REP_SERVER) {
			promise(x.option == NBD_OPT_LIST && x.bytes >= 4 && answer_u32(&x, 0) <= x.bytes - 4, "a bad entry of a list");
			check_text(x.data + 4, answer_u32(&x, 0));
		} else {
			promise(x.type == NBD_REP_ACK || x.type & NBD_REP_FLAG_ERROR, "a reply of type %u", x.type);
			if (x.type == NBD_REP_ACK)
				promise(x.bytes == 0, "ACK with data");
			else
				check_text(x.data, x.bytes);
			if (x.type == NBD_REP_ACK && (x.option == NBD_OPT_INFO || x.option == NBD_OPT_GO))
				promise(exported, "success without the export's information");
			exported = false;
			finals++;
		}
	}
	return finals;
}

static void check_course(const struct course *c, const uint8_t *data, size_t size)
{
	struct answers a = { .at = c->out, .left = c->out_bytes };
	bool by_name = c->n.completed && c->n.option == NBD_OPT_EXPORT_NAME && c->state != NEGOTIATE_GOES_ON;
	unsigned finals;

	promise(answers_greeting(&a), "no greeting");
	promise(c->owner.opened - c->owner.closed == (c->state == NEGOTIATE_BEGIN), "a session is open that nobody has, or the other way round");
	promise(c->owner.live == (c->state == NEGOTIATE_BEGIN), "%u sessions for use", c->owner.live);
	finals = check_replies(&a);
	if (c->state == NEGOTIATE_BEGIN) {
		size_t bytes;
		const void *answer = negotiate_answer(&c->n, &bytes);

		promise(c->taken == end_of_options(data, c->n.completed), "%zu bytes were taken", c->taken);
		promise(bytes <= SESSMEM_PREAMBLE, "an answer of %zu bytes", bytes);
		a = (struct answers){ .at = answer, .left = bytes };
		if (by_name)
			promise(bytes == 10 || bytes == 134, "an answer of %zu bytes", bytes);
		else
			finals += check_replies(&a);
	}
	if (c->state == NEGOTIATE_GOES_ON)
		promise(c->taken == size, "it goes on, and leaves something over");
	/* An option that nothing can be said to ends it. */
	promise(finals + by_name == c->n.completed || (c->state == NEGOTIATE_END && finals == c->n.completed),
		"%u options, %u final replies", c->n.completed, finals);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 2 || size > 16 << 10)
		return 0;
	prepare(&once.owner, data[1], size);
	prepare(&singly.owner, data[1], size);
	hold(&once, data + 2, size - 2, 1 + (size_t)data[0] * 67);
	hold(&singly, data + 2, size - 2, 1);
	check_course(&once, data + 2, size - 2);
	promise(once.state == singly.state && once.taken == singly.taken, "in single bytes it ends differently");
	promise(once.out_bytes == singly.out_bytes && memcmp(once.out, singly.out, once.out_bytes) == 0, "single bytes are answered differently");
	return 0;
}

/* ---- seeds ---- */

static struct talk talk;

static void begin_seed(uint8_t pieces, uint8_t how, uint32_t flags)
{
	const uint8_t head[2] = { pieces, how };

	talk.count = 0;
	talk_bytes(&talk, head, sizeof(head));
	talk_u32(&talk, flags);
}

void make_seeds(const char *dir)
{
	static const uint16_t infos[] = { NBD_INFO_EXPORT, NBD_INFO_NAME, NBD_INFO_DESCRIPTION, NBD_INFO_BLOCK_SIZE };
	static const unsigned char junk[5000];

	begin_seed(255, 1, NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES);
	talk_option(&talk, NBD_OPT_STRUCTURED_REPLY, NULL, 0);
	talk_option(&talk, NBD_OPT_LIST, NULL, 0);
	talk_go(&talk, NBD_OPT_INFO, "ws0001?client=a&slot=0/1", infos, 4);
	talk_go(&talk, NBD_OPT_GO, "ws1", infos, 4);
	talk_bytes(&talk, "behind", 6);
	seed(dir, "go", talk.bytes, talk.count);

	begin_seed(0, 0, NBD_FLAG_C_NO_ZEROES);
	talk_option(&talk, NBD_OPT_EXPORT_NAME, "wsro", 4);
	seed(dir, "export-name", talk.bytes, talk.count);

	begin_seed(3, 2 | 8, NBD_FLAG_C_FIXED_NEWSTYLE);
	talk_option(&talk, NBD_OPT_LIST, NULL, 0);
	talk_option(&talk, NBD_OPT_LIST, "x", 1);
	talk_option(&talk, NBD_OPT_STARTTLS, NULL, 0);
	talk_option(&talk, NBD_OPT_SET_META_CONTEXT, "\0\0\0\2ws\0\0\0\0", 10);
	talk_option(&talk, NBD_OPT_EXTENDED_HEADERS, NULL, 0);
	talk_go(&talk, NBD_OPT_GO, "none\xc3", NULL, 0);
	talk_go(&talk, NBD_OPT_GO, "ws1?client=", NULL, 0);
	talk_option(&talk, NBD_OPT_EXPORT_NAME, "none", 4);
	seed(dir, "refused", talk.bytes, talk.count);

	begin_seed(99, 3, NBD_FLAG_C_FIXED_NEWSTYLE);
	talk_option(&talk, NBD_OPT_LIST, NULL, 0);
	talk_option(&talk, NBD_OPT_GO, junk, 4608);
	talk_option(&talk, NBD_OPT_GO, junk, 4609);
	talk_option(&talk, NBD_OPT_ABORT, NULL, 0);
	seed(dir, "large", talk.bytes, talk.count);
}
