/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/exportask.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

static bool has_client(const struct export_ask *a)
{
	return a->client && a->client[0];
}

static int check(const struct export_ask *a, struct errbuf *e)
{
	if (export_name_check(a->name, e) < 0)
		return -1;
	if (has_client(a) && (strlen(a->client) > CLIENT_ID_MAX || strpbrk(a->client, "?&=")))
		return err_set(e, EINVAL,
			       "export \"%s\": \"%.80s\" is no client id: at most %d bytes, without '?', '&' "
			       "and '='",
			       a->name, a->client, CLIENT_ID_MAX);
	if (a->slots > EXPORT_SLOTS_MAX || (a->slots && (a->slot >= a->slots || !has_client(a))))
		return err_set(e, EINVAL,
			       "export \"%s\": connection %u of %u: at most %d, counted from 0, and only "
			       "with a client id",
			       a->name, a->slot, a->slots, EXPORT_SLOTS_MAX);
	return 0;
}

int export_ask_format(const struct export_ask *a, char out[EXPORT_ASK_MAX], struct errbuf *e)
{
	char generation[GENERATION_TEXT] = "", client[sizeof("client=") + CLIENT_ID_MAX] = "",
	     slot[sizeof("slot=63/64")] = "";
	const char *parts[] = { generation, client, slot };
	size_t n;

	if (check(a, e) < 0)
		return -1;
	if (a->generation)
		generation_format(a->generation, generation);
	if (has_client(a))
		snprintf(client, sizeof(client), "client=%s", a->client);
	if (a->slots)
		snprintf(slot, sizeof(slot), "slot=%u/%u", a->slot % EXPORT_SLOTS_MAX,
			 a->slots % (EXPORT_SLOTS_MAX + 1));
	n = (size_t)snprintf(out, EXPORT_ASK_MAX, "%s", a->name);
	for (size_t i = 0, put = 0; i < sizeof(parts) / sizeof(parts[0]); i++)
		if (parts[i][0])
			n += (size_t)snprintf(out + n, EXPORT_ASK_MAX - n, "%c%s", put++ ? '&' : '?',
					      parts[i]);
	return 0;
}
