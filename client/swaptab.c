/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/swaptab.h"

#include "client/nbddev.h"
#include "client/swapheader.h"
#include "common/cleanup.h"

#include <errno.h>
#include <string.h>

#define SECONDS_MAX (366ull * 24 * 3600)

/* Decimal digits only: strtoul alone takes signs and blanks too. */
static int number(const char *text, uint64_t max, uint64_t *out)
{
	uint64_t value = 0;

	if (!*text)
		return -1;
	for (; *text; text++) {
		if (*text < '0' || *text > '9' || value > max)
			return -1;
		value = value * 10 + (uint64_t)(*text - '0');
	}
	*out = value;
	return value <= max ? 0 : -1;
}

int priority_parse(const char *text, int *out, struct errbuf *e)
{
	uint64_t value;

	if (number(text, PRIORITY_MAX, &value) < 0)
		return err_set(e, EINVAL, "priority \"%.32s\" is not a number from 0 to %d", text,
			       PRIORITY_MAX);
	*out = (int)value;
	return 0;
}

int seconds_parse(const char *text, uint64_t *out, struct errbuf *e)
{
	if (number(text, SECONDS_MAX, out) < 0 || *out == 0)
		return err_set(e, EINVAL, "\"%.32s\" is not a number of seconds from 1 to %llu", text,
			       SECONDS_MAX);
	return 0;
}

static int parse_option(char *option, struct swaptab_entry *t, struct errbuf *e)
{
	char *value = strchr(option, '=');
	struct nbddev dev;

	if (strcmp(option, "defaults") == 0)
		return 0;
	if (value)
		*value++ = '\0';
	if (!value || !*value)
		return err_set(e, EINVAL, "option \"%.32s\" %s", option,
			       value ? "has no value" : "is not known, or lacks its =VALUE");
	if (strcmp(option, "pri") == 0)
		return priority_parse(value, &t->priority, e);
	if (strcmp(option, "discard") == 0)
		return discard_mode_parse(value, &t->discard, e);
	if (strcmp(option, "dead-link-timeout") == 0)
		return seconds_parse(value, &t->dead_link_timeout, e);
	if (strcmp(option, "label") == 0) {
		if (strlen(value) > SWAP_LABEL_MAX)
			return err_set(e, EINVAL, "label \"%.32s\" has more than %d bytes", value,
				       SWAP_LABEL_MAX);
		strcpy(t->label, value);
		return 0;
	}
	if (strcmp(option, "device") == 0) {
		if (nbddev_parse(value, &dev, e) < 0)
			return -1;
		strcpy(t->device, dev.name);
		return 0;
	}
	if (strcmp(option, "server") == 0) {
		if (t->nservers == SWAPTAB_SERVERS_MAX)
			return err_set(e, E2BIG, "more than %d times server=", SWAPTAB_SERVERS_MAX);
		if (uri_parse_server(value, &t->servers[t->nservers], e) < 0)
			return -1;
		t->nservers++;
		return 0;
	}
	return err_set(e, EINVAL,
		       "option \"%.32s\" is not known; known are defaults, pri, discard, label, device, server and "
		       "dead-link-timeout",
		       option);
}

static int parse_line(char *line, struct swaptab *out, struct errbuf *e)
{
	struct swaptab_entry *t = &out->entries[out->count];
	char *save = NULL, *option_save = NULL;
	char *uri = strtok_r(line, " \t\r\n", &save);
	char *options = uri ? strtok_r(NULL, " \t\r\n", &save) : NULL;

	if (!uri || uri[0] == '#')
		return 0;
	if (out->count == SWAPTAB_MAX)
		return err_set(e, E2BIG, "more than %d swap areas", SWAPTAB_MAX);
	memset(t, 0, sizeof(*t));
	t->priority = PRIORITY_KERNEL;
	if (uri_parse(uri, URI_TCP_ONLY, &t->uri, e) < 0)
		return -1;
	if (options && options[0] == '#')
		options = NULL;
	else if (options && (uri = strtok_r(NULL, " \t\r\n", &save)) && uri[0] != '#')
		return err_set(e, EINVAL,
			       "\"%.32s\" after the options; write options with commas and without blanks",
			       uri);
	for (char *o = options ? strtok_r(options, ",", &option_save) : NULL; o;
	     o = strtok_r(NULL, ",", &option_save))
		if (parse_option(o, t, e) < 0)
			return -1;
	for (size_t i = 0; i < out->count; i++) {
		if (strcmp(out->entries[i].uri.text, t->uri.text) == 0)
			return err_set(e, EINVAL, "%s is already on line %u", t->uri.text,
				       out->entries[i].line);
		if (t->device[0] && strcmp(out->entries[i].device, t->device) == 0)
			return err_set(e, EINVAL, "%s is already taken by line %u", t->device,
				       out->entries[i].line);
	}
	out->count++;
	return 0;
}

int swaptab_parse(FILE *in, const char *name, struct swaptab *out, struct errbuf *e)
{
	char line[2048];

	out->count = 0;
	for (unsigned number_ = 1; fgets(line, sizeof(line), in); number_++) {
		if (!strchr(line, '\n') && !feof(in))
			return err_set(e, EINVAL, "%s:%u: the line is longer than %zu bytes", name, number_,
				       sizeof(line) - 2);
		if (parse_line(line, out, e) < 0)
			return err_prefix(e, "%s:%u", name, number_);
		if (out->count && !out->entries[out->count - 1].line)
			out->entries[out->count - 1].line = number_;
	}
	return ferror(in) ? err_errno(e, "cannot read %s", name) : 0;
}

int swaptab_load(const char *path, struct swaptab *out, struct errbuf *e)
{
	CLEANUP_FCLOSE FILE *in = fopen(path, "re");

	if (!in)
		return err_errno(e, "cannot open %s", path);
	return swaptab_parse(in, path, out, e);
}
