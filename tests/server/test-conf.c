/* SPDX-License-Identifier: BSD-3-Clause */
/* The configuration: what is refused, with which words, and what good files mean. */
#include "config.h"

#include "common/allow.h"
#include "server/conffile.h"
#include "server/confkeys.h"
#include "store/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

static char path[] = "/tmp/nbdswap-test-conf.XXXXXX";
static unsigned looked_at; /* files, by name */

int __real_stat(const char *name, struct stat *st);
int __wrap_stat(const char *name, struct stat *st);
int __wrap_stat(const char *name, struct stat *st)
{
	looked_at++;
	return __real_stat(name, st);
}

static void put_bytes(const char *text, size_t size)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, size, f), size);
	assert_int_equal(fclose(f), 0);
}

static void put_file(const char *text)
{
	put_bytes(text, strlen(text));
}

/* The messages, each without "PATH:", which must be in front, with newlines between. */
static void load_errors(const char *text, char *out, size_t size)
{
	struct conf_errors errors;
	struct conf *c;

	put_file(text);
	c = conf_load(path, &errors);
	assert_int_equal(c == NULL, errors.count > 0);
	*out = '\0';
	for (size_t i = 0; i < errors.count; i++) {
		assert_memory_equal(errors.text[i], path, strlen(path));
		assert_int_equal(errors.text[i][strlen(path)], ':');
		snprintf(out + strlen(out), size - strlen(out), "%s%s", i ? "\n" : "", errors.text[i] + strlen(path) + 1);
	}
	conf_errors_free(&errors);
	conf_free(c);
}

#define GOOD "[export a]\nfile = /x/a\n"
#define LIST "; nbdswapd --help-config lists the keys"

