/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/ctl.h"

#include "common/exitcodes.h"

#include <stdbool.h>
#include <string.h>
#include <time.h>

#define WAIT_SECONDS 60
#define LOOK_MS 50

static const struct option_def options[] = {
	CTL_OPTION_SOCKET,
	OPTION_HELP,
	{ 0, NULL },
};

static int report(const json_t *status)
{
	const json_t *worker = json_object_get(status, "worker");

	printf("nbdswapd %" JSON_INTEGER_FORMAT " of version %s took over; worker %" JSON_INTEGER_FORMAT " (%s), %zu sessions\n",
	       json_integer_value(json_object_get(status, "pid")), json_string_value(json_object_get(status, "version")),
	       json_integer_value(json_object_get(worker, "pid")), json_string_value(json_object_get(worker, "engine")),
	       json_array_size(json_object_get(status, "sessions")));
	return EX_OK_;
}

/* Another daemon than pid, whose worker is ready. */
static bool is_there(const json_t *status, json_int_t pid)
{
	const char *state = json_string_value(json_object_get(json_object_get(status, "worker"), "state"));

	return status && json_integer_value(json_object_get(status, "pid")) != pid && state && strcmp(state, "ready") == 0 &&
	       !json_is_true(json_object_get(json_object_get(status, "worker"), "unheard"));
}

static int wait_for_next(const struct ctl_command *cmd, const char *socket, json_int_t pid)
{
	const struct timespec pause = { .tv_nsec = LOOK_MS * 1000000L };

	for (int i = 0; i < WAIT_SECONDS * 1000 / LOOK_MS; i++) {
		json_t *status = ctl_request_quietly(socket, json_pack("{s:s}", "op", "status"));
		bool there = is_there(status, pid);

		if (there)
			report(status);
		json_decref(status);
		if (there)
			return EX_OK_;
		nanosleep(&pause, NULL);
	}
	return ctl_fail(cmd, EX_FAIL, "the old nbdswapd has ended, and the new one does not serve after %d s; its log says why.  Its worker goes on with the"
			" clients that it has", WAIT_SECONDS);
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
	answer = ctl_request(cmd, socket, json_pack("{s:s}", "op", "upgrade"), NULL, NULL);
	if (!answer)
		return EX_UNREACHABLE;
	code = ctl_verdict(cmd, answer, EX_FAIL);
	if (code == EX_OK_)
		code = wait_for_next(cmd, socket, json_integer_value(json_object_get(answer, "pid")));
	json_decref(answer);
	return code;
}

const struct ctl_command ctl_upgrade = {
	"upgrade", "", "Has nbdswapd itself replaced by the program that is there now; workers and sessions go on.", options, run,
};
