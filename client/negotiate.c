/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/negotiate.h"

#include "common/printable.h"
#include "common/utf8.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* The second word of a greeting in the form that had no names and no options. */
#define OLDSTYLE_VERSION UINT64_C(0x00420281861253)

_Static_assert(sizeof(struct nbd_option_reply) <= sizeof(((struct nego *)0)->in), "header");
_Static_assert(sizeof(struct nbd_info_block_size) <= sizeof(((struct nego *)0)->in), "information");

static const uint16_t wanted_infos[] = { NBD_INFO_EXPORT, NBD_INFO_NAME, NBD_INFO_DESCRIPTION,
					 NBD_INFO_BLOCK_SIZE };

/* ---- the course of it ---- */

/* To be called behind err_set(&n->error, ...). */
static void fail(struct nego *n)
{
	n->phase = NEGO_OVER;
	n->sent = n->filled = 0;
}

static void want(struct nego *n, enum nego_phase phase, size_t bytes)
{
	n->phase = phase;
	n->have = 0;
	n->need = bytes;
}

static void want_reply(struct nego *n)
{
	want(n, NEGO_REPLY, sizeof(struct nbd_option_reply));
}

int nego_start(struct nego *n, const char *request, struct errbuf *e)
{
	size_t bytes = strnlen(request, NEGO_NAME_MAX + 1);

	if (bytes == 0)
		return err_set(e, EINVAL, "no export is named to ask the server for");
	if (bytes > NEGO_NAME_MAX)
		return err_set(e, ENAMETOOLONG,
			       "export \"%.64s...\": a name of more than %u bytes cannot be asked for",
			       request, NEGO_NAME_MAX);
	if (utf8_span(request) != bytes)
		return err_set(e, EINVAL, "the name of the export to ask for is not UTF-8");
	n->reply = n->length = n->skip = 0;
	n->replies = 0;
	n->exported = false;
	n->sent = n->filled = 0;
	n->received = 0;
	n->export = (struct nego_export){ .size = 0 };
	n->error.code = 0;
	n->error.text[0] = '\0';
	n->name_bytes = bytes;
	memcpy(n->name, request, bytes + 1);
	want(n, NEGO_MAGIC, sizeof(uint64_t));
	return 0;
}

static uint64_t in_u64(const struct nego *n)
{
	uint64_t v;

	memcpy(&v, n->in, sizeof(v));
	return be64toh(v);
}

static uint16_t in_u16(const struct nego *n)
{
	uint16_t v;

	memcpy(&v, n->in, sizeof(v));
	return be16toh(v);
}

/* ---- greeting and request ---- */

/* out[] has room for the longest of what is put there. */
static void put(struct nego *n, const void *data, size_t bytes)
{
	memcpy(n->out + n->filled, data, bytes);
	n->filled += bytes;
}

static void put_u16(struct nego *n, uint16_t v)
{
	v = htobe16(v);
	put(n, &v, sizeof(v));
}

static void put_u32(struct nego *n, uint32_t v)
{
	v = htobe32(v);
	put(n, &v, sizeof(v));
}

static void put_go(struct nego *n)
{
	size_t bytes = sizeof(uint32_t) + n->name_bytes + sizeof(uint16_t) + sizeof(wanted_infos);
	struct nbd_option o = { .magic = htobe64(NBD_OPTION_MAGIC),
				.option = htobe32(NBD_OPT_GO),
				.length = htobe32((uint32_t)bytes) };

	put(n, &o, sizeof(o));
	put_u32(n, (uint32_t)n->name_bytes);
	put(n, n->name, n->name_bytes);
	put_u16(n, sizeof(wanted_infos) / sizeof(wanted_infos[0]));
	for (size_t i = 0; i < sizeof(wanted_infos) / sizeof(wanted_infos[0]); i++)
		put_u16(n, wanted_infos[i]);
}

static void take_magic(struct nego *n)
{
	char seen[3 * sizeof(uint64_t) + 1];

	if (in_u64(n) == NBD_MAGIC) {
		want(n, NEGO_VERSION, sizeof(uint64_t));
		return;
	}
	printable_copy(seen, sizeof(seen), n->in, sizeof(uint64_t));
	err_set(&n->error, EPROTO, "does not speak NBD (it began with \"%s\"); is it the right port?", seen);
	fail(n);
}

static void take_version(struct nego *n)
{
	if (in_u64(n) == NBD_OPTION_MAGIC) {
		want(n, NEGO_FLAGS, sizeof(uint16_t));
		return;
	}
	if (in_u64(n) == OLDSTYLE_VERSION)
		err_set(&n->error, EPROTONOSUPPORT,
			"speaks the oldest form of NBD, which has no export names; have it serve in "
			"newstyle");
	else
		err_set(&n->error, EPROTO,
			"speaks no form of NBD that is known here (version 0x%016" PRIx64 ")", in_u64(n));
	fail(n);
}

