/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/command.h"
#include "client/say.h"
#include "common/exitcodes.h"

#include <stdio.h>
#include <string.h>

static const struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *help;
} commands[] = {
	{ "attach", attach_main, "attach an export of a swap server and swap on it" },
	{ "detach", detach_main, "take the pages back, turn swap off and disconnect" },
	{ "status", status_main, "show what is attached" },
	{ "watch", watch_main, "start the watch, and give it what is attached" },
	{ "check", check_main, "try out an export that is not in use and show its latencies" },
};

#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static void help(FILE *out)
{
	fputs("Usage: nbdswap COMMAND [OPTION...] [OPERAND...]\n\n"
	      "Swap over the network: attaches exports of a swap server as swap space.\n\n",
	      out);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].help);
	fputs("\n      --help     show this help and exit\n"
	      "      --version  show the version and exit\n"
	      "\nnbdswap COMMAND --help shows the options of a command; see nbdswap(8).\n",
	      out);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		help(stderr);
		return EX_USAGE_;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
		help(stdout);
		return EX_OK_;
	}
	if (strcmp(argv[1], "--version") == 0) {
		puts(PACKAGE_STRING);
		return EX_OK_;
	}
	for (size_t i = 0; i < COMMANDS; i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return commands[i].run(argc - 1, argv + 1);
	say("there is no command \"%s\"; see nbdswap --help", argv[1]);
	return EX_USAGE_;
}
