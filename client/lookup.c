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

int lookup_add(const char *hosts, const char *port, union reach_address out[REACH_ADDRESSES_MAX], size_t *count, struct errbuf *e)
{
	while (*(hosts += strspn(hosts, " "))) {
		struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
		size_t n = strcspn(hosts, " ");
		char host[256];
		int rc;

		if (n >= sizeof(host))
			return err_set(e, ENAMETOOLONG, "the name of a server is too long");
		memcpy(host, hosts, n);
		host[n] = '\0';
		hosts += n;
		rc = getaddrinfo(host, port, &hints, &found);
		if (rc)
			return err_set(e, EHOSTUNREACH, "the host %s cannot be resolved: %s", host, gai_strerror(rc));
		for (const struct addrinfo *a = found; a; a = a->ai_next)
			add(a, out, count);
		freeaddrinfo(found);
	}
	return *count ? 0 : err_set(e, EHOSTUNREACH, "no server has an IPv4 or IPv6 address");
}