/* STARTTLS comes in here. */
static void take_greeting(struct nego *n)
{
	uint16_t flags = in_u16(n);

	if (!(flags & NBD_FLAG_FIXED_NEWSTYLE)) {
		err_set(&n->error, EPROTONOSUPPORT,
			"speaks a form of NBD (newstyle before it was fixed) that cannot say why it refuses; "
			"a server of 2012 or later is needed");
		fail(n);
		return;
	}
	put_u32(n, NBD_FLAG_C_FIXED_NEWSTYLE | (flags & NBD_FLAG_NO_ZEROES ? NBD_FLAG_C_NO_ZEROES : 0));
	put_go(n);
	want_reply(n);
}

/* ---- information ---- */

static void broken(struct nego *n, const char *what)
{
	err_set(&n->error, EPROTO, "breaks the rules of NBD: %s; is it an NBD server of a known kind?", what);
	fail(n);
}

static void take_export(struct nego *n)
{
	struct nbd_info_export x;

	if (n->length != sizeof(x)) {
		broken(n, "the information about the export has a wrong length");
		return;
	}
	memcpy(&x, n->in, sizeof(x));
	if (n->exported) {
		broken(n, "it told the size of the export twice");
	} else if (!(be16toh(x.flags) & NBD_FLAG_HAS_FLAGS)) {
		broken(n, "its transmission flags are not marked as such");
	} else {
		n->export.size = be64toh(x.size);
		n->export.flags = be16toh(x.flags);
		n->exported = true;
	}
}

static bool is_power_of_two(uint32_t v)
{
	return v && !(v & (v - 1));
}

/* What makes no sense is not told, as libnbd has it: attach, which asks through libnbd, and a reconnect then
 * see the same server.
 */
static void take_block_size(struct nego *n)
{
	struct nbd_info_block_size s;
	uint32_t min, preferred, max;

	if (n->length != sizeof(s)) {
		broken(n, "the information about block sizes has a wrong length");
		return;
	}
	memcpy(&s, n->in, sizeof(s));
	min = be32toh(s.minimum);
	preferred = be32toh(s.preferred);
	max = be32toh(s.maximum);
	if (!is_power_of_two(min) || !is_power_of_two(preferred) || preferred < min || max < preferred)
		return;
	n->export.block_min = min;
	n->export.block_preferred = preferred;
	n->export.block_max = max;
}

static size_t kept_bytes(const struct nego *n)
{
	return n->length < sizeof(n->in) ? n->length : sizeof(n->in);
}

static void take_info(struct nego *n)
{
	size_t text = kept_bytes(n) - sizeof(uint16_t); /* behind the type */

	switch (in_u16(n)) {
	case NBD_INFO_EXPORT:
		take_export(n);
		break;
	case NBD_INFO_BLOCK_SIZE:
		take_block_size(n);
		break;
	case NBD_INFO_NAME:
		printable_copy(n->export.name, sizeof(n->export.name), n->in + sizeof(uint16_t), text);
		break;
	case NBD_INFO_DESCRIPTION:
		printable_copy(n->export.description, sizeof(n->export.description), n->in + sizeof(uint16_t),
			       text);
		/* Only of a whole one: the beginning of a number is another number. */
		n->export.generation_told = n->length <= sizeof(uint16_t) + NEGO_TEXT_MAX &&
					    generation_of_description(n->export.description,
								      &n->export.generation);
		break;
	default: /* of a later kind: the document has clients pass over it */
		break;
	}
}

/* ---- refusals ---- */

static const struct refusal {
	uint32_t reply;
	int code;
	const char *words;
} refusals[] = {
	{ NBD_REP_ERR_UNSUP, ENOTSUP,
	  "does not know how to open an export with its options (NBD_OPT_GO); a server of 2017 or later is "
	  "needed" },
	{ NBD_REP_ERR_POLICY, EACCES,
	  "does not allow this machine to have the export; its rules must let it in" },
	{ NBD_REP_ERR_INVALID, ENOTSUP,
	  "finds the request invalid; do its version and this one's fit together?" },
	{ NBD_REP_ERR_PLATFORM, ENOTSUP, "cannot serve the export on its platform" },
	{ NBD_REP_ERR_TLS_REQD, ENOTSUP,
	  "serves the export over TLS only; give it out without TLS to this machine" },
	{ NBD_REP_ERR_UNKNOWN, ENOENT, "does not give out the export; its log may say more" },
	{ NBD_REP_ERR_SHUTDOWN, ESHUTDOWN, "is shutting down; it must be started again" },
	{ NBD_REP_ERR_BLOCK_SIZE_REQD, ENOTSUP,
	  "does not believe that its block sizes are heeded; lower its minimum to a page or less" },
	{ NBD_REP_ERR_TOO_BIG, ENOTSUP,
	  "finds the request too large; a shorter name of the export may help" },
	{ NBD_REP_ERR_EXT_HEADER_REQD, ENOTSUP,
	  "serves the export with extended headers only, which the kernel's driver does not know; have it do "
	  "without" },
};

