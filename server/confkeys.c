/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/confkeys.h"

#include "common/allow.h"
#include "common/size.h"
#include "store/page.h"
#include "store/table.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

static int parse_number(const struct conf_key *key, const char *value, void *field, struct errbuf *e)
{
	uint64_t v = 0;
	const char *p;

	for (p = value; *p >= '0' && *p <= '9' && v <= key->max; p++)
		v = v * 10 + (unsigned)(*p - '0');
	if (p == value || *p || v < key->min || v > key->max)
		return err_set(e, EINVAL, "\"%s\" is not a number from %" PRIu64 " to %" PRIu64, value, key->min, key->max);
	*(uint64_t *)field = v;
	return 0;
}

static int parse_size(const struct conf_key *key, const char *value, void *field, struct errbuf *e)
{
	char min[SIZE_TEXT], max[SIZE_TEXT];
	uint64_t v;

	if (size_parse(value, &v) < 0)
		return err_set(e, EINVAL, "\"%s\" is not a size; write a number with K, M, G or T behind it, as 4G", value);
	if (v < key->min || v > key->max)
		return err_set(e, EINVAL, "\"%s\" is not between %s and %s", value, size_format(key->min, min),
			       size_format(key->max, max));
	if (v % PAGE_BYTES)
		return err_set(e, EINVAL, "\"%s\" is not a multiple of %u bytes (a page)", value, PAGE_BYTES);
	*(uint64_t *)field = v;
	return 0;
}

static int parse_text(const struct conf_key *key, const char *value, void *field, struct errbuf *e)
{
	if (strlen(value) >= key->max)
		return err_set(e, EINVAL, "the value has %zu bytes, at most %" PRIu64 " are allowed", strlen(value),
			       key->max - 1);
	strcpy(field, value);
	return 0;
}

static int parse_path(const struct conf_key *key, const char *value, void *field, struct errbuf *e)
{
	if (value[0] != '/')
		return err_set(e, EINVAL, "\"%s\" is not an absolute path; it must begin with '/'", value);
	return parse_text(key, value, field, e);
}

/* %n is the export's name (put in when the whole section is known), %% a percent sign. */
static int parse_pattern(const struct conf_key *key, const char *value, void *field, struct errbuf *e)
{
	for (const char *p = strchr(value, '%'); p; p = strchr(p + 2, '%'))
		if (p[1] != 'n' && p[1] != '%')
			return err_set(e, EINVAL, "\"%s\": after '%%' only n (the export's name) or another '%%' may stand",
				       value);
	return parse_path(key, value, field, e);
}

static int parse_plugin(const struct conf_key *key, const char *value, void *field, struct errbuf *e)
{
	if (strcmp(value, "swap") == 0)
		return parse_text(key, value, field, e);
	return parse_path(key, value, field, e);
}

/* One of the words in key->arg; the value is its place there. */
static int parse_word(const struct conf_key *key, const char *value, void *field, struct errbuf *e)
{
	size_t len = strlen(value), n;
	uint64_t place = 0;
	char list[128] = "";

	for (const char *p = key->arg; *p; p += n + (p[n] == '|'), place++) {
		n = strcspn(p, "|");
		if (n == len && memcmp(p, value, n) == 0) {
			*(uint64_t *)field = place;
			return 0;
		}
		snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s%.*s", place ? ", " : "", (int)n, p);
	}
	return err_set(e, EINVAL, "\"%s\" is not %s%s", value, place > 1 ? "one of " : "", list);
}

static int parse_allow(const struct conf_key *key, const char *value, void *field, struct errbuf *e)
{
	unsigned bit = allow_of(value, strlen(value));

	*(uint64_t *)field |= bit;
	if (bit)
		return 0;
	return err_set(e, EINVAL, "\"%s\" is not one of " ALLOW_WORDS, value);
}

static int parse_listen(const struct conf_key *key, const char *value, void *field, struct errbuf *e)
{
	struct conf_server *s = field; /* offset 0: it sets two fields */

	for (size_t i = 0; i < s->nlisten; i++)
		if (strcmp(s->listen[i].text, value) == 0)
			return err_set(e, EINVAL, "\"%s\" is listed twice", value);
	if (s->nlisten == CONF_LISTEN_MAX)
		return err_set(e, EINVAL, "more than %d addresses", CONF_LISTEN_MAX);
	if (listen_parse(value, &s->listen[s->nlisten], e) < 0)
		return -1;
	s->nlisten++;
	return 0;
}

