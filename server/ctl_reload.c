/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/ctl.h"

#include "common/exitcodes.h"

#include <string.h>

static const struct option_def options[] = {
	CTL_OPTION_SOCKET,
	OPTION_HELP,
	{ 0, NULL },
};

static void print_list(const json_t *answer, const char *key, const char *text)
{
	const json_t *list = json_object_get(answer, key), *item;
	size_t i;

	json_array_foreach(list, i, item)
		printf("%s %s\n", text, json_string_value(item));
}

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
	if (options_operands(&o) < argc)
		return ctl_fail(cmd, EX_USAGE_, "takes no arguments");
	answer = ctl_request(cmd, socket, json_pack("{s:s}", "op", "reload"), NULL, NULL);
	if (!answer)
		return EX_UNREACHABLE;
	code = ctl_verdict(cmd, answer, EX_CONFIG_);
	if (code == EX_OK_) {
		print_list(answer, "added", "added:");
		print_list(answer, "removed", "removed:");
		print_list(answer, "kept", "removed, kept until its client goes:");
		print_list(answer, "changed", "changed:");
	}
	json_decref(answer);
	return code;
}

const struct ctl_command ctl_reload = {
	"reload", "", "Has the daemon read its configuration again: all of it is taken over, or nothing.", options, run,
};
