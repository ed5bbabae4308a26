/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/uri.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* As given, and in the normal form, which can be given in its turn; messages have room for it. */
#define TEXT_MAX 700

static int hex(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)tolower((unsigned char)c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Undoes %XX in n bytes of text into out.  Returns -1 when it does not fit or is not well formed. */
static int decode(const char *text, size_t n, char *out, size_t size)
{
	size_t at = 0;

	for (size_t i = 0; i < n; i++) {
		char c = text[i];

		if (c == '%') {
			if (i + 2 >= n || hex(text[i + 1]) < 0 || hex(text[i + 2]) < 0)
				return -1;
			c = (char)(hex(text[i + 1]) * 16 + hex(text[i + 2]));
			i += 2;
			if (!c)
				return -1;
		}
		if (at + 1 >= size)
			return -1;
		out[at++] = c;
	}
	out[at] = '\0';
	return 0;
}

/* Writes text with everything but unreserved characters, and those to keep, as %XX. */
static void encode(const char *text, const char *keep, char *out, size_t size)
{
	size_t at = 0;

	for (; *text && at + 4 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (isalnum(c) || strchr("-._~@:+,=", c) || strchr(keep, c))
			out[at++] = (char)c;
		else
			at += (size_t)snprintf(out + at, size - at, "%%%02X", c);
	}
	out[at] = '\0';
}

static int parse_port(const char *text, size_t n, const char *whole, struct nbd_uri *out, struct errbuf *e)
{
	unsigned long port = 0;

	for (size_t i = 0; i < n; i++) {
		if (!isdigit((unsigned char)text[i]) || i >= 5)
			return err_set(e, EINVAL, "%s: the port must be a number from 1 to 65535", whole);
		port = port * 10 + (unsigned long)(text[i] - '0');
	}
	if (port < 1 || port > 65535)
		return err_set(e, EINVAL, "%s: the port must be a number from 1 to 65535", whole);
	snprintf(out->port, sizeof(out->port), "%lu", port);
	return 0;
}

/* HOST, HOST:PORT, [IPv6] or [IPv6]:PORT in n bytes. */
static int parse_authority(const char *text, size_t n, const char *whole, struct nbd_uri *out, struct errbuf *e)
{
	const char *host = text, *rest;
	size_t host_len;

	if (memchr(text, '@', n))
		return err_set(e, EINVAL,
			       "%s: a user name has no meaning in NBD; write nbd://HOST[:PORT]/EXPORT", whole);
	if (n && text[0] == '[') {
		const char *end = memchr(text, ']', n);

		if (!end)
			return err_set(e, EINVAL, "%s: the bracket of the IPv6 address is not closed", whole);
		host = text + 1;
		host_len = (size_t)(end - host);
		rest = end + 1;
	} else {
		const char *colon = memchr(text, ':', n);

		host_len = colon ? (size_t)(colon - text) : n;
		rest = text + host_len;
		if (colon && memchr(colon + 1, ':', n - host_len - 1))
			return err_set(e, EINVAL,
				       "%s: write an IPv6 address in brackets: nbd://[fe80::1]/EXPORT", whole);
	}
	if (!host_len)
		return err_set(e, EINVAL, "%s: the server is missing; write nbd://HOST[:PORT]/EXPORT", whole);
	if (decode(host, host_len, out->host, sizeof(out->host)) < 0)
		return err_set(e, EINVAL, "%s: the host name is too long or badly encoded", whole);
	/* It becomes an argument of nbd-client, which would take a leading '-' for an option. */
	for (const char *p = out->host; *p; p++)
		if (!isalnum((unsigned char)*p) && (p == out->host ? !strchr(":", *p) : !strchr("-._:%", *p)))
			return err_set(e, EINVAL, "%s: the host name has a character that no host name has",
				       whole);
	if (rest == text + n) {
		strcpy(out->port, NBD_PORT);
		return 0;
	}
	if (*rest != ':')
		return err_set(e, EINVAL, "%s: only :PORT may follow the address in brackets", whole);
	return parse_port(rest + 1, (size_t)(text + n - rest - 1), whole, out, e);
}

static int parse_unix(const char *path, const char *whole, struct nbd_uri *out, struct errbuf *e)
{
	const char *query = strchr(path, '?');
	static const char key[] = "socket=";

	if (*path != '/' || !query || strncmp(query + 1, key, sizeof(key) - 1) != 0)
		return err_set(e, EINVAL, "%s: write nbd+unix:///EXPORT?socket=PATH", whole);
	if (decode(query + sizeof(key), strlen(query + sizeof(key)), out->socket, sizeof(out->socket)) < 0 ||
	    !out->socket[0])
		return err_set(e, EINVAL, "%s: the path of the socket is empty, too long or badly encoded",
			       whole);
	if (decode(path + 1, (size_t)(query - path - 1), out->export, sizeof(out->export)) < 0)
		return err_set(e, EINVAL, "%s: the export name is too long or badly encoded", whole);
	return 0;
}

static int parse_tcp(const char *rest, const char *whole, struct nbd_uri *out, struct errbuf *e)
{
	size_t n = strcspn(rest, "/?#");

	if (parse_authority(rest, n, whole, out, e) < 0)
		return -1;
	rest += n;
	if (strpbrk(rest, "?#"))
		return err_set(e, EINVAL,
			       "%s: nothing may follow the export name; who the client is, nbdswap adds by "
			       "itself",
			       whole);
	if (*rest == '/')
		rest++;
	if (decode(rest, strlen(rest), out->export, sizeof(out->export)) < 0)
		return err_set(e, EINVAL, "%s: the export name is too long or badly encoded", whole);
	return 0;
}

int uri_parse(const char *text, enum uri_kinds kinds, struct nbd_uri *out, struct errbuf *e)
{
	char export[3 * EXPORT_NAME_MAX + 8], host[3 * sizeof(out->host) + 8];
	const char *rest = strstr(text, "://");
	size_t scheme = rest ? (size_t)(rest - text) : 0;
	int normal;

	memset(out, 0, sizeof(*out));
	if (!rest)
		return err_set(e, EINVAL, "\"%.64s\" is not an address; write nbd://HOST[:PORT]/EXPORT", text);
	if (strlen(text) > TEXT_MAX)
		return err_set(e, ENAMETOOLONG, "the address has %zu bytes, at most %d are allowed",
			       strlen(text), TEXT_MAX);
	rest += 3;
	if (scheme == 3 && strncasecmp(text, "nbd", 3) == 0) {
		if (parse_tcp(rest, text, out, e) < 0)
			return -1;
	} else if (scheme == 8 && strncasecmp(text, "nbd+unix", 8) == 0) {
		if (kinds == URI_TCP_ONLY)
			return err_set(e, EINVAL,
				       "%s: a Unix socket leads to a server on this machine, and a machine "
				       "cannot swap to itself: the server would wait for the memory it is asked to free; "
				       "write nbd://HOST[:PORT]/EXPORT",
				       text);
		if (parse_unix(rest, text, out, e) < 0)
			return -1;
	} else if (strncasecmp(text, "nbds", 4) == 0) {
		return err_set(e, EINVAL,
			       "%s: TLS would put a process between the kernel and its swap, which deadlocks "
			       "when memory is short; use nbd:// on a network that is trusted or a tunnel made by the "
			       "kernel (WireGuard, IPsec)",
			       text);
	} else {
		return err_set(e, EINVAL, "%s: \"%.*s\" is not a scheme of NBD; write nbd://HOST[:PORT]/EXPORT",
			       text, (int)scheme, text);
	}
	if (export_name_check(out->export, e) < 0)
		return err_prefix(e, "%s", text);
	encode(out->export, "", export, sizeof(export));
	if (out->socket[0])
		encode(out->socket, "/", host, sizeof(host));
	else
		encode(out->host, "", host, sizeof(host));
	if (out->socket[0])
		normal = snprintf(out->text, sizeof(out->text), "nbd+unix:///%s?socket=%s", export, host);
	else
		normal = snprintf(out->text, sizeof(out->text),
				  strchr(out->host, ':') ? "nbd://[%s]:%s/%s" : "nbd://%s:%s/%s", host,
				  out->port, export);
	if (normal > TEXT_MAX)
		return err_set(e, ENAMETOOLONG, "the address has %d bytes with %%XX for what is not plain ASCII, at most %d "
			       "are allowed", normal, TEXT_MAX);
	return 0;
}

int uri_parse_server(const char *text, struct nbd_uri *out, struct errbuf *e)
{
	char address[sizeof(out->host) + 32];

	if (strchr(text, '/') || snprintf(address, sizeof(address), "nbd://%s/x", text) >= (int)sizeof(address) ||
	    uri_parse(address, URI_TCP_ONLY, out, NULL) < 0)
		return err_set(e, EINVAL, "server \"%.64s\": give HOST, HOST:PORT or [HOST]:PORT, as in an address", text);
	return 0;
}