#define OFFSET(field) .offset = offsetof(struct conf_server, field)
#define EXPORT_OFFSET(field) .offset = offsetof(struct conf_export, field)
#define FIELD_BYTES(type, field) .max = sizeof(((struct type *)NULL)->field)

/* The values of words are their places in the argument. */
_Static_assert(CHECK_XXH3 == 0 && CHECK_NONE == 1 && PAGE_SEAL_NONE == 0 && PAGE_SEAL_AES_256_GCM == 1 && ENGINE_NATIVE == 0 &&
	       ENGINE_NBDKIT == 1 && SURVIVE_PROCESS == 0 && SURVIVE_HOST == 1, "as in check, seal, engine and survive below");

const struct conf_key conf_keys[] = {
	{ SECTION_SERVER, "listen", "ADDRESS ...", "0.0.0.0:10809 [::]:10809",
	  "where clients connect: ADDR:PORT, [IPV6]:PORT or unix:PATH", parse_listen, .list = true },
	{ SECTION_SERVER, "control", "PATH", RUNSTATEDIR "/nbdswap/control", "the control socket, for nbdswapctl", parse_path,
	  OFFSET(control), FIELD_BYTES(conf_server, control), .restart = true },
	{ SECTION_SERVER, "engine", "native|nbdkit", "native",
	  "what serves clients: the native engine, whose clients do not notice its end, or nbdkit with the swap plugin", parse_word,
	  OFFSET(engine), .restart = true },
	{ SECTION_SERVER, "native", "PATH", NATIVE_PATH, "the native engine's program", parse_path, OFFSET(native),
	  FIELD_BYTES(conf_server, native), .restart = true },
	{ SECTION_SERVER, "connections", "NUMBER", "64", "sessions that the native engine serves at once", parse_number,
	  OFFSET(connections), .min = 1, .max = 1024, .restart = true },
	{ SECTION_SERVER, "nbdkit", "PATH", NBDKIT_PATH, "the nbdkit program that workers are made of", parse_path,
	  OFFSET(nbdkit), FIELD_BYTES(conf_server, nbdkit), .restart = true },
	{ SECTION_SERVER, "plugin", "PATH", "swap", "nbdkit's swap plugin: \"swap\" for the installed one, or a path",
	  parse_plugin, OFFSET(plugin), FIELD_BYTES(conf_server, plugin), .restart = true },
	{ SECTION_SERVER, "threads", "NUMBER", "8", "nbdkit: requests of one connection that are served at once", parse_number,
	  OFFSET(threads), .min = 1, .max = 256, .restart = true },
	{ SECTION_SERVER, "pool", "SIZE", "8M", "the worker's buffers, common to all exports", parse_size, OFFSET(pool),
	  .min = 1 << 20, .max = 1 << 30, .restart = true },
	{ SECTION_SERVER, "priority", "NUMBER", "15", "how far the worker goes before other processes: a nice value of -NUMBER", parse_number,
	  OFFSET(priority), .max = 20, .restart = true },
	{ SECTION_SERVER, "allow", "WHAT ...", NULL, "run although this cannot be had: " ALLOW_WORDS, parse_allow,
	  OFFSET(allow), .list = true, .restart = true },
	{ SECTION_SERVER, "stop-timeout", "SECONDS", "10", "how long requests in flight may take when stopping", parse_number,
	  OFFSET(stop_timeout), .min = 0, .max = 600 },
	{ SECTION_EXPORT, "file", "PATH", NULL, "the backing file or block device; %n is the export's name", parse_pattern,
	  EXPORT_OFFSET(file), FIELD_BYTES(conf_export, file), .idle = true },
	{ SECTION_EXPORT, "size", "SIZE", NULL, "of the export; without it the file's own size is taken", parse_size,
	  EXPORT_OFFSET(size), .min = 64 << 10, .max = (uint64_t)1 << 46, .idle = true },
	{ SECTION_EXPORT, "provision", "never|create", "create",
	  "at start: create a missing file and fill an empty one, or refuse it", parse_word, EXPORT_OFFSET(create) },
	{ SECTION_EXPORT, "check", "xxh3|none", "xxh3",
	  "what shows that a page is the one written; a sealed one is authenticated whatever stands here", parse_word,
	  EXPORT_OFFSET(check), .idle = true },
	{ SECTION_EXPORT, "seal", "none|aes-256-gcm", "none", "encrypt and authenticate every page", parse_word, EXPORT_OFFSET(seal),
	  .idle = true },
	{ SECTION_EXPORT, "key", "ephemeral", "ephemeral", "of the seal: made anew for each activation, gone with it", parse_word,
	  EXPORT_OFFSET(key), .idle = true },
	{ SECTION_EXPORT, "key-file", "PATH", NULL, "of the seal, in place of key: the file that has it; %n is the export's name",
	  parse_pattern, EXPORT_OFFSET(key_file), FIELD_BYTES(conf_export, key_file), .idle = true },
	{ SECTION_EXPORT, "survive", "process|host", "process",
	  "what pages outlive: the server's processes, or an unclean end of its machine too, for a record and a flush with each write", parse_word,
	  EXPORT_OFFSET(survive), .idle = true },
	{ SECTION_EXPORT, "retry-time", "SECONDS", "300", "how long a write is tried again while the backend gives passing errors",
	  parse_number, EXPORT_OFFSET(retry_time), .min = 0, .max = 86400 },
	{ SECTION_EXPORT, "description", "TEXT", "", "shown to clients that list the exports", parse_text,
	  EXPORT_OFFSET(description), FIELD_BYTES(conf_export, description) },
	{ SECTION_NONE, NULL },
};

