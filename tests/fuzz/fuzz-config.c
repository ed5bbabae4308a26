/* SPDX-License-Identifier: BSD-3-Clause */
/* The daemon's configuration file.  What is accepted must be complete, in bounds and free of contradictions: nothing behind the parser
 * looks at it again.
 */
#include "config.h"

#include "tests/fuzz/fuzz.h"

#include "common/allow.h"
#include "common/utf8.h"
#include "server/conffile.h"
#include "server/confkeys.h"
#include "store/page.h"
#include "store/table.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Every number and size is within what its key declares. */
static void check_numbers(enum conf_section section, const void *base)
{
	for (const struct conf_key *k = conf_keys; k->name; k++) {
		char text[32];
		uint64_t value, again;
		struct errbuf e;

		if (k->section != section)
			continue;
		if (strcmp(k->arg, "SIZE") != 0 && strcmp(k->arg, "NUMBER") != 0 && strcmp(k->arg, "SECONDS") != 0)
			continue;
		memcpy(&value, (const char *)base + k->offset, sizeof(value));
		if (value == 0 && !k->dflt) /* not given */
			continue;
		promise(value >= k->min && value <= k->max, "%s is %" PRIu64, k->name, value);
		snprintf(text, sizeof(text), "%" PRIu64, value);
		promise(k->parse(k, text, &again, &e) == 0 && again == value, "%s: %s", text, e.text);
	}
}

static void check_server(const struct conf_server *s)
{
	promise(s->nlisten >= 1 && s->nlisten <= CONF_LISTEN_MAX, "%zu addresses", s->nlisten);
	for (size_t i = 0; i < s->nlisten; i++) {
		struct listen_addr again;
		struct errbuf e;

		promise_text(s->listen[i].text, sizeof(s->listen[i].text));
		promise(listen_parse(s->listen[i].text, &again, &e) == 0, "%s: %s", s->listen[i].text, e.text);
		promise(again.len == s->listen[i].len && again.len <= sizeof(again.addr), "%s: another address",
			s->listen[i].text);
		promise(memcmp(&again.addr, &s->listen[i].addr, sizeof(again.addr)) == 0, "%s: another address", s->listen[i].text);
		for (size_t j = 0; j < i; j++)
			promise(strcmp(s->listen[i].text, s->listen[j].text) != 0, "%s twice", s->listen[i].text);
	}
	promise_text(s->control, sizeof(s->control));
	promise_text(s->nbdkit, sizeof(s->nbdkit));
	promise_text(s->plugin, sizeof(s->plugin));
	promise(s->control[0] == '/' && s->nbdkit[0] == '/', "a path that is not absolute");
	promise(!(s->allow & ~(uint64_t)(ALLOW_MEMLOCK | ALLOW_OOM | ALLOW_IO_FLUSHER)), "allow has unknown bits");
	check_numbers(SECTION_SERVER, s);
}

static void check_export(const struct conf *c, size_t i)
{
	const struct conf_export *x = &c->exports[i];
	struct errbuf e;

	promise_text(x->name, sizeof(x->name));
	promise(export_name_check(x->name, &e) == 0, "export name: %s", e.text);
	promise(!x->name[utf8_span(x->name)], "the name of an export is not UTF-8");
	promise(conf_find(c, x->name) == x, "[export %s] is there twice", x->name);
	promise_text(x->file, sizeof(x->file));
	promise(x->file[0] == '/', "file %s", x->file);
	promise(memchr(x->description, '\0', sizeof(x->description)), "a description without an end");
	promise(x->size % PAGE_BYTES == 0, "size %" PRIu64, x->size);
	promise(x->create <= 1 && x->check <= CHECK_NONE && x->seal <= PAGE_SEAL_AES_256_GCM && x->key == 0, "a word that is none");
	promise(memchr(x->key_file, '\0', sizeof(x->key_file)) && (!x->key_file[0] || x->key_file[0] == '/'), "key-file %s",
		x->key_file);
	promise(x->line > 0, "[export %s] has no line", x->name);
	for (size_t j = 0; j < i; j++)
		promise(strcmp(c->exports[j].file, x->file) != 0, "%s is the file of two exports", x->file);
	check_numbers(SECTION_EXPORT, x);
}

/* "FILE:LINE: what", or "FILE: what"; the line is one of the file's. */
static void check_error(const char *text, const char *path, unsigned long lines)
{
	const char *rest = text + strlen(path);
	unsigned long line;
	char *end;

	promise(strncmp(text, path, strlen(path)) == 0 && *rest == ':', "\"%s\" does not name the file", text);
	if (rest[1] == ' ')
		return;
	line = strtoul(rest + 1, &end, 10);
	promise(line >= 1 && line <= lines && end[0] == ':' && end[1] == ' ' && end[2], "\"%s\" of %lu lines", text, lines);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static int fd = -1;
	char path[FUZZ_PATH];
	struct conf_errors errors;
	struct conf *c;
	unsigned long lines = 1;

	for (size_t i = 0; i < size; i++)
		lines += data[i] == '\n';
	memory_file(&fd, data, size, path);
	c = conf_load(path, &errors);
	promise((c != NULL) == (errors.count == 0), "%zu errors", errors.count);
	for (size_t i = 0; i < errors.count; i++)
		check_error(errors.text[i], path, lines);
	if (c) {
		check_server(&c->server);
		promise(c->nexports <= CONF_EXPORTS_MAX, "%zu exports", c->nexports);
		for (size_t i = 0; i < c->nexports; i++)
			check_export(c, i);
	}
	conf_free(c);
	conf_errors_free(&errors);
	return 0;
}
