/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/errbuf.h"
#include "common/exitcodes.h"
#include "common/options.h"
#include "server/conffile.h"
#include "server/confkeys.h"
#include "server/daemon.h"
#include "server/keep.h"
#include "server/keeper.h"

#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { OPT_CHECK = 256, OPT_HELP_CONFIG, OPT_NO_KEEPER, OPT_VERSION };

static const struct option_def options[] = {
	{ 'c', "config", "FILE", "the configuration (default: " CONF_DEFAULT_PATH ")" },
	{ OPT_CHECK, "check-config", NULL, "read the configuration, report everything wrong with it, and exit" },
	{ OPT_HELP_CONFIG, "help-config", NULL, "list the keys of the configuration and exit" },
	{ OPT_NO_KEEPER, "no-keeper", NULL, "without a service manager too: have nobody start the daemon again when it dies" },
	{ OPT_VERSION, "version", NULL, "show the version and exit" },
	OPTION_HELP,
	{ 0, NULL },
};

/* Does whoever started this take messages (sd_notify)?  The keeper does too, which is what ends this in the daemon that it starts. */
static bool has_manager(void)
{
	const char *socket = getenv("NOTIFY_SOCKET");

	return socket && *socket;
}

static int keep(char **argv, uint64_t allow)
{
	static char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	struct keeper_plan plan = {
		.program = n > 0 ? self : argv[0],
		.argv = argv,
		.allow = allow,
		.soon_ms = 1000,
		.pause_ms = 100,
		.pause_max_ms = 1000, /* a worker may have died as well, and clients wait */
	};

	return keeper_run(&plan);
}

int main(int argc, char **argv)
{
	const char *path = CONF_DEFAULT_PATH;
	struct conf_errors errors;
	struct options o;
	struct errbuf e;
	struct conf *conf;
	bool check = false, keeper = true, bad;
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
		case OPT_NO_KEEPER:
			keeper = false;
			break;
		case OPT_VERSION:
			printf("nbdswapd " PACKAGE_VERSION "\n" KEEP_TAKES "\n", KEEP_VERSION);
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
		/* A predecessor has left things, which a wrong configuration is no reason to throw away: it is to be tried again. */
		return !check && getenv("LISTEN_FDS") ? EX_FAIL : EX_CONFIG_;
	}
	if (check) {
		printf("%s: ok, %zu exports\n", conf->path, conf->nexports);
		conf_free(conf);
		return EX_OK_;
	}
	if (keeper && !has_manager()) {
		uint64_t allow = conf->server.allow;

		conf_free(conf);
		return keep(argv, allow);
	}
	signal(SIGPIPE, SIG_IGN);
	mallopt(M_ARENA_MAX, 1); /* helper threads need no arenas of their own, which are locked memory */
	return daemon_run(conf);
}
