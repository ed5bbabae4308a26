/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/ctl.h"

#include "common/exitcodes.h"

#include <stdbool.h>

static const struct option_def options[] = {
	{ 'f', "force", NULL, "also while a client is attached, which loses its swap" },
	CTL_OPTION_SOCKET,
	OPTION_HELP,
	{ 0, NULL },
};

static int run(const struct ctl_command *cmd, int argc, char **argv)
{
	const char *socket = NULL;
	struct options o;
	json_t *answer;
	bool force = false;
	int opt, code;

	options_begin(&o, options, argc, argv);
	while ((opt = ctl_option(cmd, &o))) {
		if (opt == 'f')
			force = true;
		else if (opt == CTL_OPT_SOCKET)
			socket = o.value;
	}
	if (options_operands(&o) < argc)
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
