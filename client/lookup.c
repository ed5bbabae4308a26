/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/lookup.h"

#include <errno.h>
#include <netdb.h>
#include <stdbool.h>
#include <string.h>

static void add(const struct addrinfo *a, union reach_address out[], size_t *count)
{
	union reach_address one;

	if ((a->ai_family != AF_INET && a->ai_family != AF_INET6) || a->ai_addrlen > sizeof(one))
		return;
	memset(&one, 0, sizeof(one));
	memcpy(&one, a->ai_addr, a->ai_addrlen);
	for (size_t i = 0; i < *count; i++)
		if (memcmp(&out[i], &one, a->ai_addrlen) == 0)
			return;
	if (*count < REACH_ADDRESSES_MAX)
		out[(*count)++] = one;
}

/* One, of n bytes. */
static int look_up(const char *server, size_t n, struct addrinfo **found, struct errbuf *e)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
	char host[300], *port;
	bool bracket;
	int rc;

	if (n >= sizeof(host))
		return err_set(e, ENAMETOOLONG, "the name of a server is too long");
	memcpy(host, server, n);
	host[n] = '\0';
	bracket = host[0] == '[';
	port = strrchr(host, ':');
	if (!port || (bracket && port[-1] != ']'))
		return err_set(e, EINVAL, "%.64s: a server without its port", host);
	port[bracket ? -1 : 0] = '\0';
	rc = getaddrinfo(host + bracket, port + 1, &hints, found);
	return rc ? err_set(e, EHOSTUNREACH, "the host %s cannot be resolved: %s", host + bracket, gai_strerror(rc)) : 0;
}

int lookup_add(const char *servers, union reach_address out[REACH_ADDRESSES_MAX], size_t *count, struct errbuf *e)
{
	while (*(servers += strspn(servers, " "))) {
		size_t n = strcspn(servers, " ");
		struct addrinfo *found = NULL;

		if (look_up(servers, n, &found, e) < 0)
			return -1;
		servers += n;
		for (const struct addrinfo *a = found; a; a = a->ai_next)
			add(a, out, count);
		freeaddrinfo(found);
	}
	return *count ? 0 : err_set(e, EHOSTUNREACH, "no server has an IPv4 or IPv6 address");
}
