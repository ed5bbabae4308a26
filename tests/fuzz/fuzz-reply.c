/* SPDX-License-Identifier: BSD-3-Clause */
/* What a server says to a client that negotiates.  The first byte says in which pieces it comes, the rest is
 * the server's stream.  The same stream in single bytes must come to the same end; whether and where a server
 * agrees is found once more, from the whole of the stream; what is agreed must be what was said; texts must
 * be printable; and a comparison must find exactly itself the same.
 */
#include "config.h"

#include "tests/client/serverwords.h"
#include "tests/fuzz/fuzz.h"

#include "client/exportsame.h"
#include "common/utf8.h"

#include <endian.h>
#include <errno.h>
#include <string.h>

#define NAME "ws1?gen=5&lease=2&client=a&slot=0/1"

static struct talk stream;

struct course {
	struct nego n;
	struct fed fed;
	enum nego_state state;
};

static struct course once, singly;

static void check_text(const char *text, size_t size)
{
	promise(memchr(text, '\0', size), "a text without an end");
	promise(utf8_span(text) == strlen(text), "a text that is not UTF-8");
	for (const unsigned char *p = (const unsigned char *)text; *p; p++)
		promise(*p >= ' ' && *p != 0x7f && !(p[0] == 0xc2 && p[1] < 0xa0),
			"a control character in a text");
}

/* May information of this kind and length stand here? */
static bool is_sound(const unsigned char *data, uint32_t bytes, struct nbd_info_export *export,
		     bool *exported)
{
	if (bytes < 2 || bytes > NEGO_DATA_MAX)
		return false;
	if (data[0] == 0 && data[1] == NBD_INFO_BLOCK_SIZE)
		return bytes == sizeof(struct nbd_info_block_size);
	if (data[0] || data[1] != NBD_INFO_EXPORT)
		return true;
	if (bytes != sizeof(*export) || *exported)
		return false;
	memcpy(export, data, sizeof(*export));
	*exported = true;
	return be16toh(export->flags) & NBD_FLAG_HAS_FLAGS;
}

/* Is the stream that of a server which agrees?  Then *end is where it has done so. */
static bool agrees(const struct talk *t, struct nbd_info_export *export, size_t *end)
{
	static const uint64_t greeting[] = { NBD_MAGIC, NBD_OPTION_MAGIC };
	size_t at = sizeof(struct nbd_greeting);
	struct nbd_option_reply r;
	bool exported = false;

	for (int i = 0; i < 16; i++)
		if (t->count < at || t->bytes[i] != (uint8_t)(greeting[i / 8] >> (56 - i % 8 * 8)))
			return false;
	if (!(t->bytes[17] & NBD_FLAG_FIXED_NEWSTYLE))
		return false;
	for (unsigned i = 0; i <= NEGO_REPLIES_MAX && t->count - at >= sizeof(r); i++) {
		memcpy(&r, t->bytes + at, sizeof(r));
		at += sizeof(r);
		*end = at;
		if (be64toh(r.magic) != NBD_OPTION_REPLY_MAGIC || be32toh(r.option) != NBD_OPT_GO)
			return false;
		if (be32toh(r.reply) == NBD_REP_ACK)
			return exported && r.length == 0;
		if (be32toh(r.reply) != NBD_REP_INFO || be32toh(r.length) > t->count - at ||
		    !is_sound(t->bytes + at, be32toh(r.length), export, &exported))
			return false;
		at += be32toh(r.length);
	}
	return false;
}

static void check_same(const struct nego_export *x)
{
	struct export_expected want = { .size = x->size,
					.flags = x->flags,
					.has_generation = x->generation_told,
					.generation = x->generation };
	struct nego_export other = *x;
	struct errbuf e = { .code = 0 };

	promise((export_same(x, &want, &e) == 0) == (x->block_min <= 4096), "it differs from itself: %s",
		e.text);
	want.size++;
	promise(export_same(x, &want, &e) < 0 && e.code == EMEDIUMTYPE, "another size makes no difference");
	promise_text(e.text, sizeof(e.text));
	want.size--;
	other.generation.lease++;
	promise(!x->generation_told || (export_same(&other, &want, &e) < 0 && e.code == ESTALE),
		"another lease makes no difference");
}

static void check_agreed(const struct course *c)
{
	const struct nego_export *x = nego_export(&c->n);
	struct nbd_info_export said = { .size = 0 };

	size_t end = 0;

	promise(agrees(&stream, &said, &end), "it agreed to what it should not");
	promise(c->fed.taken == end, "%zu bytes were taken, and not %zu", c->fed.taken, end);
	promise(x->size == be64toh(said.size) && x->flags == be16toh(said.flags) &&
			x->flags & NBD_FLAG_HAS_FLAGS,
		"another export than was said");
	promise(!x->block_min == !x->block_max && x->block_min <= x->block_preferred &&
			x->block_preferred <= x->block_max,
		"wrong block sizes");
	promise(!x->generation_told || x->generation.activation, "no generation");
	check_same(x);
}

