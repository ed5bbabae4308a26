/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/ctl.h"

#include "common/exitcodes.h"

static const struct option_def options[] = {
	{ 'f', "force", NULL, "also while a client is attached, which loses its swap" },
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

	if (first < argc)
		return ctl_fail(cmd, EX_USAGE_, "takes no arguments");
	answer = ctl_request(cmd, socket, json_pack("{s:s, s:b}", "op", "stop", "force", force), NULL, NULL);
	if (!answer)
		return EX_UNREACHABLE;
	code = ctl_verdict(cmd, answer, EX_BUSY);
	json_decref(answer);
	return code;
}

const struct ctl_command ctl_stop = {
	"stop", "", "Stops the daemon in order: requests are finished, page tables are saved.", options, run,
};