static void take_refusal(struct nego *n)
{
	static const struct refusal other = { .code = ENOTSUP,
					      .words = "refuses the export; its log may say more" };
	const struct refusal *r = &other;
	char said[NEGO_TEXT_MAX + 1];

	for (size_t i = 0; i < sizeof(refusals) / sizeof(refusals[0]); i++)
		if (refusals[i].reply == n->reply)
			r = &refusals[i];
	printable_copy(said, sizeof(said), n->in, kept_bytes(n));
	if (said[0])
		err_set(&n->error, r->code, "%s (it says: %s)", r->words, said);
	else if (r == &other)
		err_set(&n->error, r->code, "%s (error 0x%08" PRIx32 ")", r->words, n->reply);
	else
		err_set(&n->error, r->code, "%s", r->words);
	fail(n);
}

/* ---- replies ---- */

/* The data of the reply at hand is there, or as much of it as is looked at. */
static void take_data(struct nego *n)
{
	want_reply(n);
	if (n->reply & NBD_REP_FLAG_ERROR)
		take_refusal(n);
	else
		take_info(n);
}

static void take_ack(struct nego *n)
{
	if (n->length)
		broken(n, "it agreed with data behind it");
	else if (!n->exported)
		broken(n, "it agreed without telling the size of the export");
	else
		n->phase = NEGO_GRANTED;
}

static void take_reply(struct nego *n)
{
	struct nbd_option_reply r;

	memcpy(&r, n->in, sizeof(r));
	n->reply = be32toh(r.reply);
	n->length = be32toh(r.length);
	n->replies++;
	if (be64toh(r.magic) != NBD_OPTION_REPLY_MAGIC) {
		broken(n, "no reply where one should begin");
	} else if (be32toh(r.option) != NBD_OPT_GO) {
		broken(n, "a reply to an option that was not sent");
	} else if (n->length > NEGO_DATA_MAX) {
		broken(n, "a reply that is far too long");
	} else if (n->reply == NBD_REP_ACK) {
		take_ack(n);
	} else if (n->replies > NEGO_REPLIES_MAX) {
		broken(n, "information without an end");
	} else if (!(n->reply & NBD_REP_FLAG_ERROR) && n->reply != NBD_REP_INFO) {
		broken(n, "a reply of a kind that does not belong here");
	} else if (n->reply == NBD_REP_INFO && n->length < sizeof(uint16_t)) {
		broken(n, "information that does not say what it is about");
	} else if (n->length == 0) {
		take_data(n);
	} else {
		want(n, NEGO_DATA, kept_bytes(n));
		n->skip = n->length - (uint32_t)n->need;
	}
}

/* ---- the interface ---- */

void *nego_room(struct nego *n, size_t *bytes)
{
	*bytes = 0;
	if (n->filled || n->phase == NEGO_GRANTED || n->phase == NEGO_OVER)
		return n->in;
	/* What is skipped lies behind nothing that is still looked at. */
	if (n->phase == NEGO_SKIP) {
		*bytes = n->skip < sizeof(n->in) ? n->skip : sizeof(n->in);
		return n->in;
	}
	*bytes = n->need - n->have;
	return n->in + n->have;
}

void nego_received(struct nego *n, size_t bytes)
{
	n->received += bytes;
	if (n->phase == NEGO_SKIP) {
		n->skip -= (uint32_t)bytes;
		if (n->skip == 0)
			want_reply(n);
		return;
	}
	n->have += bytes;
	if (n->have < n->need)
		return;
	switch (n->phase) {
	case NEGO_MAGIC:
		take_magic(n);
		break;
	case NEGO_VERSION:
		take_version(n);
		break;
	case NEGO_FLAGS:
		take_greeting(n);
		break;
	case NEGO_REPLY:
		take_reply(n);
		break;
	case NEGO_DATA:
		take_data(n);
		if (n->phase == NEGO_REPLY && n->skip)
			n->phase = NEGO_SKIP;
		break;
	case NEGO_SKIP:
	case NEGO_GRANTED:
	case NEGO_OVER:
		break;
	}
}

const void *nego_output(const struct nego *n, size_t *bytes)
{
	*bytes = n->filled - n->sent;
	return n->out + n->sent;
}

void nego_sent(struct nego *n, size_t bytes)
{
	n->sent += bytes;
	if (n->sent == n->filled)
		n->sent = n->filled = 0;
}

enum nego_state nego_state(const struct nego *n)
{
	if (n->phase == NEGO_GRANTED)
		return NEGO_BEGIN;
	return n->phase == NEGO_OVER ? NEGO_FAILED : NEGO_GOES_ON;
}

const struct nego_export *nego_export(const struct nego *n)
{
	return &n->export;
}

const struct errbuf *nego_error(const struct nego *n)
{
	return &n->error;
}

const char *nego_at(const struct nego *n)
{
	if (n->received == 0)
		return "it has not said anything";
	if (n->phase <= NEGO_FLAGS)
		return "it broke off in its greeting";
	if (n->filled)
		return "it does not take the request for the export";
	return n->phase == NEGO_REPLY && n->have == 0 && n->replies == 0
		       ? "it did not answer the request for the export"
		       : "it broke off in its answer to the request for the export";
}
