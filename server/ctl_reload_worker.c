/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/ctl.h"

#include "common/exitcodes.h"

#include <stdbool.h>

static const struct option_def options[] = {
	{ 'f', "force", NULL, "also when sessions are cut by it" },
	{ 'w', "wait", NULL, "wait until the new worker serves, with all sessions that go on in it" },
	CTL_OPTION_SOCKET,
	OPTION_HELP,
	{ 0, NULL },
};

static void report(const json_t *answer)
{
	const json_t *ms = json_object_get(answer, "ms");

	printf("worker %" JSON_INTEGER_FORMAT " (%s) serves", json_integer_value(json_object_get(answer, "pid")),
	       json_string_value(json_object_get(answer, "engine")));
	if (ms)
		printf("; %" JSON_INTEGER_FORMAT " sessions went on after %" JSON_INTEGER_FORMAT " ms, %" JSON_INTEGER_FORMAT " were cut",
		       json_integer_value(json_object_get(answer, "resumed")), json_integer_value(ms),
		       json_integer_value(json_object_get(answer, "cut")));
	putchar('\n');
}

static int run(const struct ctl_command *cmd, int argc, char **argv)
{
	const char *socket = NULL;
	struct options o;
	json_t *answer;
	bool force = false, wait = false;
	int opt, code;

	options_begin(&o, options, argc, argv);
	while ((opt = ctl_option(cmd, &o))) {
		if (opt == 'f')
			force = true;
		else if (opt == 'w')
			wait = true;
		else if (opt == CTL_OPT_SOCKET)
			socket = o.value;
	}
	if (options_operands(&o) < argc)
		return ctl_fail(cmd, EX_USAGE_, "takes no arguments");
	answer = ctl_request(cmd, socket, json_pack("{s:s, s:b, s:b}", "op", "reload_worker", "force", force, "wait", wait), NULL, NULL);
	if (!answer)
		return EX_UNREACHABLE;
	code = ctl_verdict(cmd, answer, json_is_true(json_object_get(answer, "busy")) ? EX_BUSY : EX_FAIL);
	if (code == EX_OK_ && wait)
		report(answer);
	if (code == EX_OK_ && json_integer_value(json_object_get(answer, "cut")) > 0)
		code = EX_PARTIAL;
	json_decref(answer);
	return code;
}

const struct ctl_command ctl_reload_worker = {
	"reload-worker", "", "Replaces the worker by one of the program that is there now; sessions go on.", options, run,
};
