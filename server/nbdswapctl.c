/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "common/exitcodes.h"
#include "server/ctl.h"

#include <string.h>

static const struct ctl_command *const commands[] = {
	&ctl_status, &ctl_activate, &ctl_deactivate, &ctl_check, &ctl_scrub, &ctl_lost, &ctl_reset, &ctl_stop, &ctl_reload,
	&ctl_upgrade, &ctl_reload_worker,
};

#define COUNT (sizeof(commands) / sizeof(commands[0]))

static void help(void)
{
	puts("Usage: nbdswapctl COMMAND [OPTION]...\n       nbdswapctl --help | --version\nControls nbdswapd, and prepares and checks its"
	     " files.\n");
	for (size_t i = 0; i < COUNT; i++)
		printf("  %-13s %-5s  %s\n", commands[i]->name, commands[i]->operands, commands[i]->help);
	puts("\nnbdswapctl COMMAND --help shows the options of a command.");
}

int main(int argc, char **argv)
{
	if (argc >= 2 && (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)) {
		help();
		return EX_OK_;
	}
	if (argc >= 2 && strcmp(argv[1], "--version") == 0) {
		puts("nbdswapctl " PACKAGE_VERSION);
		return EX_OK_;
	}
	for (size_t i = 0; argc >= 2 && i < COUNT; i++)
		if (strcmp(commands[i]->name, argv[1]) == 0)
			return commands[i]->run(commands[i], argc - 1, argv + 1);
	if (argc >= 2)
		fprintf(stderr, "nbdswapctl: unknown command \"%s\"; see nbdswapctl --help\n", argv[1]);
	else
		fputs("nbdswapctl: give a command; see nbdswapctl --help\n", stderr);
	return EX_USAGE_;
}
