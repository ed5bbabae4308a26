/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/ctl.h"

#include "common/exitcodes.h"
#include "store/backing.h"

enum { OPT_JSON = 256 };

static const struct option_def options[] = {
	{ OPT_JSON, "json", NULL, "print the findings as JSON" },
	OPTION_HELP,
	{ 0, NULL },
};

static json_t *report_json(const char *file, const struct report *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->count; i++)
		json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "item", r->findings[i].item, "verdict",
						      verdict_name(r->findings[i].verdict), "text", r->findings[i].text));
	return json_pack("{s:s, s:s, s:o}", "file", file, "verdict", verdict_name(report_worst(r)), "findings", list);
}

static int run(const struct ctl_command *cmd, int argc, char **argv)
{
	static struct report report;
	struct options o;
	struct errbuf e;
	bool as_json = false;
	const char *file;
	int opt;

	options_begin(&o, options, argc, argv);
	while ((opt = ctl_option(cmd, &o)))
		as_json |= opt == OPT_JSON;
	if (options_operands(&o) != argc - 1)
		return ctl_fail(cmd, EX_USAGE_, "give one FILE");
	file = argv[argc - 1];
	if (backing_check(file, &report, &e) < 0)
		return ctl_fail(cmd, EX_FAIL, "%s", e.text);
	if (as_json) {
		json_t *j = report_json(file, &report);

		json_dumpf(j, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(j);
	} else {
		for (size_t i = 0; i < report.count; i++)
			printf("%-5s %-14s %s\n", verdict_name(report.findings[i].verdict), report.findings[i].item,
			       report.findings[i].text);
	}
	return report_worst(&report) == VERDICT_FAIL ? EX_REFUSED : EX_OK_;
}

const struct ctl_command ctl_check = {
	"check", "FILE", "Reports whether FILE could be activated as it is.  Touches nothing.", options, run,
};
