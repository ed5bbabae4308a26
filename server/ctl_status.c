/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/ctl.h"

#include "common/exitcodes.h"
#include "common/size.h"

#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { OPT_JSON = 256, OPT_SESSIONS };

static const struct option_def options[] = {
	{ OPT_JSON, "json", NULL, "print what the daemon says, as JSON" },
	{ OPT_SESSIONS, "sessions", NULL, "a line for each session (connection) too" },
	{ 'w', "watch", "[SECONDS]", "again and again, every 2 seconds or as given" },
	CTL_OPTION_SOCKET,
	OPTION_HELP,
	{ 0, NULL },
};

#define COLUMNS 13
#define CELL 96

struct row {
	char cell[COLUMNS][CELL];
};

static const char *text(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "-";
}

static void number(char *cell, const json_t *o, const char *key)
{
	const json_t *v = json_object_get(o, key);

	if (v)
		snprintf(cell, CELL, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
	else
		strcpy(cell, "-");
}

/* A sealed page is authenticated whatever its check is. */
static void fill_rules(char *check, char *retry, const json_t *rules)
{
	const char *seal = text(rules, "seal");

	snprintf(check, CELL, "%s", strcmp(seal, "none") == 0 ? text(rules, "check") : seal);
	if (rules)
		snprintf(retry, CELL, "%" JSON_INTEGER_FORMAT " s", json_integer_value(json_object_get(rules, "retry_time")));
	else
		strcpy(retry, "-");
}

static void fill(struct row *r, const json_t *x, const json_t *worker)
{
	const json_t *counters = json_object_get(x, "counters");
	json_int_t size = json_integer_value(json_object_get(x, "size")), all = json_integer_value(json_object_get(x, "allocate"));
	const char *removed = json_is_true(json_object_get(x, "removed")) ? "removed, " : "";
	char human[SIZE_TEXT];

	snprintf(r->cell[0], CELL, "%.90s", text(x, "name"));
	if (all > 0)
		snprintf(r->cell[1], CELL, "%s%s %d%%", removed, text(x, "state"),
			 (int)(json_integer_value(json_object_get(x, "allocated")) * 100. / (double)all));
	else
		snprintf(r->cell[1], CELL, "%s%s%s", removed, json_object_get(x, "alarm") ? "ALARM, " : "", text(x, "state"));
	snprintf(r->cell[2], CELL, "%s", size ? size_format((uint64_t)size, human) : "-");
	snprintf(r->cell[3], CELL, "%s", text(x, "backend"));
	fill_rules(r->cell[4], r->cell[5], json_object_get(x, "rules"));
	snprintf(r->cell[6], CELL, "%.90s", text(x, "client"));
	number(r->cell[7], x, "sessions");
	number(r->cell[8], counters, "reads");
	number(r->cell[9], counters, "writes");
	number(r->cell[10], counters, "in_flight");
	number(r->cell[11], json_object_get(x, "pages"), "lost");
	snprintf(r->cell[12], CELL, "%" JSON_INTEGER_FORMAT " %s", json_integer_value(json_object_get(worker, "pid")),
		 text(worker, "state"));
}

static void print_rows(const struct row *rows, size_t count)
{
	static const char right[COLUMNS] = { [2] = 1, [5] = 1, [7] = 1, [8] = 1, [9] = 1, [10] = 1, [11] = 1 };
	size_t width[COLUMNS] = { 0 };

	for (size_t i = 0; i < count; i++)
		for (size_t c = 0; c < COLUMNS; c++)
			if (strlen(rows[i].cell[c]) > width[c])
				width[c] = strlen(rows[i].cell[c]);
	for (size_t i = 0; i < count; i++)
		for (size_t c = 0; c < COLUMNS; c++)
			printf("%*s%s", right[c] ? (int)width[c] : c + 1 < COLUMNS ? -(int)width[c] : 0, rows[i].cell[c],
			       c + 1 < COLUMNS ? "  " : "\n");
}

/* What went wrong, in words; nothing when nothing did. */
static void print_trouble(const json_t *x)
{
	static const struct {
		const char *key, *text;
	} lines[] = {
		{ "checks_failed", "reads returned what was not written (a page is read twice)" },
		{ "reread_good", "of these were right at the second read" },
		{ "lost_pages", "pages became lost since the activation" },
		{ "errors", "requests were answered with an error" },
		{ "errors_passing", "errors of the backend that pass" },
		{ "errors_lasting", "errors of the backend that last" },
		{ "errors_impossible", "errors of the backend that break its promise (no space)" },
		{ "retries", "times it was tried again" },
		{ "held", "requests are held now" },
	};
	const json_t *counters = json_object_get(x, "counters");

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		if (json_integer_value(json_object_get(counters, lines[i].key)) > 0)
			printf("%s: %" JSON_INTEGER_FORMAT " %s\n", text(x, "name"),
			       json_integer_value(json_object_get(counters, lines[i].key)), lines[i].text);
}

static void print_scrub(const json_t *x)
{
	const json_t *scrub = json_object_get(x, "scrub");
	time_t when = (time_t)json_integer_value(json_object_get(scrub, json_object_get(scrub, "ended") ? "ended" : "started"));
	json_int_t pages = json_integer_value(json_object_get(scrub, "pages"));
	char date[32] = "";
	struct tm tm;

	if (!scrub || strcmp(text(scrub, "state"), "none") == 0)
		return;
	if (localtime_r(&when, &tm))
		strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &tm);
	printf("%s: scrub %s", text(x, "name"), text(scrub, "state"));
	if (strcmp(text(scrub, "state"), "done") != 0 && pages > 0)
		printf(" (%d %%)", (int)((double)json_integer_value(json_object_get(scrub, "position")) * 100 / (double)pages));
	printf(", %s %s: %" JSON_INTEGER_FORMAT " pages verified, %" JSON_INTEGER_FORMAT " bad, %" JSON_INTEGER_FORMAT " unreadable\n",
	       json_object_get(scrub, "ended") ? "ended" : "begun", date, json_integer_value(json_object_get(scrub, "verified")),
	       json_integer_value(json_object_get(scrub, "mismatched")), json_integer_value(json_object_get(scrub, "unreadable")));
}

