/* SPDX-License-Identifier: BSD-3-Clause */
/* Every configuration key, declared once: the parser, the validation, --help-config and the test against the man page are made
 * from this table.
 */
#ifndef NBDSWAP_CONFKEYS_H
#define NBDSWAP_CONFKEYS_H

#include "server/conffile.h"

#define CONF_WORD_MAX 32

enum conf_section { SECTION_NONE, SECTION_SERVER, SECTION_DEFAULTS, SECTION_EXPORT };

struct conf_key {
	enum conf_section section; /* SECTION_EXPORT keys are allowed in [defaults] too */
	const char *name;
	const char *arg;  /* what the value is, for --help-config; the words that are allowed, of such keys */
	const char *dflt; /* NULL: none */
	const char *help;
	/* Parses value into the field at base (struct conf_server or struct conf_export). Returns 0, -1 with *e. */
	int (*parse)(const struct conf_key *key, const char *value, void *field, struct errbuf *e);
	size_t offset;
	uint64_t min, max; /* of numbers and sizes; max of texts: bytes of the field */
	bool list;	   /* several values, also over several lines */
	bool restart;	   /* a reload cannot change it */
	bool idle;	   /* a reload can change it only while no client has the export, which is then activated anew */
};

/* Ends with an entry whose name is NULL. */
extern const struct conf_key conf_keys[];

/* The key of this name in this section, or NULL. */
const struct conf_key *conf_key_find(enum conf_section section, const char *name);

/* Puts the defaults into the fields of a section's structure. */
void conf_key_defaults(enum conf_section section, void *base);

/* Copies the key's value between two structures of its section; not for lists. */
void conf_key_copy(const struct conf_key *key, void *to, const void *from);

/* Do two structures of the section differ in this key? */
bool conf_key_differs(const struct conf_key *key, const void *a, const void *b);

/* The word for a value of a key of words: "xxh3" for 1 of check.  buf is for it. */
const char *conf_key_word(const char *name, uint64_t value, char buf[CONF_WORD_MAX]);

/* Writes the table for people. */
void conf_keys_help(FILE *out);

#endif
