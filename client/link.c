/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/link.h"

#include "common/cleanup.h"

#include <inttypes.h>
#include <string.h>

#define TCP_STATE_ESTABLISHED 1

/* The kernel prints addresses as words in the machine's order. */
static bool parse_address(const char *text, bool v6, struct in6_addr *out)
{
	uint32_t w[4] = { 0, 0, htonl(0xffff), 0 };

	if (v6) {
		if (strlen(text) != 32 || sscanf(text, "%8" SCNx32 "%8" SCNx32 "%8" SCNx32 "%8" SCNx32, &w[0],
						 &w[1], &w[2], &w[3]) != 4)
			return false;
	} else if (strlen(text) != 8 || sscanf(text, "%8" SCNx32, &w[3]) != 1) {
		return false;
	}
	memcpy(out, w, sizeof(*out));
	return true;
}

static bool parse_line(const char *line, bool v6, struct tcp_conn *c)
{
	unsigned lport, rport;
	char remote[40];

	/* sl local:port remote:port st tx:rx tr:when retrnsmt uid timeout inode */
	if (sscanf(line, " %*d: %*[0-9A-Fa-f]:%x %39[0-9A-Fa-f]:%x %x %*s %*s %lx %*u %*d %" SCNu64, &lport, remote, &rport, &c->state,
		   &c->retransmits, &c->inode) != 6 || !parse_address(remote, v6, &c->remote))
		return false;
	c->local_port = (uint16_t)lport;
	c->remote_port = (uint16_t)rport;
	return true;
}

void link_parse(FILE *in, bool v6, uint16_t remote_port, struct conn_list *out)
{
	char line[512];

	if (!fgets(line, sizeof(line), in))
		return;
	while (out->count < CONNS_MAX && fgets(line, sizeof(line), in)) {
		struct tcp_conn *c = &out->conns[out->count];

		out->count += parse_line(line, v6, c) && c->remote_port == remote_port;
	}
}

bool link_find(FILE *in, bool v6, uint64_t inode, struct tcp_conn *out)
{
	char line[512];

	while (fgets(line, sizeof(line), in))
		if (parse_line(line, v6, out) && out->inode == inode)
			return true;
	return false;
}

static const char *const tables[] = { "/proc/net/tcp", "/proc/net/tcp6" };

void link_list(uint16_t remote_port, struct conn_list *out)
{
	out->count = 0;
	for (int v6 = 0; v6 < 2; v6++) {
		CLEANUP_FCLOSE FILE *in = fopen(tables[v6], "re");

		if (in)
			link_parse(in, v6, remote_port, out);
	}
}

static const struct tcp_conn *by_inode(const struct conn_list *list, uint64_t inode)
{
	for (size_t i = 0; i < list->count; i++)
		if (list->conns[i].inode == inode)
			return &list->conns[i];
	return NULL;
}

const struct tcp_conn *link_new(const struct conn_list *before, const struct conn_list *after)
{
	const struct tcp_conn *found = NULL;

	for (size_t i = 0; i < after->count; i++) {
		const struct tcp_conn *c = &after->conns[i];

		if (c->state != TCP_STATE_ESTABLISHED || !c->inode || by_inode(before, c->inode))
			continue;
		if (found)
			return NULL;
		found = c;
	}
	return found;
}

enum link_state link_state(uint64_t inode, uint16_t local_port)
{
	struct tcp_conn c;
	bool found = false;

	if (!inode)
		return LINK_UNKNOWN;
	for (int v6 = 0; v6 < 2 && !found; v6++) {
		CLEANUP_FCLOSE FILE *in = fopen(tables[v6], "re");

		found = in && link_find(in, v6, inode, &c);
	}
	if (!found || c.local_port != local_port || c.state != TCP_STATE_ESTABLISHED)
		return LINK_DEAD;
	return c.retransmits ? LINK_STALLED : LINK_UP;
}

bool link_any(uint16_t remote_port)
{
	struct conn_list list;

	link_list(remote_port, &list);
	for (size_t i = 0; i < list.count; i++)
		if (list.conns[i].state == TCP_STATE_ESTABLISHED && list.conns[i].inode)
			return true;
	return false;
}

const char *link_state_name(enum link_state s)
{
	static const char *const names[] = { "unknown", "up", "stalled", "dead" };

	return names[s];
}