/* The worker, beyond what the table says; nothing of one whose end nobody outlived. */
static void print_worker(const json_t *worker)
{
	const json_t *r = json_object_get(worker, "resumption");

	if (strcmp(text(worker, "state"), "ready") != 0)
		printf("The worker is not ready (%s): %s.\n", text(worker, "state"), text(worker, "last_exit"));
	if (json_is_true(json_object_get(r, "under_way")))
		puts("Sessions wait for it.");
	else if (r)
		printf("Worker: %s, %" JSON_INTEGER_FORMAT " restarts; at the last %" JSON_INTEGER_FORMAT " sessions went on after %"
		       JSON_INTEGER_FORMAT " ms, %" JSON_INTEGER_FORMAT " were cut.\n", text(worker, "engine"),
		       json_integer_value(json_object_get(worker, "restarts")), json_integer_value(json_object_get(r, "resumed")),
		       json_integer_value(json_object_get(r, "ms")), json_integer_value(json_object_get(r, "cut")));
}

static void print_sessions(const json_t *answer)
{
	const json_t *sessions = json_object_get(answer, "sessions"), *i;
	size_t n;

	json_array_foreach(sessions, n, i) {
		printf("%s: session %" JSON_INTEGER_FORMAT " %s, client %s from %s", text(i, "export"),
		       json_integer_value(json_object_get(i, "epoch")), text(i, "state"), text(i, "client"), text(i, "peer"));
		if (json_object_get(i, "slot"))
			printf(", slot %s", text(i, "slot"));
		if (json_object_get(i, "received"))
			printf(", %" JSON_INTEGER_FORMAT " bytes received, %" JSON_INTEGER_FORMAT " sent",
			       json_integer_value(json_object_get(i, "received")), json_integer_value(json_object_get(i, "acknowledged")));
		puts(json_is_true(json_object_get(i, "live")) ? "" : ", ends with the worker");
	}
}

static void print_table(const json_t *answer, bool sessions)
{
	static const struct row head = { { "EXPORT", "STATE", "SIZE", "BACKEND", "CHECK", "RETRY", "CLIENT", "SESSIONS",
					   "READS", "WRITES", "IN FLIGHT", "LOST", "WORKER" } };
	const json_t *exports = json_object_get(answer, "exports"), *worker = json_object_get(answer, "worker"), *x;
	size_t count = json_array_size(exports), i;
	struct row *rows = calloc(count + 1, sizeof(*rows));

	if (!rows)
		abort();
	rows[0] = head;
	json_array_foreach(exports, i, x)
		fill(&rows[i + 1], x, worker);
	print_rows(rows, count + 1);
	free(rows);
	print_worker(worker);
	if (sessions)
		print_sessions(answer);
	json_array_foreach(exports, i, x) {
		if (json_object_get(x, "error"))
			printf("%s: %s\n", text(x, "name"), text(x, "error"));
		if (json_object_get(x, "alarm"))
			printf("%s: ALARM: %s\n", text(x, "name"), text(x, "alarm"));
		print_trouble(x);
		print_scrub(x);
	}
}

static int show(const struct ctl_command *cmd, const char *socket, bool as_json, bool sessions, bool clear)
{
	json_t *answer = ctl_request(cmd, socket, json_pack("{s:s}", "op", "status"), NULL, NULL);
	int code;

	if (!answer)
		return EX_UNREACHABLE;
	code = ctl_verdict(cmd, answer, EX_FAIL);
	if (clear)
		fputs("\033[H\033[J", stdout);
	if (code == EX_OK_ && as_json) {
		json_dumpf(answer, stdout, JSON_INDENT(2));
		putchar('\n');
	} else if (code == EX_OK_) {
		print_table(answer, sessions);
	}
	fflush(stdout);
	json_decref(answer);
	return code;
}

static int run(const struct ctl_command *cmd, int argc, char **argv)
{
	const char *socket = NULL;
	bool as_json = false, sessions = false;
	unsigned long every = 0;
	struct options o;
	char *end;
	int opt, code;

	options_begin(&o, options, argc, argv);
	while ((opt = ctl_option(cmd, &o))) {
		switch (opt) {
		case OPT_JSON:
			as_json = true;
			break;
		case OPT_SESSIONS:
			sessions = true;
			break;
		case 'w':
			every = o.value ? strtoul(o.value, &end, 10) : 2;
			if ((o.value && *end) || every == 0 || every > 86400)
				return ctl_fail(cmd, EX_USAGE_, "--watch: \"%s\" is not a number of seconds from 1 to 86400", o.value);
			break;
		case CTL_OPT_SOCKET:
			socket = o.value;
			break;
		}
	}
	if (options_operands(&o) < argc)
		return ctl_fail(cmd, EX_USAGE_, "takes no arguments");
	while ((code = show(cmd, socket, as_json, sessions, every && !as_json && isatty(STDOUT_FILENO))) == EX_OK_ && every)
		sleep((unsigned)every);
	return code;
}

const struct ctl_command ctl_status = {
	"status", "", "Shows the exports, their clients and the worker.", options, run,
};
