/* SPDX-License-Identifier: BSD-3-Clause */
/* inih hands over keys and values; everything that needs line numbers is done here in its reader, because inih as packaged
 * passes none, reports only the first bad line, and cuts long sections' names.
 */
#include "config.h"

#include "server/conffile.h"

#include "common/cleanup.h"
#include "common/utf8.h"
#include "server/confkeys.h"
#include "store/table.h"

#include <ctype.h>
#include <errno.h>
#include <ini.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SEEN_MAX 32 /* more than there are keys in a section */

struct seen {
	unsigned line[SEEN_MAX]; /* by index in conf_keys: where the key was first given, 0: not yet */
};

struct parser {
	struct conf *conf;
	struct conf_errors *errors;
	FILE *in;
	unsigned line;
	bool continued;	 /* the line began with a blank: more of the value before */
	bool expect_key; /* the line must be a key; the handler has not been called for it yet */
	bool after_key;	 /* inih takes a line that begins with a blank as more of the value before */
	bool skip;	 /* in a section that is refused: its keys say nothing */
	enum conf_section section;
	unsigned server_line, defaults_line; /* where those sections were, 0: nowhere */
	struct conf_export defaults;
	struct seen seen;	   /* of the section in hand */
	struct seen defaults_seen;
	struct seen *export_seen; /* one for each export */
};

static __attribute__((format(printf, 3, 4))) void complain(struct parser *p, unsigned line, const char *fmt, ...)
{
	char text[1024], *whole, **grown;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (line ? asprintf(&whole, "%s:%u: %s", p->conf->path, line, text) < 0 :
		   asprintf(&whole, "%s: %s", p->conf->path, text) < 0)
		abort();
	grown = realloc(p->errors->text, (p->errors->count + 1) * sizeof(*grown));
	if (!grown)
		abort();
	p->errors->text = grown;
	grown[p->errors->count++] = whole;
}

/* The handler was to be called for the line before this one. */
static void finish_line(struct parser *p)
{
	if (p->expect_key)
		complain(p, p->line, "neither a [section] nor a line KEY = VALUE");
	p->expect_key = false;
}

/* Keeps what was given in the section that ends here. */
static void finish_section(struct parser *p)
{
	if (p->section == SECTION_DEFAULTS && !p->skip)
		p->defaults_seen = p->seen;
	else if (p->section == SECTION_EXPORT && !p->skip)
		p->export_seen[p->conf->nexports - 1] = p->seen;
	memset(&p->seen, 0, sizeof(p->seen));
}

static void begin_export(struct parser *p, const char *name)
{
	struct conf *c = p->conf;
	const struct conf_export *twin;
	struct conf_export *exports;
	struct seen *seen;
	struct errbuf e;

	p->section = SECTION_EXPORT;
	p->skip = true;
	if (export_name_check(name, &e) < 0) {
		complain(p, p->line, "[export %s]: %s", name, e.text);
		return;
	}
	if (name[utf8_span(name)]) {
		complain(p, p->line, "[export %s]: the name is not UTF-8, so that no client could ask for it", name);
		return;
	}
	twin = conf_find(c, name);
	if (twin) {
		complain(p, p->line, "[export %s]: declared twice, first in line %u; remove one", name, twin->line);
		return;
	}
	if (c->nexports == CONF_EXPORTS_MAX) {
		complain(p, p->line, "[export %s]: more than %d exports", name, CONF_EXPORTS_MAX);
		return;
	}
	exports = realloc(c->exports, (c->nexports + 1) * sizeof(*exports));
	if (exports)
		c->exports = exports;
	seen = realloc(p->export_seen, (c->nexports + 1) * sizeof(*seen));
	if (seen)
		p->export_seen = seen;
	if (!exports || !seen)
		abort();
	memset(&exports[c->nexports], 0, sizeof(*exports));
	memset(&seen[c->nexports], 0, sizeof(*seen));
	strcpy(exports[c->nexports].name, name);
	exports[c->nexports].line = p->line;
	c->nexports++;
	p->skip = false;
}