static const struct {
	const char *text, *errors;
} bad[] = {
	{ "[serber]\nthreads = 1\n", "1: [serber]: unknown section; there are [server], [defaults] and [export NAME]" },
	{ "[server\n", "1: the section's name does not end in ']'" },
	{ "[server] x\n", "1: there is text behind [server]" },
	{ "threads = 1\n", "1: threads: stands before the first [section]" },
	{ "[server]\nfoo = 1\n", "2: foo: unknown key in [server]" LIST },
	{ "[server]\nfile = /x\n", "2: file: unknown key in [server]" LIST },
	{ "[defaults]\nthreads = 1\n", "2: threads: unknown key in [defaults]" LIST },
	{ GOOD "listen = 1.2.3.4:1\n", "3: listen: unknown key in [export]" LIST },
	{ "[server]\n\nthreads\n", "3: neither a [section] nor a line KEY = VALUE" },
	{ "[server]\nthreads\nfoo\n",
	  "2: neither a [section] nor a line KEY = VALUE\n3: neither a [section] nor a line KEY = VALUE" },
	{ "[server]\nthreads = 0\n", "2: threads: \"0\" is not a number from 1 to 256" },
	{ "[server]\nthreads = 257\n", "2: threads: \"257\" is not a number from 1 to 256" },
	{ "[server]\nthreads = 99999999999999999999999\n",
	  "2: threads: \"99999999999999999999999\" is not a number from 1 to 256" },
	{ "[server]\nthreads = -1\n", "2: threads: \"-1\" is not a number from 1 to 256" },
	{ "[server]\nthreads = 4x\n", "2: threads: \"4x\" is not a number from 1 to 256" },
	{ "[server]\nthreads =\n", "2: threads: the value is empty; give NUMBER or remove the line" },
	{ "[server]\nthreads = 1\nthreads = 2\n", "3: threads: given twice, first in line 2; remove one" },
	{ "[server]\nthreads = 1\n  2\n", "3: threads: the line begins with a blank; only lists go on over several lines" },
	{ "[server]\n[server]\n", "2: [server]: declared twice, first in line 1; make one of the two" },
	{ "[defaults]\n[server]\n[defaults]\n", "3: [defaults]: declared twice, first in line 1; make one of the two" },
	{ "[server]\nstop-timeout = 601\n", "2: stop-timeout: \"601\" is not a number from 0 to 600" },
	{ "[server]\npool = 4X\n", "2: pool: \"4X\" is not a size; write a number with K, M, G or T behind it, as 4G" },
	{ "[server]\npool = 4K\n", "2: pool: \"4K\" is not between 1 MiB and 1 GiB" },
	{ "[server]\ncontrol = run/x\n", "2: control: \"run/x\" is not an absolute path; it must begin with '/'" },
	{ "[server]\nplugin = swop\n", "2: plugin: \"swop\" is not an absolute path; it must begin with '/'" },
	{ "[server]\ncontrol = /234567890123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890"
	  "12345678\n",
	  "2: control: the value has 108 bytes, at most 107 are allowed" },
	{ "[server]\nallow = memlock, swap\n", "2: allow: \"swap\" is not one of memlock, oom, io-flusher, confine" },
	{ "[server]\nlisten = 1.2.3.4:1 localhost:2\n",
	  "2: listen: \"localhost:2\": \"localhost\" is not an IP address (names are not looked up)" },
	{ "[server]\nlisten = 1.2.3.4:1\n  1.2.3.4:1\n", "3: listen: \"1.2.3.4:1\" is listed twice" },
	{ "[export a]\n", "1: [export a]: file is missing; add file = PATH" },
	{ "[export]\n", "1: [export ]: the export name is empty; name one of the exports of this server" },
	{ "[export .a]\nfile = /x\n", "1: [export .a]: export name \".a\": hidden names (leading '.') are refused" },
	{ "[export a/b]\n", "1: [export a/b]: export name \"a/b\": '/' would leave the directory" },
	{ "[export \xe4]\nfile = /x\n", "1: [export \xe4]: the name is not UTF-8, so that no client could ask for it" },
	{ GOOD "[export a]\nfile = /y\n", "3: [export a]: declared twice, first in line 1; remove one" },
	{ GOOD "[export b]\nfile = /x/a\n",
	  "3: [export b]: file /x/a is that of [export a] in line 1 too; each export needs a file of its own" },
	{ "[defaults]\nfile = /x\n[export a]\n[export b]\n",
	  "4: [export b]: file /x is that of [export a] in line 3 too; each export needs a file of its own" },
	{ "[export a]\nfile = x\n", "2: file: \"x\" is not an absolute path; it must begin with '/'" },
	{ "[export a]\nfile = /%x\n",
	  "2: file: \"/%x\": after '%' only n (the export's name) or another '%' may stand" },
	{ GOOD "size = 4100K\nsize = 1\n", "4: size: given twice, first in line 3; remove one" },
	{ GOOD "size = 100001\n", "3: size: \"100001\" is not a multiple of 4096 bytes (a page)" },
	{ GOOD "size = 4K\n", "3: size: \"4K\" is not between 64 KiB and 64 TiB" },
	{ GOOD "size = 65T\n", "3: size: \"65T\" is not between 64 KiB and 64 TiB" },
	{ GOOD "size = 8E\n", "3: size: \"8E\" is not a size; write a number with K, M, G or T behind it, as 4G" },
	{ GOOD "provision = maybe\n", "3: provision: \"maybe\" is not one of never, create" },
	{ GOOD "check = crc\n", "3: check: \"crc\" is not one of xxh3, none" },
	{ GOOD "check = xxh\n", "3: check: \"xxh\" is not one of xxh3, none" },
	{ GOOD "seal = aes\n", "3: seal: \"aes\" is not one of none, aes-256-gcm" },
	{ GOOD "seal = aes-256-gcm\nkey = secret\n", "4: key: \"secret\" is not ephemeral" },
	{ GOOD "seal = aes-256-gcm\nkey-file = k\n", "4: key-file: \"k\" is not an absolute path; it must begin with '/'" },
	{ GOOD "seal = aes-256-gcm\nkey-file = /k\nkey = ephemeral\n",
	  "5: [export a]: key and key-file contradict each other; remove one" },
	{ "[defaults]\nkey = ephemeral\nkey-file = /k\n", "3: [defaults]: key and key-file contradict each other; remove one" },
	{ GOOD "key-file = /k\n",
	  "1: [export a]: there is a key but its pages are not sealed; add seal = aes-256-gcm, or remove the key" },
	{ GOOD "seal = none\nkey = ephemeral\n",
	  "1: [export a]: there is a key but its pages are not sealed; add seal = aes-256-gcm, or remove the key" },
	{ "[defaults]\nkey-file = /k\n" GOOD,
	  "3: [export a]: there is a key but its pages are not sealed; add seal = aes-256-gcm, or seal = none" },
	{ GOOD "retry-time = 86401\n", "3: retry-time: \"86401\" is not a number from 0 to 86400" },
	{ GOOD "retry-time = 5m\n", "3: retry-time: \"5m\" is not a number from 0 to 86400" },
	/* All of a file's errors, in its order. */
	{ "[server]\nthreads = 0\nfoo = 1\n[export a]\nfile = x\n[bar]\n[export b]\n",
	  "2: threads: \"0\" is not a number from 1 to 256\n3: foo: unknown key in [server]" LIST
	  "\n5: file: \"x\" is not an absolute path; it must begin with '/'\n"
	  "6: [bar]: unknown section; there are [server], [defaults] and [export NAME]\n"
	  "7: [export b]: file is missing; add file = PATH" },
};

