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

enum parameter { CLIENT, SLOT, GEN, LEASE, PARAMETERS };

static const char *const keys[PARAMETERS] = { [CLIENT] = "client=", [SLOT] = "slot=", [GEN] = "gen=", [LEASE] = "lease=" };

bool export_request_is_probe(const char *text)
{
	const char *q = strchr(text, '?');

	return q && strcmp(q + 1, keys[CLIENT]) == 0;
}

/* A number below 100000 at *at, without leading zeros; *at is behind it.  -1: there is none. */
static int small_number(const char **at)
{
	const char *p = *at;
	int v = 0;

	while (*p >= '0' && *p <= '9' && p - *at < 5)
		v = v * 10 + (*p++ - '0');
	if (p == *at || (**at == '0' && p - *at > 1))
		return -1;
	*at = p;
	return v;
}

static int parse_client(const char *value, struct export_request *out, struct errbuf *e)
{
	if (!client_id_ok(value))
		return err_set(e, EINVAL, "export \"%s\": bad client id; 1 to %d letters, digits or any of -_.:@",
			       out->name, CLIENT_ID_MAX);
	strcpy(out->client, value);
	return 0;
}

static int parse_slot(const char *value, struct export_request *out, struct errbuf *e)
{
	const char *p = value;
	int slot = small_number(&p), slots = -1;

	if (slot >= 0 && *p == '/') {
		p++;
		slots = small_number(&p);
	}
	if (slots < 1 || slots > EXPORT_SLOTS_MAX || slot >= slots || *p)
		return err_set(e, EINVAL, "export \"%s\": bad slot \"%.32s\"; write I/N with N from 1 to %d and I from 0 to N - 1",
			       out->name, value, EXPORT_SLOTS_MAX);
	out->slot = (unsigned)slot;
	out->slots = (unsigned)slots;
	return 0;
}

static int parse_number(const char *key, const char *value, uint64_t *number, const struct export_request *out, struct errbuf *e)
{
	if (!generation_number(value, number))
		return err_set(e, EINVAL, "export \"%s\": %s is followed by no number", out->name, key);
	return 0;
}

/* given: a bit for each that has been. */
static int parse_parameter(const char *text, struct export_request *out, unsigned *given, struct errbuf *e)
{
	enum parameter which = 0;
	const char *value;

	while (which < PARAMETERS && strncmp(text, keys[which], strlen(keys[which])) != 0)
		which++;
	if (which == PARAMETERS)
		return err_set(e, EINVAL, "export \"%s\": unknown parameter \"%.32s\"; client=ID, slot=I/N, gen=G and lease=L are known",
			       out->name, text);
	if (*given & 1u << which)
		return err_set(e, EINVAL, "export \"%s\": %s is given twice", out->name, keys[which]);
	*given |= 1u << which;
	value = text + strlen(keys[which]);
	if (which == CLIENT)
		return parse_client(value, out, e);
	if (which == SLOT)
		return parse_slot(value, out, e);
	return parse_number(keys[which], value, which == GEN ? &out->generation.activation : &out->generation.lease, out, e);
}

/* What one parameter is worth without another. */
static int check_together(unsigned given, const struct export_request *out, struct errbuf *e)
{
	if (!(given & 1u << CLIENT) && given)
		return err_set(e, EINVAL, "export \"%s\": slot=, gen= and lease= need client=ID", out->name);
	if (!(given & 1u << GEN) != !(given & 1u << LEASE))
		return err_set(e, EINVAL, "export \"%s\": gen= and lease= go together", out->name);
	return 0;
}

int export_request_parse(const char *text, struct export_request *out, struct errbuf *e)
{
	const char *q = strchr(text, '?');
	size_t n = q ? (size_t)(q - text) : strlen(text);
	unsigned given = 0;
	char parameter[CLIENT_ID_MAX + sizeof("client=") + 1]; /* one byte too many fits, and is refused */

	if (n > EXPORT_NAME_MAX)
		return err_set(e, ENAMETOOLONG, "the export name has %zu bytes, at most %d are allowed", n,
			       EXPORT_NAME_MAX);
	memcpy(out->name, text, n);
	out->name[n] = '\0';
	out->client[0] = '\0';
	out->slot = out->slots = 0;
	out->generation = (struct generation){ .activation = 0 };
	if (export_name_check(out->name, e) < 0)
		return -1;
	while (q) {
		const char *begin = q + 1;

		q = strchr(begin, '&');
		n = q ? (size_t)(q - begin) : strlen(begin);
		if (n >= sizeof(parameter))
			n = sizeof(parameter) - 1;
		memcpy(parameter, begin, n);
		parameter[n] = '\0';
		if (parse_parameter(parameter, out, &given, e) < 0)
			return -1;
	}
	out->looks = (given & 1u << GEN) && out->generation.activation == 0;
	out->resumes = (given & 1u << GEN) && !out->looks;
	return check_together(given, out, e);
}