const struct conf_key *conf_key_find(enum conf_section section, const char *name)
{
	if (section == SECTION_DEFAULTS)
		section = SECTION_EXPORT;
	for (const struct conf_key *k = conf_keys; k->name; k++)
		if (k->section == section && strcmp(k->name, name) == 0)
			return k;
	return NULL;
}

void conf_key_defaults(enum conf_section section, void *base)
{
	for (const struct conf_key *k = conf_keys; k->name; k++)
		if (k->section == section && k->dflt && !k->list)
			k->parse(k, k->dflt, (char *)base + k->offset, NULL);
}

static bool is_text(const struct conf_key *key)
{
	return key->parse == parse_text || key->parse == parse_path || key->parse == parse_pattern ||
	       key->parse == parse_plugin;
}

void conf_key_copy(const struct conf_key *key, void *to, const void *from)
{
	memcpy((char *)to + key->offset, (const char *)from + key->offset, is_text(key) ? key->max : sizeof(uint64_t));
}

bool conf_key_differs(const struct conf_key *key, const void *a, const void *b)
{
	const char *fa = (const char *)a + key->offset, *fb = (const char *)b + key->offset;
	const struct conf_server *sa = a, *sb = b;

	if (is_text(key))
		return strcmp(fa, fb) != 0;
	if (key->parse != parse_listen)
		return *(const uint64_t *)fa != *(const uint64_t *)fb;
	if (sa->nlisten != sb->nlisten)
		return true;
	for (size_t i = 0; i < sa->nlisten; i++)
		if (strcmp(sa->listen[i].text, sb->listen[i].text) != 0)
			return true;
	return false;
}

const char *conf_key_word(const char *name, uint64_t value, char buf[CONF_WORD_MAX])
{
	const char *p = conf_key_find(SECTION_EXPORT, name)->arg;

	for (; value > 0; value--)
		p += strcspn(p, "|") + 1;
	snprintf(buf, CONF_WORD_MAX, "%.*s", (int)strcspn(p, "|"), p);
	return buf;
}

void conf_keys_help(FILE *out)
{
	enum conf_section last = SECTION_NONE;

	for (const struct conf_key *k = conf_keys; k->name; k++) {
		if (k->section != last)
			fprintf(out, "%s%s\n", last == SECTION_NONE ? "" : "\n", k->section == SECTION_SERVER ? "[server]" :
				"[export NAME], with defaults for all in [defaults]");
		last = k->section;
		fprintf(out, "  %s = %s\n      %s", k->name, k->arg, k->help);
		if (k->dflt && *k->dflt)
			fprintf(out, " (default: %s)", k->dflt);
		if (k->restart)
			fputs("; needs a restart", out);
		if (k->idle)
			fputs("; changed only while no client has the export", out);
		fputc('\n', out);
	}
}