static void test_bad_inputs(void **state)
{
	char errors[4096];

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		load_errors(bad[i].text, errors, sizeof(errors));
		assert_string_equal(errors, bad[i].errors);
	}
}

static void test_long_line(void **state)
{
	char text[2048] = "[export a]\nfile = /", errors[256];

	memset(text + strlen(text), 'x', 1000);
	strcat(text, "\nsize = 1M\n");
	load_errors(text, errors, sizeof(errors));
	assert_string_equal(errors, "2: the line is longer than 198 bytes\n1: [export a]: file is missing; add file = PATH");
}

/* What is behind it must not be left out silently, nor taken for lines of its own. */
static void test_nul_byte(void **state)
{
	static const char text[] = "[export a]\nfile = /x\0y\nsize = 1M\n\0";
	struct conf_errors errors;

	put_bytes(text, sizeof(text) - 1);
	assert_null(conf_load(path, &errors));
	assert_int_equal(errors.count, 3);
	assert_non_null(strstr(errors.text[0], ":2: the line has a NUL byte"));
	assert_non_null(strstr(errors.text[1], ":4: the line has a NUL byte"));
	assert_non_null(strstr(errors.text[2], ":1: [export a]: file is missing"));
	conf_errors_free(&errors);
}

static void test_long_export_name(void **state)
{
	char text[2048] = "[export ";
	struct conf_errors list;
	struct conf *c;

	/* Longer than inih's own limit of 50, as long as a line can be. */
	memset(text + strlen(text), 'n', 180);
	strcat(text, "]\nfile = /x\n");
	put_file(text);
	c = conf_load(path, &list);
	assert_non_null(c);
	assert_int_equal(strlen(c->exports[0].name), 180);
	conf_errors_free(&list);
	conf_free(c);
}

static void test_missing_file(void **state)
{
	struct conf_errors errors;

	assert_null(conf_load("/nonexistent/nbdswapd.conf", &errors));
	assert_int_equal(errors.count, 1);
	assert_string_equal(errors.text[0], "/nonexistent/nbdswapd.conf: No such file or directory");
	conf_errors_free(&errors);
}

