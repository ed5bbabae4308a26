/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/engine/talk.h"

#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void talk_bytes(struct talk *t, const void *data, size_t bytes)
{
	if (bytes > sizeof(t->bytes) - t->count)
		abort();
	if (bytes)
		memcpy(t->bytes + t->count, data, bytes);
	t->count += bytes;
}

void talk_u16(struct talk *t, uint16_t value)
{
	value = htobe16(value);
	talk_bytes(t, &value, sizeof(value));
}

void talk_u32(struct talk *t, uint32_t value)
{
	value = htobe32(value);
	talk_bytes(t, &value, sizeof(value));
}

void talk_u64(struct talk *t, uint64_t value)
{
	value = htobe64(value);
	talk_bytes(t, &value, sizeof(value));
}

void talk_flags(struct talk *t, uint32_t flags)
{
	t->count = 0;
	talk_u32(t, flags);
}

void talk_header(struct talk *t, uint32_t option, uint32_t length)
{
	talk_u64(t, NBD_OPTION_MAGIC);
	talk_u32(t, option);
	talk_u32(t, length);
}

void talk_option(struct talk *t, uint32_t option, const void *data, size_t bytes)
{
	talk_header(t, option, (uint32_t)bytes);
	talk_bytes(t, data, bytes);
}

void talk_go(struct talk *t, uint32_t option, const char *name, const uint16_t *infos, unsigned count)
{
	size_t bytes = strlen(name);

	talk_header(t, option, (uint32_t)(4 + bytes + 2 + 2 * count));
	talk_u32(t, (uint32_t)bytes);
	talk_bytes(t, name, bytes);
	talk_u16(t, (uint16_t)count);
	for (unsigned i = 0; i < count; i++)
		talk_u16(t, infos[i]);
}

bool answers_greeting(struct answers *a)
{
	struct nbd_greeting g;

	if (a->left < sizeof(g))
		return false;
	memcpy(&g, a->at, sizeof(g));
	a->at += sizeof(g);
	a->left -= sizeof(g);
	return be64toh(g.magic) == NBD_MAGIC && be64toh(g.version) == NBD_OPTION_MAGIC &&
	       be16toh(g.flags) == (NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
}

bool answers_next(struct answers *a, struct answer *out)
{
	struct nbd_option_reply r;

	if (a->left < sizeof(r))
		return false;
	memcpy(&r, a->at, sizeof(r));
	*out = (struct answer){ .option = be32toh(r.option),
				.type = be32toh(r.reply),
				.bytes = be32toh(r.length),
				.data = a->at + sizeof(r) };
	if (be64toh(r.magic) != NBD_OPTION_REPLY_MAGIC || out->bytes > a->left - sizeof(r))
		return false;
	a->at += sizeof(r) + out->bytes;
	a->left -= sizeof(r) + out->bytes;
	return true;
}

uint16_t answer_u16(const struct answer *x, size_t at)
{
	uint16_t v;

	memcpy(&v, x->data + at, sizeof(v));
	return be16toh(v);
}

uint32_t answer_u32(const struct answer *x, size_t at)
{
	uint32_t v;

	memcpy(&v, x->data + at, sizeof(v));
	return be32toh(v);
}

uint64_t answer_u64(const struct answer *x, size_t at)
{
	uint64_t v;

	memcpy(&v, x->data + at, sizeof(v));
	return be64toh(v);
}

static int owner_open(void *arg, const char *name, const struct peer *who, bool live, int sock, struct lobby_export *out,
		      struct errbuf *e)
{
	struct owner *o = arg;

	snprintf(o->name, sizeof(o->name), "%s", name);
	o->sock = sock;
	if (o->refusal)
		return err_set(e, EACCES, "%s", o->refusal);
	if (strncmp(name, "ws", 2) != 0)
		return err_set(e, ENOENT, "there is no export \"%s\"; the server has others", name);
	o->opened++;
	o->live += live;
	*out = (struct lobby_export){ .session = o, .size = OWNER_SIZE, .read_only = strncmp(name, "wsro", 4) == 0 };
	return 0;
}

static void owner_close(void *arg, void *session)
{
	struct owner *o = arg;

	if (session != o)
		abort();
	o->closed++;
}

static int owner_list(void *arg, list_fn *fn, void *fn_arg, struct errbuf *e)
{
	struct owner *o = arg;
	char name[32];

	if (o->list_fails)
		return err_set(e, EPIPE, "nobody knows the exports now; ask again later");
	o->lists++;
	for (unsigned i = 1; i <= o->listed; i++) {
		snprintf(name, sizeof(name), "%s%04u", o->vanish && o->lists >= o->vanish ? "other" : "ws", i);
		fn(fn_arg, name, i % 2 ? o->description : NULL);
	}
	return 0;
}

static void owner_begin(void *arg, void *session, int sock, const void *answer, size_t bytes)
{
	struct owner *o = arg;

	if (session != o || bytes > sizeof(o->answer))
		abort();
	o->begun++;
	o->begun_sock = sock;
	o->answer_bytes = bytes;
	memcpy(o->answer, answer, bytes);
}

static void owner_warn(void *arg, const char *text)
{
	struct owner *o = arg;

	o->warnings++;
	snprintf(o->warning, sizeof(o->warning), "%s", text);
}

void owner_init(struct owner *o)
{
	*o = (struct owner){ .ops = { .open = owner_open, .close = owner_close, .begin = owner_begin, .list = owner_list, .warn = owner_warn } };
	o->ops.arg = o;
	o->description = "odd";
	o->begun_sock = -1;
}
