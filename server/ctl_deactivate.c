/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/ctl.h"

#include "common/exitcodes.h"

static const struct option_def options[] = {
	{ 'f', "force", NULL, "also while a client is attached that may not come back" },
	CTL_OPTION_SOCKET,
	OPTION_HELP,
	{ 0, NULL },
};

static int run(const struct ctl_command *cmd, int argc, char **argv)
{
	const char *socket;
	json_t *answer;
	bool force;
	int first = ctl_force_options(cmd, argc, argv, &force, &socket), code;

	if (first != argc - 1)
		return ctl_fail(cmd, EX_USAGE_, "give the NAME of an export");
	answer = ctl_request(cmd, socket, json_pack("{s:s, s:s, s:b}", "op", "deactivate", "export", argv[argc - 1], "force", force), NULL, NULL);
	if (!answer)
		return EX_UNREACHABLE;
	code = ctl_verdict(cmd, answer, EX_REFUSED);
	if (code == EX_OK_)
		printf("%s has been given back; activate it where it is to be used\n", argv[argc - 1]);
	json_decref(answer);
	return code;
}

const struct ctl_command ctl_deactivate = {
	"deactivate", "NAME", "Gives an export back with all its pages, to be activated on another machine; its client connects there.", options, run,
};