static void test_values(void **state)
{
	struct conf_errors errors;
	const struct conf_export *a, *b;
	struct conf *c;

	put_file("\xef\xbb\xbf# a comment\n[server]\nlisten = 127.0.0.1:0,unix:/s\n  [::1]:5 ; and one more\nallow = oom memlock\n"
		 "threads = 4\n[defaults]\nfile = /d/%n%%.swap\nsize = 1M\nprovision = never\n"
		 "[export a]\n[export b]\nfile = /b\nsize = 2M\nprovision = create\ndescription = what it is\n");
	c = conf_load(path, &errors);
	for (size_t i = 0; i < errors.count; i++)
		print_error("%s\n", errors.text[i]);
	assert_non_null(c);
	assert_int_equal(c->server.nlisten, 3);
	assert_string_equal(c->server.listen[2].text, "[::1]:5");
	assert_false(c->server.listen[0].optional);
	assert_int_equal(c->server.allow, ALLOW_OOM | ALLOW_MEMLOCK);
	assert_int_equal(c->server.threads, 4);
	assert_int_equal(c->server.stop_timeout, 10);
	assert_int_equal(c->nexports, 2);
	a = conf_find(c, "a");
	b = conf_find(c, "b");
	assert_string_equal(a->file, "/d/a%.swap");
	assert_int_equal(a->size, 1 << 20);
	assert_int_equal(a->create, 0);
	assert_string_equal(b->file, "/b");
	assert_int_equal(b->size, 2 << 20);
	assert_int_equal(b->create, 1);
	assert_string_equal(b->description, "what it is");
	assert_null(conf_find(c, "c"));
	conf_errors_free(&errors);
	conf_free(c);
}

/* Where the rules of a page come from, and what a key in the section does to one in [defaults]. */
static void test_rules(void **state)
{
	static const struct {
		const char *text;
		uint64_t check, seal, retry_time;
		const char *key_file;
	} good[] = {
		{ GOOD, CHECK_XXH3, PAGE_SEAL_NONE, 300, "" },
		{ GOOD "check = none\nretry-time = 0\n", CHECK_NONE, PAGE_SEAL_NONE, 0, "" },
		{ GOOD "seal = aes-256-gcm\n", CHECK_XXH3, PAGE_SEAL_AES_256_GCM, 300, "" },
		{ GOOD "seal = aes-256-gcm\ncheck = none\n", CHECK_NONE, PAGE_SEAL_AES_256_GCM, 300, "" },
		{ GOOD "seal = aes-256-gcm\nkey-file = /k/%n%%\n", CHECK_XXH3, PAGE_SEAL_AES_256_GCM, 300, "/k/a%" },
		{ "[defaults]\nseal = aes-256-gcm\nkey-file = /k/%n\nretry-time = 5\n" GOOD, CHECK_XXH3,
		  PAGE_SEAL_AES_256_GCM, 5, "/k/a" },
		{ "[defaults]\nseal = aes-256-gcm\nkey-file = /k\n" GOOD "key = ephemeral\n", CHECK_XXH3,
		  PAGE_SEAL_AES_256_GCM, 300, "" },
		{ "[defaults]\nseal = aes-256-gcm\nkey = ephemeral\n" GOOD "key-file = /k\n", CHECK_XXH3,
		  PAGE_SEAL_AES_256_GCM, 300, "/k" },
		{ "[defaults]\nseal = aes-256-gcm\nkey-file = /k\n" GOOD "seal = none\n", CHECK_XXH3, PAGE_SEAL_NONE, 300,
		  "/k" },
	};
	struct conf_errors errors;
	struct conf *c;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		put_file(good[i].text);
		c = conf_load(path, &errors);
		for (size_t k = 0; k < errors.count; k++)
			print_error("%zu: %s\n", i, errors.text[k]);
		assert_non_null(c);
		assert_int_equal(c->exports[0].check, good[i].check);
		assert_int_equal(c->exports[0].seal, good[i].seal);
		assert_int_equal(c->exports[0].retry_time, good[i].retry_time);
		assert_string_equal(c->exports[0].key_file, good[i].key_file);
		conf_free(c);
		conf_errors_free(&errors);
	}
}