static void begin_section(struct parser *p, char *header)
{
	char *end = strchr(header, ']'), *name = header + 1;
	unsigned *line = NULL;

	finish_section(p);
	p->section = SECTION_NONE;
	p->skip = true;
	if (!end) {
		complain(p, p->line, "the section's name does not end in ']'");
		return;
	}
	*end = '\0';
	for (end++; isspace((unsigned char)*end); end++)
		;
	if (*end && !strchr(";#", *end)) {
		complain(p, p->line, "there is text behind [%s]", name);
		return;
	}
	if (strcmp(name, "server") == 0) {
		p->section = SECTION_SERVER;
		line = &p->server_line;
	} else if (strcmp(name, "defaults") == 0) {
		p->section = SECTION_DEFAULTS;
		line = &p->defaults_line;
	} else if (strncmp(name, "export", 6) == 0 && (!name[6] || isspace((unsigned char)name[6]))) {
		for (name += 6; isspace((unsigned char)*name); name++)
			;
		for (end = name + strlen(name); end > name && isspace((unsigned char)end[-1]);)
			*--end = '\0';
		begin_export(p, name);
		return;
	} else {
		complain(p, p->line, "[%s]: unknown section; there are [server], [defaults] and [export NAME]", name);
		return;
	}
	if (*line)
		complain(p, p->line, "[%s]: declared twice, first in line %u; make one of the two", name, *line);
	else
		p->skip = false;
	if (!*line)
		*line = p->line;
}

/* Reads a whole line; what does not fit is dropped, and told, as is a NUL byte: what is behind it would not be seen. */
static bool get_line(FILE *in, char *str, int num, bool *cut, bool *nul)
{
	int n = 0, c;

	*cut = *nul = false;
	while ((c = getc(in)) != EOF) {
		if (n < num - 1)
			str[n++] = (char)c;
		else
			*cut = true;
		*nul |= c == '\0';
		if (c == '\n')
			break;
	}
	str[n] = '\0';
	return n > 0;
}

/* inih's reader, an fgets that keeps count. */
static char *read_line(char *str, int num, void *stream)
{
	struct parser *p = stream;
	bool cut, nul;
	char *start;

	finish_line(p);
	if (!get_line(p->in, str, num, &cut, &nul))
		return NULL;
	p->line++;
	if (cut || nul) {
		if (cut)
			complain(p, p->line, "the line is longer than %d bytes", num - 2);
		else
			complain(p, p->line, "the line has a NUL byte");
		strcpy(str, "\n");
		return str;
	}
	start = str;
	if (p->line == 1 && strncmp(start, "\xef\xbb\xbf", 3) == 0)
		start += 3;
	p->continued = p->after_key && isspace((unsigned char)*start);
	while (isspace((unsigned char)*start))
		start++;
	if (*start == '[' && !p->continued) {
		CLEANUP_FREE char *header = strdup(start);

		if (!header)
			abort();
		p->after_key = false;
		begin_section(p, header);
		strcpy(str, "[section]\n"); /* its name is dealt with; inih's copy is not used */
	} else if (*start && !strchr(";#", *start)) {
		p->expect_key = true;
	}
	return str;
}

static void set_value(struct parser *p, const struct conf_key *key, const char *value)
{
	void *base = p->section == SECTION_SERVER ? (void *)&p->conf->server :
		     p->section == SECTION_DEFAULTS ? (void *)&p->defaults :
						      (void *)&p->conf->exports[p->conf->nexports - 1];
	void *field = (char *)base + key->offset;
	struct errbuf e;

	if (!*value) {
		complain(p, p->line, "%s: the value is empty; give %s or remove the line", key->name, key->arg);
	} else if (!key->list) {
		if (key->parse(key, value, field, &e) < 0)
			complain(p, p->line, "%s: %s", key->name, e.text);
	} else {
		CLEANUP_FREE char *copy = strdup(value);
		char *save;

		if (!copy)
			abort();
		for (char *item = strtok_r(copy, ", \t", &save); item; item = strtok_r(NULL, ", \t", &save)) {
			if (*item == ';') /* a comment, which inih leaves in continued lines */
				break;
			if (key->parse(key, item, field, &e) < 0)
				complain(p, p->line, "%s: %s", key->name, e.text);
		}
	}
}

