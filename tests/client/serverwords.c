/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "tests/client/serverwords.h"

#include <stdlib.h>
#include <string.h>

void say_greeting(struct talk *t, uint16_t flags)
{
	t->count = 0;
	talk_u64(t, NBD_MAGIC);
	talk_u64(t, NBD_OPTION_MAGIC);
	talk_u16(t, flags);
}

static void say_header(struct talk *t, uint32_t type, size_t bytes)
{
	talk_u64(t, NBD_OPTION_REPLY_MAGIC);
	talk_u32(t, NBD_OPT_GO);
	talk_u32(t, type);
	talk_u32(t, (uint32_t)bytes);
}

void say_reply(struct talk *t, uint32_t type, const void *data, size_t bytes)
{
	say_header(t, type, bytes);
	talk_bytes(t, data, bytes);
}

void say_export(struct talk *t, uint64_t size, uint16_t flags)
{
	say_header(t, NBD_REP_INFO, 12);
	talk_u16(t, NBD_INFO_EXPORT);
	talk_u64(t, size);
	talk_u16(t, flags);
}

void say_block_size(struct talk *t, uint32_t min, uint32_t preferred, uint32_t max)
{
	say_header(t, NBD_REP_INFO, 14);
	talk_u16(t, NBD_INFO_BLOCK_SIZE);
	talk_u32(t, min);
	talk_u32(t, preferred);
	talk_u32(t, max);
}

void say_text(struct talk *t, uint16_t info, const char *text)
{
	say_header(t, NBD_REP_INFO, 2 + strlen(text));
	talk_u16(t, info);
	talk_bytes(t, text, strlen(text));
}

void say_ack(struct talk *t)
{
	say_header(t, NBD_REP_ACK, 0);
}

enum nego_state feed(struct nego *n, const char *name, const struct talk *t, size_t piece, struct fed *fed)
{
	struct errbuf e;
	size_t bytes;

	fed->taken = fed->out_bytes = 0;
	if (nego_start(n, name, &e) < 0)
		abort();
	while (nego_state(n) == NEGO_GOES_ON) {
		const void *out = nego_output(n, &bytes);

		if (bytes) {
			if (bytes > piece)
				bytes = piece;
			if (bytes > sizeof(fed->out) - fed->out_bytes)
				abort();
			memcpy(fed->out + fed->out_bytes, out, bytes);
			fed->out_bytes += bytes;
			nego_sent(n, bytes);
			continue;
		}

		void *to = nego_room(n, &bytes);

		if (bytes == 0)
			abort(); /* it neither wants nor has anything */
		if (bytes > piece)
			bytes = piece;
		if (bytes > t->count - fed->taken)
			bytes = t->count - fed->taken;
		if (bytes == 0)
			break;
		memcpy(to, t->bytes + fed->taken, bytes);
		fed->taken += bytes;
		nego_received(n, bytes);
	}
	return nego_state(n);
}
