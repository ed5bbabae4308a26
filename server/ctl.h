/* SPDX-License-Identifier: BSD-3-Clause */
/* nbdswapctl: one file per command, the table of them in nbdswapctl.c. */
#ifndef NBDSWAP_CTL_H
#define NBDSWAP_CTL_H

#include "common/options.h"

#include <jansson.h>
#include <stdbool.h>

struct ctl_command {
	const char *name;
	const char *operands; /* for --help: "NAME", "FILE" or "" */
	const char *help;
	const struct option_def *options;
	/* argv[0] is the command's name.  Returns an exit code (common/exitcodes.h). */
	int (*run)(const struct ctl_command *cmd, int argc, char **argv);
};

extern const struct ctl_command ctl_status, ctl_activate, ctl_check, ctl_stop, ctl_reload, ctl_lost, ctl_scrub, ctl_reset, ctl_upgrade,
	ctl_deactivate, ctl_reload_worker;

#define CTL_SOCKET_DEFAULT RUNSTATEDIR "/nbdswap/control"
enum { CTL_OPT_SOCKET = 's' };
#define CTL_OPTION_SOCKET { CTL_OPT_SOCKET, "socket", "PATH", "the daemon's control socket (default: " CTL_SOCKET_DEFAULT ")" }

/* Prints "nbdswapctl COMMAND: text" on standard error and returns code. */
int ctl_fail(const struct ctl_command *cmd, int code, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

void ctl_help(const struct ctl_command *cmd);

/* The next option as options_next; --help is answered and ends the program, and so does an error (EX_USAGE_). */
int ctl_option(const struct ctl_command *cmd, struct options *o);

/* All options of a command that has --force and --socket (NULL: the default); ends the program as ctl_option.  Returns the index of its first operand. */
int ctl_force_options(const struct ctl_command *cmd, int argc, char **argv, bool *force, const char **socket);

/* Sends a request (consumed) to the daemon at socket (NULL: the default) and returns its last answer (the caller's); progress, if not NULL,
 * is called for the lines before.  NULL when the daemon could not be reached or went away: that has been printed.
 */
json_t *ctl_request(const struct ctl_command *cmd, const char *socket, json_t *request,
		    void (*progress)(void *arg, const json_t *line), void *arg);

/* The same, without a word where the daemon cannot be reached or goes away. */
json_t *ctl_request_quietly(const char *socket, json_t *request);

/* Prints the error of an answer that is not ok. Returns the exit code: 0 when it is ok. */
int ctl_verdict(const struct ctl_command *cmd, const json_t *answer, int code);

#endif
