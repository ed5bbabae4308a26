/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/errbuf.h"
#include "common/exitcodes.h"
#include "common/options.h"
#include "server/conffile.h"
#include "server/confkeys.h"
#include "server/daemon.h"

#include <malloc.h>
#include <signal.h>
#include <stdio.h>

enum { OPT_CHECK = 256, OPT_HELP_CONFIG, OPT_VERSION };

static const struct option_def options[] = {
	{ 'c', "config", "FILE", "the configuration (default: " CONF_DEFAULT_PATH ")" },
	{ OPT_CHECK, "check-config", NULL, "read the configuration, report everything wrong with it, and exit" },
	{ OPT_HELP_CONFIG, "help-config", NULL, "list the keys of the configuration and exit" },
	{ OPT_VERSION, "version", NULL, "show the version and exit" },
	OPTION_HELP,
	{ 0, NULL },
};

int main(int argc, char **argv)
{
	const char *path = CONF_DEFAULT_PATH;
	struct conf_errors errors;
	struct options o;
	struct errbuf e;
	struct conf *conf;
	bool check = false, bad;
	int opt;

	options_begin(&o, options, argc, argv);
	while ((opt = options_next(&o, &e)) > 0) {
		switch (opt) {
		case 'c':
			path = o.value;
			break;
		case OPT_CHECK:
			check = true;
			break;
		case OPT_HELP_CONFIG:
			conf_keys_help(stdout);
			return EX_OK_;
		case OPT_VERSION:
			puts("nbdswapd " PACKAGE_VERSION);
			return EX_OK_;
		case 'h':
			puts("Usage: nbdswapd [OPTION]...\nServes exports to swap on.  Runs in the foreground.\n");
			options_help(stdout, options);
			return EX_OK_;
		}
	}
	if (opt < 0 || options_operands(&o) < argc) {
		fprintf(stderr, "nbdswapd: %s; see nbdswapd --help\n", opt < 0 ? e.text : "too many arguments");
		return EX_USAGE_;
	}
	conf = conf_load(path, &errors);
	if (conf && check)
		conf_check_files(conf, &errors);
	bad = errors.count > 0;
	for (size_t i = 0; i < errors.count; i++)
		fprintf(stderr, "nbdswapd: %s\n", errors.text[i]);
	conf_errors_free(&errors);
	if (bad) {
		conf_free(conf);
		return EX_CONFIG_;
	}
	if (check) {
		printf("%s: ok, %zu exports\n", conf->path, conf->nexports);
		conf_free(conf);
		return EX_OK_;
	}
	signal(SIGPIPE, SIG_IGN);
	mallopt(M_ARENA_MAX, 1); /* helper threads need no arenas of their own, which are locked memory */
	return daemon_run(conf);
}
