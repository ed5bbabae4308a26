/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "server/ctl.h"

#include "common/exitcodes.h"
#include "common/size.h"

#include <stdbool.h>

enum { OPT_JSON = 256 };

static const struct option_def options[] = {
	{ OPT_JSON, "json", NULL, "print the ranges as JSON" },
	CTL_OPTION_SOCKET,
	OPTION_HELP,
	{ 0, NULL },
};

/* The daemon tells the runs in pieces; what goes over a piece's end comes as two. */
struct list {
	json_t *ranges; /* of {"first","count"} */
	json_int_t pages, page_bytes;
};

static void add(struct list *l, json_int_t first, json_int_t count)
{
	json_t *last = json_array_get(l->ranges, json_array_size(l->ranges) - 1);
	json_int_t last_first = json_integer_value(json_object_get(last, "first"));
	json_int_t last_count = json_integer_value(json_object_get(last, "count"));

	l->pages += count;
	if (last && last_first + last_count == first)
		json_object_set_new(last, "count", json_integer(last_count + count));
	else
		json_array_append_new(l->ranges, json_pack("{s:I, s:I}", "first", first, "count", count));
}

static int collect(const struct ctl_command *cmd, const char *socket, const char *name, struct list *l)
{
	json_int_t from = 0;
	int code = EX_OK_;

	do {
		json_t *answer = ctl_request(cmd, socket, json_pack("{s:s, s:s, s:I}", "op", "lost", "export", name, "from", from),
					     NULL, NULL);
		json_t *run;
		size_t i;

		if (!answer)
			return EX_UNREACHABLE;
		code = ctl_verdict(cmd, answer, EX_FAIL);
		l->page_bytes = json_integer_value(json_object_get(answer, "page_bytes"));
		json_array_foreach(json_object_get(answer, "lost"), i, run)
			add(l, json_integer_value(json_array_get(run, 0)), json_integer_value(json_array_get(run, 1)));
		from = json_integer_value(json_object_get(answer, "next"));
		json_decref(answer);
	} while (from > 0 && code == EX_OK_);
	return code;
}

static void print(const char *name, const struct list *l)
{
	char size[SIZE_TEXT];
	json_t *r;
	size_t i;

	printf("%s: %" JSON_INTEGER_FORMAT " lost pages (%s) in %zu ranges\n", name, l->pages,
	       size_format((uint64_t)(l->pages * l->page_bytes), size), json_array_size(l->ranges));
	json_array_foreach(l->ranges, i, r) {
		json_int_t first = json_integer_value(json_object_get(r, "first")), n = json_integer_value(json_object_get(r, "count"));

		if (n == 1)
			printf("  page %" JSON_INTEGER_FORMAT, first);
		else
			printf("  pages %" JSON_INTEGER_FORMAT "-%" JSON_INTEGER_FORMAT, first, first + n - 1);
		printf(", bytes %" JSON_INTEGER_FORMAT "-%" JSON_INTEGER_FORMAT "\n", first * l->page_bytes,
		       (first + n) * l->page_bytes - 1);
	}
}

static int run(const struct ctl_command *cmd, int argc, char **argv)
{
	struct list l = { .pages = 0 };
	const char *socket = NULL, *name;
	bool as_json = false;
	struct options o;
	int opt, code;

	options_begin(&o, options, argc, argv);
	while ((opt = ctl_option(cmd, &o))) {
		as_json |= opt == OPT_JSON;
		if (opt == CTL_OPT_SOCKET)
			socket = o.value;
	}
	if (options_operands(&o) != argc - 1)
		return ctl_fail(cmd, EX_USAGE_, "give the NAME of an export");
	name = argv[argc - 1];
	l.ranges = json_array();
	code = collect(cmd, socket, name, &l);
	if (code == EX_OK_ && as_json) {
		json_t *j = json_pack("{s:s, s:I, s:I, s:O}", "export", name, "page_bytes", l.page_bytes, "pages", l.pages, "ranges",
				      l.ranges);

		json_dumpf(j, stdout, JSON_INDENT(2));
		putchar('\n');
		json_decref(j);
	} else if (code == EX_OK_) {
		print(name, &l);
	}
	json_decref(l.ranges);
	return code;
}

const struct ctl_command ctl_lost = {
	"lost", "NAME", "Lists the pages of an export whose content is lost.", options, run,
};
