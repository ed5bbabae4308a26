/* SPDX-License-Identifier: BSD-3-Clause */
/* Through the daemon (NAME), or here without one (--file). */
#include "config.h"

#include "server/ctl.h"

#include "common/exitcodes.h"
#include "common/progress.h"
#include "common/size.h"
#include "store/backing.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>

enum { OPT_REWRITE = 256, OPT_NO_REWRITE, OPT_FILE, OPT_SIZE };

static const struct option_def options[] = {
	{ OPT_REWRITE, "rewrite", NULL, "write every page anew, whatever is there; what nbdswap keeps there is lost" },
	{ OPT_NO_REWRITE, "no-rewrite", NULL, "never write over an existing file; create or fill an empty one only" },
	{ 'f', "force", NULL, "write even over something that looks like a file system" },
	{ OPT_FILE, "file", "PATH", "make this file ready here, without the daemon" },
	{ OPT_SIZE, "size", "SIZE", "with --file: the size of the export" },
	CTL_OPTION_SOCKET,
	OPTION_HELP,
	{ 0, NULL },
};

struct request {
	const char *name, *file, *socket;
	uint64_t size;
	bool rewrite, no_rewrite, force;
};

struct bar {
	struct progress p;
	const char *label;
	bool begun;
};

static volatile sig_atomic_t interrupted;

static void on_interrupt(int sig)
{
	(void)sig;
	interrupted = 1;
}

static void draw(struct bar *b, uint64_t done, uint64_t total)
{
	if (!b->begun)
		progress_begin(&b->p, stderr, b->label, total);
	b->begun = true;
	progress_update(&b->p, done);
}

static void on_line(void *arg, const json_t *line)
{
	draw(arg, (uint64_t)json_integer_value(json_object_get(line, "done")),
	     (uint64_t)json_integer_value(json_object_get(line, "total")));
}

static bool on_progress(void *arg, uint64_t done, uint64_t total)
{
	draw(arg, done, total);
	return !interrupted;
}

static void warn(const struct ctl_command *cmd, const char *verdict, const char *text)
{
	if (verdict && text && strcmp(verdict, "warn") == 0)
		ctl_fail(cmd, 0, "warning: %s", text);
}

static int by_daemon(const struct ctl_command *cmd, const struct request *r, struct bar *bar)
{
	json_t *answer = ctl_request(cmd, r->socket,
				     json_pack("{s:s, s:s, s:b, s:b, s:b}", "op", "activate", "export", r->name, "rewrite", r->rewrite,
					       "no_rewrite", r->no_rewrite, "force", r->force), on_line, bar);
	char size[SIZE_TEXT];
	json_t *f;
	size_t i;
	int code;

	if (bar->begun)
		progress_end(&bar->p);
	if (!answer)
		return EX_UNREACHABLE;
	json_array_foreach(json_object_get(answer, "report"), i, f)
		warn(cmd, json_string_value(json_object_get(f, "verdict")), json_string_value(json_object_get(f, "text")));
	code = ctl_verdict(cmd, answer, EX_REFUSED);
	if (code == EX_OK_)
		printf("%s: %s, %s\n", r->name, json_is_true(json_object_get(answer, "already")) ? "was active already" : "active",
		       size_format((uint64_t)json_integer_value(json_object_get(answer, "size")), size));
	json_decref(answer);
	return code;
}

static int exit_code(int error)
{
	return error == EBUSY ? EX_BUSY : error == EINVAL || error == EEXIST ? EX_REFUSED :
	       error == EPERM || error == EACCES ? EX_PRIV : EX_FAIL;
}

static int here(const struct ctl_command *cmd, const struct request *r, struct bar *bar)
{
	static struct report report;
	struct backing_options opt = {
		.size = r->size,
		.provision = r->no_rewrite ? PROVISION_CREATE : r->rewrite ? PROVISION_RENEW : PROVISION_REWRITE,
		.dirfd = AT_FDCWD,
		.force = r->force,
		.prepare = true,
		.progress = on_progress,
		.progress_arg = bar,
	};
	struct sigaction sa = { .sa_handler = on_interrupt };
	struct backing *b;
	char size[SIZE_TEXT];
	struct errbuf e;
	int rc;

	/* An allocation that is interrupted can be resumed; a second signal ends the program at once. */
	sa.sa_flags = SA_RESETHAND;
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	rc = backing_activate(r->file, &opt, &b, &report, &e);
	if (bar->begun)
		progress_end(&bar->p);
	for (size_t i = 0; i < report.count; i++)
		warn(cmd, verdict_name(report.findings[i].verdict), report.findings[i].text);
	if (rc < 0)
		return ctl_fail(cmd, exit_code(e.code), "%s", e.text);
	printf("%s: ready on %s, %s\n", backing_path(b), backing_backend(b)->name, size_format(backing_data_size(b), size));
	/* Nothing was begun, so there is nothing to end. */
	backing_close(b);
	return EX_OK_;
}

static int run(const struct ctl_command *cmd, int argc, char **argv)
{
	struct request r = { .name = NULL };
	struct bar bar = { .begun = false };
	struct options o;
	int opt, first;

	options_begin(&o, options, argc, argv);
	while ((opt = ctl_option(cmd, &o))) {
		switch (opt) {
		case OPT_REWRITE:
			r.rewrite = true;
			break;
		case OPT_NO_REWRITE:
			r.no_rewrite = true;
			break;
		case 'f':
			r.force = true;
			break;
		case OPT_FILE:
			r.file = o.value;
			break;
		case OPT_SIZE:
			if (size_parse(o.value, &r.size) < 0)
				return ctl_fail(cmd, EX_USAGE_, "--size: \"%s\" is not a size, such as 4G", o.value);
			break;
		case CTL_OPT_SOCKET:
			r.socket = o.value;
			break;
		}
	}
	first = options_operands(&o);
	if (r.rewrite && r.no_rewrite)
		return ctl_fail(cmd, EX_USAGE_, "--rewrite and --no-rewrite contradict each other");
	if (r.file ? first < argc || r.socket : first != argc - 1 || r.size)
		return ctl_fail(cmd, EX_USAGE_, "give the NAME of an export, or --file PATH [--size SIZE]");
	bar.label = r.file ? r.file : argv[first];
	if (r.file)
		return here(cmd, &r, &bar);
	r.name = argv[first];
	return by_daemon(cmd, &r, &bar);
}

const struct ctl_command ctl_activate = {
	"activate", "NAME", "Makes an export ready: allocates and checks its file.", options, run,
};
