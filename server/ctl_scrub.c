/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/ctl.h"

#include "common/exitcodes.h"
#include "common/progress.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { OPT_RATE = 256, OPT_STATUS, OPT_STOP, OPT_JSON };

static const struct option_def options[] = {
	{ OPT_RATE, "rate", "MIB", "read at most so many MiB a second (default: 16); also of one that is running" },
	{ 'w', "wait", NULL, "wait for its end, with progress, and report" },
	{ OPT_STATUS, "status", NULL, "report on the one that is running, or the last one" },
	{ OPT_STOP, "stop", NULL, "stop the one that is running" },
	{ OPT_JSON, "json", NULL, "print the report as JSON" },
	CTL_OPTION_SOCKET,
	OPTION_HELP,
	{ 0, NULL },
};

#define RATE_MAX 1048576

struct request {
	const char *socket, *name, *op;
	long rate; /* MiB a second, 0: not given */
	bool wait, as_json;
};

struct bar {
	struct progress p;
	const char *label;
	bool begun;
};

static void on_line(void *arg, const json_t *line)
{
	struct bar *b = arg;

	if (!b->begun)
		progress_begin(&b->p, stderr, b->label, (uint64_t)json_integer_value(json_object_get(line, "total")));
	b->begun = true;
	progress_update(&b->p, (uint64_t)json_integer_value(json_object_get(line, "done")));
}

static json_int_t number(const json_t *scrub, const char *key)
{
	return json_integer_value(json_object_get(scrub, key));
}

static void print_count(const json_t *scrub, const char *key, const char *text, bool always)
{
	if (always || number(scrub, key) > 0)
		printf("  %" JSON_INTEGER_FORMAT " %s\n", number(scrub, key), text);
}

static void print_report(const char *name, const char *state, const json_t *scrub)
{
	const char *why = json_string_value(json_object_get(scrub, "why"));
	time_t started = (time_t)number(scrub, "started");
	char when[32] = "";
	struct tm tm;

	if (localtime_r(&started, &tm))
		strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
	printf("%s: scrub %s%s%s, begun %s, %" JSON_INTEGER_FORMAT " s, %" JSON_INTEGER_FORMAT " of %" JSON_INTEGER_FORMAT
	       " pages looked at\n", name, state, why ? ": " : "", why ? why : "", when, number(scrub, "seconds"),
	       number(scrub, "position"), number(scrub, "pages"));
	print_count(scrub, "verified", "pages read and right", true);
	print_count(scrub, "mismatched", "pages did not match", true);
	print_count(scrub, "lost", "of these also the second time, and are lost now", true);
	print_count(scrub, "unreadable", "pages could not be read", false);
	print_count(scrub, "lost_before", "pages were lost before", false);
	print_count(scrub, "skipped", "pages were skipped, for they were written each time", false);
	print_count(scrub, "unchecked", "pages were written with check = none: nothing tells whether they are right", false);
}

static int report(const struct ctl_command *cmd, const struct request *r, const json_t *answer)
{
	const json_t *scrub = json_object_get(answer, "scrub");
	const char *state = json_string_value(json_object_get(scrub, "state"));

	if (r->as_json) {
		json_dumpf(scrub, stdout, JSON_INDENT(2));
		putchar('\n');
	} else if (!state || strcmp(state, "none") == 0) {
		printf("%s: has not been scrubbed since the daemon was started\n", r->name);
	} else {
		print_report(r->name, state, scrub);
	}
	if (json_is_true(json_object_get(scrub, "found_bad")))
		return ctl_fail(cmd, EX_PARTIAL, "%s: bad pages were found; nbdswapctl lost %s lists those that are lost, and the storage"
				" has to be seen to", r->name, r->name);
	if (r->wait && state && strcmp(state, "done") != 0)
		return ctl_fail(cmd, EX_FAIL, "%s: the scrub did not come to its end", r->name);
	return EX_OK_;
}

static int perform(const struct ctl_command *cmd, const struct request *r)
{
	json_t *req = json_pack("{s:s, s:s}", "op", r->op, "export", r->name), *answer;
	struct bar bar = { .label = r->name };
	int code;

	if (req && r->rate)
		json_object_set_new(req, "rate", json_integer((json_int_t)r->rate << 20));
	if (req && r->wait)
		json_object_set_new(req, "wait", json_true());
	answer = ctl_request(cmd, r->socket, req, on_line, &bar);
	if (bar.begun)
		progress_end(&bar.p);
	if (!answer)
		return EX_UNREACHABLE;
	code = ctl_verdict(cmd, answer, EX_FAIL);
	if (code == EX_OK_)
		code = report(cmd, r, answer);
	json_decref(answer);
	return code;
}

static int run(const struct ctl_command *cmd, int argc, char **argv)
{
	struct request r = { .op = "scrub" };
	bool status = false, stop = false;
	struct options o;
	char *end;
	int opt;

	options_begin(&o, options, argc, argv);
	while ((opt = ctl_option(cmd, &o))) {
		switch (opt) {
		case OPT_RATE:
			r.rate = strtol(o.value, &end, 10);
			if (!*o.value || *end || r.rate < 1 || r.rate > RATE_MAX)
				return ctl_fail(cmd, EX_USAGE_, "--rate: \"%s\" is not a number of MiB a second from 1 to %d", o.value,
						RATE_MAX);
			break;
		case 'w':
			r.wait = true;
			break;
		case OPT_STATUS:
			status = true;
			r.op = "scrub_status";
			break;
		case OPT_STOP:
			stop = true;
			r.op = "scrub_stop";
			break;
		case OPT_JSON:
			r.as_json = true;
			break;
		case CTL_OPT_SOCKET:
			r.socket = o.value;
			break;
		}
	}
	if (status + stop + (r.wait || r.rate) > 1)
		return ctl_fail(cmd, EX_USAGE_, "--status and --stop go with no other of --rate, --wait, --status and --stop");
	if (options_operands(&o) != argc - 1)
		return ctl_fail(cmd, EX_USAGE_, "give the NAME of an export");
	r.name = argv[argc - 1];
	return perform(cmd, &r);
}

const struct ctl_command ctl_scrub = {
	"scrub", "NAME", "Reads and verifies all written pages of an export in the background.", options, run,
};
