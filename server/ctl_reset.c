/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/ctl.h"

#include "common/exitcodes.h"

static const struct option_def options[] = {
	CTL_OPTION_SOCKET,
	OPTION_HELP,
	{ 0, NULL },
};

static int run(const struct ctl_command *cmd, int argc, char **argv)
{
	const char *socket = NULL;
	struct options o;
	json_t *answer;
	int opt, code;

	options_begin(&o, options, argc, argv);
	while ((opt = ctl_option(cmd, &o)))
		if (opt == CTL_OPT_SOCKET)
			socket = o.value;
	if (options_operands(&o) != argc - 1)
		return ctl_fail(cmd, EX_USAGE_, "give the NAME of an export");
	answer = ctl_request(cmd, socket, json_pack("{s:s, s:s}", "op", "reset", "export", argv[argc - 1]), NULL, NULL);
	if (!answer)
		return EX_UNREACHABLE;
	code = ctl_verdict(cmd, answer, EX_REFUSED);
	if (code == EX_OK_)
		printf("%s: %" JSON_INTEGER_FORMAT " lost pages read as zeros from now on\n", argv[argc - 1],
		       json_integer_value(json_object_get(answer, "reset")));
	json_decref(answer);
	return code;
}

const struct ctl_command ctl_reset = {
	"reset", "NAME", "Gives up the lost pages of an export that no client has: they read as zeros.", options, run,
};
