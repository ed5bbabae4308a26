/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/exportname.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <string.h>

int export_name_check(const char *name, struct errbuf *e)
{
	size_t n = strlen(name);

	if (n == 0)
		return err_set(e, EINVAL, "the export name is empty; name one of the exports of this server");
	if (n > EXPORT_NAME_MAX)
		return err_set(e, ENAMETOOLONG, "the export name has %zu bytes, at most %d are allowed", n,
			       EXPORT_NAME_MAX);
	if (name[0] == '.')
		return err_set(e, EINVAL, "export name \"%.32s\": hidden names (leading '.') are refused", name);
	for (const char *p = name; *p; p++) {
		if (*p == '/')
			return err_set(e, EINVAL, "export name \"%.32s\": '/' would leave the directory", name);
		if (*p == '?')
			return err_set(e, EINVAL, "export name \"%.32s\": '?' begins the parameters", name);
		if (iscntrl((unsigned char)*p))
			return err_set(e, EINVAL, "the export name has a control character (0x%02x)",
				       (unsigned char)*p);
	}
	return 0;
}

/* Identities are boot ids and the like: letters, digits and a few marks. */
static bool client_id_ok(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > CLIENT_ID_MAX)
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)s[i]) && !strchr("-_.:@", s[i]))
			return false;
	return true;
}

static const char client_key[] = "client=";

bool export_request_is_probe(const char *text)
{
	const char *q = strchr(text, '?');

	return q && strcmp(q + 1, client_key) == 0;
}

int export_request_parse(const char *text, struct export_request *out, struct errbuf *e)
{
	const char *q = strchr(text, '?');
	size_t n = q ? (size_t)(q - text) : strlen(text);

	if (n > EXPORT_NAME_MAX)
		return err_set(e, ENAMETOOLONG, "the export name has %zu bytes, at most %d are allowed", n,
			       EXPORT_NAME_MAX);
	memcpy(out->name, text, n);
	out->name[n] = '\0';
	out->client[0] = '\0';
	if (export_name_check(out->name, e) < 0)
		return -1;
	if (!q)
		return 0;
	q++;
	if (strncmp(q, client_key, sizeof(client_key) - 1) != 0)
		return err_set(e, EINVAL, "export \"%s\": unknown parameter \"%.32s\"; only client=ID is known",
			       out->name, q);
	q += sizeof(client_key) - 1;
	if (!client_id_ok(q))
		return err_set(e, EINVAL, "export \"%s\": bad client id; 1 to %d letters, digits or any of -_.:@",
			       out->name, CLIENT_ID_MAX);
	strcpy(out->client, q);
	return 0;
}