static int handle(void *user, const char *section, const char *name, const char *value)
{
	struct parser *p = user;
	const struct conf_key *key;
	unsigned *seen;

	p->expect_key = false;
	p->after_key = true;
	if (p->skip && p->section != SECTION_NONE)
		return 1;
	if (p->section == SECTION_NONE) {
		if (!p->skip)
			complain(p, p->line, "%s: stands before the first [section]", name);
		return 1;
	}
	key = conf_key_find(p->section, name);
	if (!key) {
		complain(p, p->line, "%s: unknown key in [%s]; nbdswapd --help-config lists the keys", name,
			 p->section == SECTION_SERVER ? "server" : p->section == SECTION_DEFAULTS ? "defaults" : "export");
		return 1;
	}
	seen = &p->seen.line[key - conf_keys];
	if (p->continued && !key->list)
		complain(p, p->line, "%s: the line begins with a blank; only lists go on over several lines", name);
	else if (*seen && !p->continued)
		complain(p, p->line, "%s: given twice, first in line %u; remove one", name, *seen);
	else
		set_value(p, key, value);
	if (!*seen)
		*seen = p->line;
	return 1;
}

static unsigned given(const struct seen *seen, const char *name)
{
	return seen->line[conf_key_find(SECTION_EXPORT, name) - conf_keys];
}

/* Takes from [defaults], else from the built-in defaults, what the section does not say.  key and key-file say the same thing in two
 * ways, so that one in the section takes the place of the other in [defaults].
 */
static void inherit(struct parser *p, struct conf_export *x, const struct seen *seen)
{
	bool own_key = given(seen, "key") || given(seen, "key-file");

	for (const struct conf_key *k = conf_keys; k->name; k++) {
		size_t i = (size_t)(k - conf_keys);

		if (k->section != SECTION_EXPORT || seen->line[i])
			continue;
		if (p->defaults_seen.line[i] && !(own_key && strncmp(k->name, "key", 3) == 0))
			conf_key_copy(k, x, &p->defaults);
		else if (k->dflt)
			k->parse(k, k->dflt, (char *)x + k->offset, NULL);
	}
}

/* Puts the export's name for %n into a field of PATH_MAX bytes. */
static int expand(const struct conf_export *x, char *field)
{
	char out[PATH_MAX];
	size_t n = 0;

	for (const char *s = field; *s; s++) {
		const char *add = *s == '%' && s[1] == 'n' ? x->name : NULL;
		size_t len = add ? strlen(add) : 1;

		if (n + len >= sizeof(out))
			return -1;
		memcpy(out + n, add ? add : s, len);
		n += len;
		if (*s == '%')
			s++;
	}
	out[n] = '\0';
	strcpy(field, out);
	return 0;
}

static void check_both_keys(struct parser *p, const struct seen *seen, const char *section)
{
	unsigned key = given(seen, "key"), file = given(seen, "key-file");

	if (key && file)
		complain(p, key > file ? key : file, "[%s]: key and key-file contradict each other; remove one", section);
}

/* A key that is not used is most likely a seal that was forgotten. */
static void check_unused_key(struct parser *p, const struct conf_export *x, const struct seen *seen)
{
	bool own = given(seen, "key") || given(seen, "key-file");
	bool any = own || given(&p->defaults_seen, "key") || given(&p->defaults_seen, "key-file");

	if (x->seal != PAGE_SEAL_NONE || !any || (given(seen, "seal") && !own))
		return;
	complain(p, x->line, "[export %s]: there is a key but its pages are not sealed; add seal = aes-256-gcm%s", x->name,
		 own ? ", or remove the key" : ", or seal = none");
}

static void complain_of_shared_file(struct parser *p, const struct conf_export *x, const struct conf_export *other)
{
	complain(p, x->line, "[export %s]: file %s is that of [export %s] in line %u too; each export needs a file of its own", x->name,
		 x->file, other->name, other->line);
}