static void check_course(const struct course *c)
{
	const struct errbuf *e = nego_error(&c->n);
	struct nbd_info_export said;
	size_t end;

	promise(c->state == NEGO_BEGIN || !agrees(&stream, &said, &end),
		"it did not agree to what is sound: %s", e->text);
	check_text(nego_export(&c->n)->name, sizeof(nego_export(&c->n)->name));
	check_text(nego_export(&c->n)->description, sizeof(nego_export(&c->n)->description));
	promise(c->fed.out_bytes == 0 || c->fed.out_bytes == 4 + 16 + 4 + strlen(NAME) + 2 + 4 * 2,
		"%zu bytes were said", c->fed.out_bytes);
	promise(nego_at(&c->n)[0], "it is at nothing");
	switch (c->state) {
	case NEGO_GOES_ON:
		promise(c->fed.taken == stream.count, "it goes on, and leaves something over");
		break;
	case NEGO_BEGIN:
		check_agreed(c);
		break;
	case NEGO_FAILED:
		promise(e->code != 0, "it failed without a reason");
		promise_text(e->text, sizeof(e->text));
		check_text(e->text, sizeof(e->text));
		break;
	}
}

static bool equal(const struct nego_export *a, const struct nego_export *b)
{
	return a->size == b->size && a->flags == b->flags && a->block_min == b->block_min &&
	       a->block_preferred == b->block_preferred && a->block_max == b->block_max &&
	       a->generation_told == b->generation_told && generation_equal(&a->generation, &b->generation) &&
	       strcmp(a->name, b->name) == 0 && strcmp(a->description, b->description) == 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1 || size > 64 << 10)
		return 0;
	stream.count = 0;
	talk_bytes(&stream, data + 1, size - 1);
	once.state = feed(&once.n, NAME, &stream, 1 + (size_t)data[0] * 67, &once.fed);
	singly.state = feed(&singly.n, NAME, &stream, 1, &singly.fed);
	check_course(&once);
	promise(once.state == singly.state && once.fed.taken == singly.fed.taken,
		"in single bytes it ends differently");
	promise(strcmp(nego_error(&once.n)->text, nego_error(&singly.n)->text) == 0,
		"in single bytes it fails differently");
	promise(equal(nego_export(&once.n), nego_export(&singly.n)),
		"in single bytes something else is agreed");
	return 0;
}

/* ---- seeds ---- */

static void put_seed(const char *dir, const char *name, uint8_t pieces)
{
	static uint8_t bytes[16 << 10];

	promise(stream.count < sizeof(bytes), "a seed that is far too large");
	bytes[0] = pieces;
	memcpy(bytes + 1, stream.bytes, stream.count);
	seed(dir, name, bytes, stream.count + 1);
}

void make_seeds(const char *dir)
{
	static const uint16_t flags = NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES;
	static const unsigned char junk[NEGO_DATA_MAX] = { 0x55, 0x55 };

	say_greeting(&stream, flags);
	say_export(&stream, 1 << 20, NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH);
	say_text(&stream, NBD_INFO_NAME, "ws1");
	say_text(&stream, NBD_INFO_DESCRIPTION, "the first, \xc3\xa4 gen=5&lease=2");
	say_block_size(&stream, 4096, 4096, 256 << 10);
	say_ack(&stream);
	talk_bytes(&stream, "behind", 6);
	put_seed(dir, "agreed", 255);

	say_greeting(&stream, flags);
	say_reply(&stream, NBD_REP_INFO, junk, 700);
	say_export(&stream, 4096, NBD_FLAG_HAS_FLAGS);
	say_reply(&stream, NBD_REP_INFO, junk, sizeof(junk));
	say_ack(&stream);
	put_seed(dir, "unknown-information", 3);

	say_greeting(&stream, flags);
	say_block_size(&stream, 8192, 4096, 4096);
	say_export(&stream, 4096, NBD_FLAG_HAS_FLAGS);
	say_ack(&stream);
	put_seed(dir, "wrong-block-sizes", 2);

	say_greeting(&stream, NBD_FLAG_FIXED_NEWSTYLE);
	say_export(&stream, 4096, NBD_FLAG_HAS_FLAGS);
	say_reply(&stream, NBD_REP_ERR_UNKNOWN, "in use by \x1b[1m\xc2\x9b machine-B\xe2\x82", 26);
	put_seed(dir, "refused", 0);

	stream.count = 0;
	talk_u64(&stream, NBD_MAGIC);
	talk_u64(&stream, UINT64_C(0x00420281861253));
	put_seed(dir, "oldstyle", 1);

	stream.count = 0;
	talk_bytes(&stream, "HTTP/1.1 400 Bad Request\r\n", 26);
	put_seed(dir, "http", 9);
}
