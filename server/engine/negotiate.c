/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/engine/negotiate.h"

#include "common/utf8.h"
#include "server/engine/sessmem.h"
#include "worker/describe.h"

#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define REPLY_HEADER sizeof(struct nbd_option_reply)
/* Zeroes are always fast: only the table changes. */
#define TRANSMISSION_FLAGS                                                                                                       \
	(NBD_FLAG_HAS_FLAGS | NBD_FLAG_SEND_FLUSH | NBD_FLAG_SEND_FUA | NBD_FLAG_SEND_TRIM | NBD_FLAG_SEND_WRITE_ZEROES |        \
	 NBD_FLAG_SEND_FAST_ZERO | NBD_FLAG_CAN_MULTI_CONN)

/* The longest answer that ends a negotiation: every kind of information, and ACK. */
#define ANSWER_MAX                                                                                                               \
	(5 * REPLY_HEADER + sizeof(struct nbd_info_export) + 2 + EXPORT_NAME_MAX + 2 + DESCRIBE_BYTES +                         \
	 sizeof(struct nbd_info_block_size))
_Static_assert(ANSWER_MAX <= SESSMEM_PREAMBLE && ANSWER_MAX <= NEGOTIATE_OUT_MAX, "answer");
_Static_assert(sizeof(struct nbd_export_name_reply) <= SESSMEM_PREAMBLE, "answer");
/* The longest entry of a list fits an empty buffer, with the ACK behind it; so does every error. */
_Static_assert(2 * REPLY_HEADER + 4 + EXPORT_NAME_MAX + DESCRIPTION_MAX <= NEGOTIATE_OUT_MAX, "list");
_Static_assert(REPLY_HEADER + sizeof(((struct errbuf *)0)->text) <= NEGOTIATE_OUT_MAX, "error");

/* ---- output ---- */

/* Whoever calls it knows that there is room: nothing is taken in while there is output. */
static void put(struct negotiation *n, const void *data, size_t bytes)
{
	memcpy(n->out + n->filled, data, bytes);
	n->filled += bytes;
}

static void put_reply(struct negotiation *n, uint32_t type, size_t bytes)
{
	struct nbd_option_reply r = { .magic = htobe64(NBD_OPTION_REPLY_MAGIC),
				      .option = htobe32(n->option),
				      .reply = htobe32(type),
				      .length = htobe32((uint32_t)bytes) };

	put(n, &r, sizeof(r));
}