static void test_words(void **state)
{
	char buf[CONF_WORD_MAX];

	assert_string_equal(conf_key_word("check", CHECK_NONE, buf), "none");
	assert_string_equal(conf_key_word("check", CHECK_XXH3, buf), "xxh3");
	assert_string_equal(conf_key_word("seal", PAGE_SEAL_NONE, buf), "none");
	assert_string_equal(conf_key_word("seal", PAGE_SEAL_AES_256_GCM, buf), "aes-256-gcm");
}

static void test_defaults(void **state)
{
	struct conf_errors errors;
	struct conf *c;

	put_file("");
	c = conf_load(path, &errors);
	assert_non_null(c);
	assert_int_equal(c->server.nlisten, 2);
	assert_string_equal(c->server.listen[0].text, "0.0.0.0:10809");
	assert_string_equal(c->server.listen[1].text, "[::]:10809");
	assert_true(c->server.listen[1].optional);
	assert_int_equal(c->server.threads, 8);
	assert_int_equal(c->server.allow, 0);
	conf_free(c);
	conf_errors_free(&errors);
}

/* What a reload compares: each key must be seen to differ when it does. */
static void test_differs(void **state)
{
	static const char *const other[][2] = {
		{ "listen", "1.1.1.1:1" }, { "control", "/c" }, { "nbdkit", "/n" }, { "plugin", "/p" }, { "threads", "3" },
		{ "pool", "2M" }, { "allow", "oom" }, { "stop-timeout", "3" },
	};
	struct conf_errors errors;
	struct conf *plain, *c;
	char text[128];
	size_t tried = 0;

	put_file("");
	plain = conf_load(path, &errors);
	for (const struct conf_key *k = conf_keys; k->name; k++) {
		if (k->section != SECTION_SERVER)
			continue;
		for (size_t i = 0; i < sizeof(other) / sizeof(other[0]); i++) {
			if (strcmp(other[i][0], k->name) != 0)
				continue;
			snprintf(text, sizeof(text), "[server]\n%s = %s\n", other[i][0], other[i][1]);
			put_file(text);
			c = conf_load(path, &errors);
			assert_non_null(c);
			for (const struct conf_key *j = conf_keys; j->name; j++)
				if (j->section == SECTION_SERVER)
					assert_int_equal(conf_key_differs(j, &plain->server, &c->server), j == k);
			conf_free(c);
			tried++;
		}
	}
	assert_int_equal(tried, sizeof(other) / sizeof(other[0]));
	conf_free(plain);
	conf_errors_free(&errors);
}

/* The storage of a backing file may be away, and who asks for the file then waits: at a start every export, and at a reload the daemon's loop. */
static void test_no_backing_file_is_asked_for(void **state)
{
	struct conf_errors errors;
	struct conf *c;

	(void)state;
	put_file("[export a]\nfile = /tmp\n[export b]\nfile = /tmp/.\n");
	looked_at = 0;
	c = conf_load(path, &errors);
	assert_int_equal(looked_at, 0);
	assert_non_null(c);
	conf_free(c);
	conf_errors_free(&errors);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_inputs), cmocka_unit_test(test_long_line), cmocka_unit_test(test_nul_byte),
		cmocka_unit_test(test_long_export_name),
		cmocka_unit_test(test_missing_file), cmocka_unit_test(test_values), cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_rules), cmocka_unit_test(test_words), cmocka_unit_test(test_differs),
		cmocka_unit_test(test_no_backing_file_is_asked_for),
	};
	int fd = mkstemp(path), rc;

	if (fd < 0)
		return 1;
	close(fd);
	rc = cmocka_run_group_tests(tests, NULL, NULL);
	unlink(path);
	return rc;
}