static bool same_file(const struct conf_export *a, const struct conf_export *b)
{
	struct stat sa, sb;

	if (stat(a->file, &sa) < 0 || stat(b->file, &sb) < 0)
		return false;
	if (S_ISBLK(sa.st_mode) && S_ISBLK(sb.st_mode))
		return sa.st_rdev == sb.st_rdev;
	return sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}

static void finish_exports(struct parser *p)
{
	struct conf *c = p->conf;

	check_both_keys(p, &p->defaults_seen, "defaults");
	for (size_t i = 0; i < c->nexports; i++) {
		struct conf_export *x = &c->exports[i];
		const struct seen *seen = &p->export_seen[i];
		char section[EXPORT_NAME_MAX + 8];

		snprintf(section, sizeof(section), "export %s", x->name);
		check_both_keys(p, seen, section);
		inherit(p, x, seen);
		check_unused_key(p, x, seen);
		if (expand(x, x->key_file) < 0)
			complain(p, x->line, "[export %s]: key-file is longer than %d bytes with the name in it", x->name, PATH_MAX - 1);
		if (!x->file[0]) {
			/* A bad value has been complained of already. */
			if (!given(seen, "file"))
				complain(p, x->line, "[export %s]: file is missing; add file = PATH", x->name);
			continue;
		}
		if (expand(x, x->file) < 0)
			complain(p, x->line, "[export %s]: file is longer than %d bytes with the name in it", x->name,
				 PATH_MAX - 1);
		for (size_t j = 0; j < i; j++)
			if (strcmp(x->file, c->exports[j].file) == 0)
				complain_of_shared_file(p, x, &c->exports[j]);
	}
}

void conf_check_files(struct conf *c, struct conf_errors *errors)
{
	struct parser p = { .conf = c, .errors = errors };

	for (size_t i = 0; i < c->nexports; i++)
		for (size_t j = 0; j < i; j++)
			if (same_file(&c->exports[i], &c->exports[j]))
				complain_of_shared_file(&p, &c->exports[i], &c->exports[j]);
}

/* Lists have no default in the parser, so that the first value given replaces it. */
static void finish_server(struct parser *p)
{
	struct conf_server *s = &p->conf->server;
	const struct conf_key *key = conf_key_find(SECTION_SERVER, "listen");
	char copy[128], *save;

	if (s->nlisten > 0)
		return;
	snprintf(copy, sizeof(copy), "%s", key->dflt);
	for (char *item = strtok_r(copy, " ", &save); item; item = strtok_r(NULL, " ", &save)) {
		key->parse(key, item, s, NULL);
		s->listen[s->nlisten - 1].optional = true;
	}
}

struct conf *conf_load(const char *path, struct conf_errors *errors)
{
	struct parser p = { .errors = errors };
	struct conf *c = calloc(1, sizeof(*c));

	memset(errors, 0, sizeof(*errors));
	if (!c)
		abort();
	p.conf = c;
	if (strlen(path) >= sizeof(c->path)) {
		complain(&p, 0, "the path of the configuration file is too long");
		conf_free(c);
		return NULL;
	}
	strcpy(c->path, path);
	conf_key_defaults(SECTION_SERVER, &c->server);
	p.in = fopen(path, "re");
	if (!p.in) {
		complain(&p, 0, "%s", strerror(errno));
	} else {
		ini_parse_stream(read_line, &p, handle, &p);
		if (ferror(p.in))
			complain(&p, 0, "%s", strerror(errno));
		finish_section(&p);
		finish_server(&p);
		finish_exports(&p);
		fclose(p.in);
	}
	free(p.export_seen);
	if (errors->count > 0) {
		conf_free(c);
		return NULL;
	}
	return c;
}

void conf_free(struct conf *c)
{
	if (!c)
		return;
	free(c->exports);
	free(c);
}

void conf_errors_free(struct conf_errors *errors)
{
	for (size_t i = 0; i < errors->count; i++)
		free(errors->text[i]);
	free(errors->text);
	memset(errors, 0, sizeof(*errors));
}

const struct conf_export *conf_find(const struct conf *c, const char *name)
{
	for (size_t i = 0; i < c->nexports; i++)
		if (strcmp(c->exports[i].name, name) == 0)
			return &c->exports[i];
	return NULL;
}