/* Answers with an error and its sentence.  Sentences may quote what the client sent, cut anywhere: what is not text becomes '?'. */
static void put_error(struct negotiation *n, uint32_t type, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
static void put_error(struct negotiation *n, uint32_t type, const char *fmt, ...)
{
	char text[sizeof(((struct errbuf *)0)->text)];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	for (char *p = text; *p;) {
		size_t bytes = utf8_char(p);

		if (bytes == 0 || (unsigned char)*p < ' ' || *p == 0x7f) {
			*p = '?';
			bytes = 1;
		}
		p += bytes;
	}
	put_reply(n, type, strlen(text));
	put(n, text, strlen(text));
}

/* ---- the course of it ---- */

/* The connection ends, once what is to be said is said. */
static void end(struct negotiation *n)
{
	n->phase = NEGOTIATE_OVER;
}

static void want(struct negotiation *n, enum negotiate_phase phase, size_t bytes)
{
	n->phase = phase;
	n->have = 0;
	n->need = bytes;
}

static void want_option(struct negotiation *n)
{
	want(n, NEGOTIATE_OPTION, sizeof(struct nbd_option));
}

void negotiate_start(struct negotiation *n, const struct lobby_ops *ops, const struct peer *who, int sock)
{
	static const uint16_t offered = NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES;
	struct nbd_greeting g = { .magic = htobe64(NBD_MAGIC), .version = htobe64(NBD_OPTION_MAGIC), .flags = htobe16(offered) };

	n->ops = ops;
	n->who = who;
	n->sock = sock;
	n->options = n->completed = 0;
	n->sent = n->filled = 0;
	n->said.code = 0;
	put(n, &g, sizeof(g));
	want(n, NEGOTIATE_FLAGS, sizeof(n->client_flags));
}

/* ---- lists ---- */

struct part {
	struct negotiation *n;
	bool reached; /* what the client has not been told yet */
	bool full;
};

static void list_one(void *arg, const char *name, const char *description)
{
	struct part *part = arg;
	struct negotiation *n = part->n;
	size_t name_bytes = strlen(name), bytes = describe_cut(description);
	uint32_t be = htobe32((uint32_t)name_bytes);

	if (!part->reached) {
		part->reached = strcmp(name, n->listed) == 0;
		return;
	}
	if (part->full || name_bytes == 0 || name_bytes > EXPORT_NAME_MAX)
		return;
	part->full = n->filled + REPLY_HEADER + sizeof(be) + name_bytes + bytes + REPLY_HEADER > sizeof(n->out);
	if (part->full)
		return;
	put_reply(n, NBD_REP_SERVER, sizeof(be) + name_bytes + bytes);
	put(n, &be, sizeof(be));
	put(n, name, name_bytes);
	if (bytes)
		put(n, description, bytes);
	memcpy(n->listed, name, name_bytes + 1);
}

/* As much of the list as the buffer takes; the rest when that is sent, from the name on that was the last.  So a list of any length needs no
 * memory of its own.
 */
static void list_part(struct negotiation *n)
{
	struct part part = { .n = n, .reached = n->listed[0] == '\0' };
	struct errbuf e;

	if (n->ops->list(n->ops->arg, list_one, &part, &e) < 0) {
		n->filled = 0;
		put_error(n, NBD_REP_ERR_POLICY, "%s", e.text);
	} else if (!part.reached) {
		put_error(n, NBD_REP_ERR_POLICY, "the exports changed while they were listed; ask again");
	} else if (part.full) {
		n->phase = NEGOTIATE_LISTING;
		return;
	} else {
		put_reply(n, NBD_REP_ACK, 0);
	}
	want_option(n);
}

/* ---- exports ---- */

/* Text of bytes bytes, with a NUL behind them: a string as the document has them? */
static bool is_string(const char *text, size_t bytes)
{
	return bytes <= NBD_STRING_MAX && utf8_span(text) == bytes;
}

/* 0; -1 with *e, which the log gets as well, unless it is there already or no fault. */
static int open_export(struct negotiation *n, const char *name, bool live, struct export_request *request, struct errbuf *e)
{
	if (export_request_parse(name, request, e) == 0 &&
	    n->ops->open(n->ops->arg, name, n->who, live, live ? n->sock : -1, &n->export, e) == 0)
		return 0;
	if (!export_request_is_probe(name) && e->code != EACCES && e->code != EAGAIN)
		n->said = *e;
	return -1;
}

static uint16_t transmission_flags(const struct lobby_export *x)
{
	return TRANSMISSION_FLAGS | (x->read_only ? NBD_FLAG_READ_ONLY : 0);
}

static void put_info_text(struct negotiation *n, uint16_t info, const char *text)
{
	uint16_t be = htobe16(info);

	put_reply(n, NBD_REP_INFO, sizeof(be) + strlen(text));
	put(n, &be, sizeof(be));
	put(n, text, strlen(text));
}

/* Few clients ask, so nothing else brings what a list says here. */
static void put_description(struct negotiation *n, const char *name)
{
	struct describe d = { .name = name };
	char text[DESCRIBE_BYTES];
	struct errbuf e;

	if (n->ops->list(n->ops->arg, describe_find, &d, &e) < 0)
		d.configured[0] = '\0';
	describe(d.configured, &n->export.generation, text);
	if (text[0])
		put_info_text(n, NBD_INFO_DESCRIPTION, text);
}

/* Data of INFO and GO: length and bytes of the name, number and list of what the client wants to know.  wanted: a bit for each. */
static const char *parse_go(struct negotiation *n, unsigned *wanted)
{
	uint32_t name_bytes;
	uint16_t count, info;
	const unsigned char *p;

	memcpy(&name_bytes, n->in, sizeof(name_bytes));
	name_bytes = be32toh(name_bytes);
	if (n->length < sizeof(name_bytes) + sizeof(count) || name_bytes > n->length - sizeof(name_bytes) - sizeof(count))
		return NULL;
	p = n->in + sizeof(name_bytes) + name_bytes;
	memcpy(&count, p, sizeof(count));
	if (n->length != sizeof(name_bytes) + name_bytes + sizeof(count) + be16toh(count) * sizeof(info))
		return NULL;
	*wanted = 0;
	for (unsigned i = 0; i < be16toh(count); i++) {
		memcpy(&info, p + sizeof(count) + i * sizeof(info), sizeof(info));
		if (be16toh(info) <= NBD_INFO_BLOCK_SIZE)
			*wanted |= 1u << be16toh(info);
	}
	/* Down to where its length was, so that a NUL has room behind it. */
	memmove(n->in, n->in + sizeof(name_bytes), name_bytes);
	n->in[name_bytes] = '\0';
	return is_string((const char *)n->in, name_bytes) ? (const char *)n->in : NULL;
}

/* A client that does not ask for block sizes may use the export all the same, as with the plugin: the document lets a server enforce sizes it
 * was not asked for, and requests that are not in whole pages are answered with NBD_EINVAL.
 */
static void info_or_go(struct negotiation *n, bool go)
{
	unsigned wanted;
	const char *name = parse_go(n, &wanted);
	struct export_request request;
	struct errbuf e;

	if (!name) {
		put_error(n, NBD_REP_ERR_INVALID,
			  "lengths that do not fit together, or an export name that is not UTF-8 of at most %u bytes", NBD_STRING_MAX);
		return;
	}
	if (open_export(n, name, go, &request, &e) < 0) {
		put_error(n, e.code == EMFILE ? NBD_REP_ERR_POLICY : NBD_REP_ERR_UNKNOWN, "%s", e.text);
		return;
	}

	struct nbd_info_export export = { .info = htobe16(NBD_INFO_EXPORT),
					  .size = htobe64(n->export.size),
					  .flags = htobe16(transmission_flags(&n->export)) };
	struct nbd_info_block_size sizes = { .info = htobe16(NBD_INFO_BLOCK_SIZE),
					     .minimum = htobe32(NEGOTIATE_BLOCK_MIN),
					     .preferred = htobe32(NEGOTIATE_BLOCK_MIN),
					     .maximum = htobe32(NEGOTIATE_PAYLOAD_MAX) };

	put_reply(n, NBD_REP_INFO, sizeof(export));
	put(n, &export, sizeof(export));
	if (wanted & 1u << NBD_INFO_NAME)
		put_info_text(n, NBD_INFO_NAME, request.name);
	if (wanted & 1u << NBD_INFO_DESCRIPTION)
		put_description(n, request.name);
	if (wanted & 1u << NBD_INFO_BLOCK_SIZE) {
		put_reply(n, NBD_REP_INFO, sizeof(sizes));
		put(n, &sizes, sizeof(sizes));
	}
	put_reply(n, NBD_REP_ACK, 0);
	if (go)
		n->phase = NEGOTIATE_GRANTED;
	else
		n->ops->close(n->ops->arg, n->export.session);
}

/* The one option without a way to refuse: the connection ends then. */
static void export_name(struct negotiation *n)
{
	struct export_request request;
	struct errbuf e;

	end(n);
	n->in[n->length] = '\0';
	if (!is_string((const char *)n->in, n->length)) {
		err_set(&n->said, EPROTO, "asked for an export name that is not UTF-8; the connection is closed");
		return;
	}
	if (open_export(n, (const char *)n->in, true, &request, &e) < 0)
		return;

	struct nbd_export_name_reply r = { .size = htobe64(n->export.size), .flags = htobe16(transmission_flags(&n->export)) };

	put(n, &r, n->client_flags & NBD_FLAG_C_NO_ZEROES ? sizeof(r) - sizeof(r.zeroes) : sizeof(r));
	n->phase = NEGOTIATE_GRANTED;
}

/* ---- options ---- */

static bool is_looked_at(uint32_t option)
{
	return option == NBD_OPT_EXPORT_NAME || option == NBD_OPT_INFO || option == NBD_OPT_GO;
}

/* The option at hand is there as a whole. */
static void answer_option(struct negotiation *n)
{
	n->completed++;
	want_option(n);
	switch (n->option) {
	case NBD_OPT_EXPORT_NAME:
		export_name(n);
		break;
	case NBD_OPT_INFO:
	case NBD_OPT_GO:
		if (n->length > NEGOTIATE_DATA_MAX)
			put_error(n, NBD_REP_ERR_TOO_BIG, "more than %u bytes", NEGOTIATE_DATA_MAX);
		else
			info_or_go(n, n->option == NBD_OPT_GO);
		break;
	case NBD_OPT_LIST:
		n->listed[0] = '\0';
		if (n->length)
			put_error(n, NBD_REP_ERR_INVALID, "a list takes no data");
		else
			list_part(n);
		break;
	case NBD_OPT_ABORT:
		put_reply(n, NBD_REP_ACK, 0);
		end(n);
		break;
	case NBD_OPT_STARTTLS: /* TLS sessions come in here: ACK, the handshake by the lobby, and the machine from NEGOTIATE_OPTION on. */
		put_error(n, NBD_REP_ERR_UNSUP, "this server has no TLS");
		break;
	default: /* structured replies, metadata contexts, extended headers, and what is yet to come */
		put_error(n, NBD_REP_ERR_UNSUP, "this server does not know option %u", n->option);
		break;
	}
}

static void take_flags(struct negotiation *n)
{
	memcpy(&n->client_flags, n->in, sizeof(n->client_flags));
	n->client_flags = be32toh(n->client_flags);
	want_option(n);
	if (n->client_flags & ~(NBD_FLAG_C_FIXED_NEWSTYLE | NBD_FLAG_C_NO_ZEROES)) {
		err_set(&n->said, EPROTO, "sent flags that this server does not know (0x%x): not an NBD client, or one of a later kind; "
			"the connection is closed", n->client_flags);
		end(n);
	}
}

/* What cannot be answered, or must not be gone on with. */
static bool is_bearable(struct negotiation *n, uint64_t magic)
{
	if (magic != NBD_OPTION_MAGIC)
		err_set(&n->said, EPROTO, "does not speak NBD (0x%016" PRIx64 " where an option should begin); the connection is closed", magic);
	else if (n->options > NEGOTIATE_OPTIONS_MAX)
		err_set(&n->said, EPROTO, "sent more than %u options; the connection is closed", NEGOTIATE_OPTIONS_MAX);
	else if (!(n->client_flags & NBD_FLAG_C_FIXED_NEWSTYLE) && n->option != NBD_OPT_EXPORT_NAME)
		/* It would not understand an answer. */
		err_set(&n->said, EPROTO, "sent option %u without fixed newstyle negotiation; the connection is closed", n->option);
	else if (n->length > (n->option == NBD_OPT_EXPORT_NAME ? NBD_STRING_MAX : NEGOTIATE_SKIP_MAX))
		err_set(&n->said, EPROTO, "sent option %u with %u bytes; the connection is closed", n->option, n->length);
	else
		return true;
	return false;
}

static void take_option(struct negotiation *n)
{
	struct nbd_option o;

	memcpy(&o, n->in, sizeof(o));
	n->option = be32toh(o.option);
	n->length = be32toh(o.length);
	n->options++;
	if (!is_bearable(n, be64toh(o.magic))) {
		end(n);
	} else if (n->length == 0) {
		answer_option(n);
	} else if (is_looked_at(n->option) && n->length <= NEGOTIATE_DATA_MAX) {
		want(n, NEGOTIATE_DATA, n->length);
	} else {
		n->phase = NEGOTIATE_SKIP;
		n->skip = n->length;
	}
}

/* ---- the interface ---- */

void *negotiate_room(struct negotiation *n, size_t *bytes)
{
	*bytes = 0;
	if (n->filled)
		return n->in;
	switch (n->phase) {
	case NEGOTIATE_FLAGS:
	case NEGOTIATE_OPTION:
	case NEGOTIATE_DATA:
		*bytes = n->need - n->have;
		return n->in + n->have;
	case NEGOTIATE_SKIP:
		*bytes = n->skip < sizeof(n->in) ? n->skip : sizeof(n->in);
		return n->in;
	case NEGOTIATE_LISTING:
	case NEGOTIATE_GRANTED:
	case NEGOTIATE_OVER:
		break;
	}
	return n->in;
}

void negotiate_received(struct negotiation *n, size_t bytes)
{
	if (n->phase == NEGOTIATE_SKIP) {
		n->skip -= (uint32_t)bytes;
		if (n->skip == 0)
			answer_option(n);
		return;
	}
	n->have += bytes;
	if (n->have < n->need)
		return;
	if (n->phase == NEGOTIATE_FLAGS)
		take_flags(n);
	else if (n->phase == NEGOTIATE_OPTION)
		take_option(n);
	else
		answer_option(n);
}

const void *negotiate_output(const struct negotiation *n, size_t *bytes)
{
	*bytes = n->phase == NEGOTIATE_GRANTED ? 0 : n->filled - n->sent;
	return n->out + n->sent;
}

void negotiate_sent(struct negotiation *n, size_t bytes)
{
	n->sent += bytes;
	if (n->sent < n->filled)
		return;
	n->sent = n->filled = 0;
	if (n->phase == NEGOTIATE_LISTING)
		list_part(n);
}

enum negotiate_state negotiate_state(const struct negotiation *n)
{
	if (n->phase == NEGOTIATE_GRANTED)
		return NEGOTIATE_BEGIN;
	return n->phase == NEGOTIATE_OVER && n->filled == 0 ? NEGOTIATE_END : NEGOTIATE_GOES_ON;
}

const void *negotiate_answer(const struct negotiation *n, size_t *bytes)
{
	*bytes = n->filled;
	return n->out;
}

const char *negotiate_told(struct negotiation *n)
{
	if (n->said.code == 0)
		return NULL;
	n->said.code = 0;
	return n->said.text;
}
