/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/command.h"
#include "client/detach_one.h"
#include "client/say.h"
#include "client/watchtalk.h"
#include "common/options.h"
#include "common/size.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum { OPT_ALL = 'a', OPT_FORCE = 'f', OPT_QUIET = 'q', OPT_STATE_DIR = 1, OPT_LOST };

#define HOLDERS_SHOWN 20

static const struct option_def defs[] = {
	{ OPT_ALL, "all", NULL, "detach everything that nbdswap has attached" },
	{ OPT_FORCE, "force", NULL, "go on although memory may not suffice" },
	{ OPT_LOST, "lost-pages-are-lost", NULL, "go on although the server is gone and its pages are lost" },
	{ OPT_QUIET, "quiet", NULL, "no progress bar and no message of success" },
	{ OPT_STATE_DIR, "state-dir", "DIR", "directory of what is attached (default: " STATE_DIR ")" },
	OPTION_HELP,
	{ 0 },
};

static void help(void)
{
	puts("Usage: nbdswap detach [OPTION...] NBDN|nbd://HOST[:PORT]/EXPORT...\n"
	     "       nbdswap detach [OPTION...] --all\n\n"
	     "Takes the pages back into memory, turns swap off, disconnects and removes what attach left.\n"
	     "It can be interrupted and repeated.\n");
	options_help(stdout, defs);
}

/* Who holds what is lost, and what that means for them. */
static void tell_lost(enum exit_code code, const struct detach_result *r)
{
	char text[SIZE_TEXT];

	if (code == EX_LOST)
		say("nothing was done. When the server comes back with the same pages, all goes on by itself. To go on without it, save and end what"
		    " holds them, then use --lost-pages-are-lost; these hold pages there:");
	else if (code == EX_OK_)
		say("%s of pages may be lost. What held them runs on, and is ended (SIGBUS) when it touches one that is; these did:",
		    size_format(r->lost, text));
	else
		return;
	holders_print(stderr, &r->holders, HOLDERS_SHOWN, "  ");
	if (r->holders.bytes < r->lost)
		fprintf(stderr, "  the rest, %s, is of shared memory and tmpfs, or in memory as well\n",
			size_format(r->lost - r->holders.bytes, text));
}

static enum exit_code run_one(struct detach_request *r)
{
	struct errbuf e = { 0 };
	struct detach_result result;
	enum exit_code code = detach_one(r, &result, &caught_signal, &e);

	if (code != EX_OK_)
		say("%s: %s", r->dev.name, e.text);
	else if (r->bar)
		printf("%s is detached\n", r->dev.name);
	if (result.lost)
		tell_lost(code, &result);
	holders_free(&result.holders);
	return code;
}

/* Finds what the operand names. */
static enum exit_code resolve(const char *operand, const struct state_list *list, struct detach_request *r)
{
	struct errbuf e = { 0 };
	struct nbd_uri uri;

	if (!strstr(operand, "://")) {
		if (nbddev_parse(operand, &r->dev, &e) < 0) {
			say_error(&e);
			return EX_USAGE_;
		}
		r->state = state_by_device(list, r->dev.index);
		return EX_OK_;
	}
	if (uri_parse(operand, URI_TCP_ONLY, &uri, &e) < 0) {
		say_error(&e);
		return EX_USAGE_;
	}
	r->state = state_by_uri(list, uri.text);
	if (!r->state) {
		say("%s is not attached", uri.text);
		return EX_FAIL;
	}
	r->dev = r->state->dev;
	return EX_OK_;
}

static enum exit_code run(struct detach_request *r, char **operands, size_t count,
			  const struct state_list *list)
{
	enum exit_code first_failure = EX_OK_;
	size_t done = 0, all = operands ? count : list->count;

	for (size_t i = 0; i < all && !caught_signal; i++) {
		enum exit_code code = EX_OK_;

		if (operands) {
			code = resolve(operands[i], list, r);
		} else {
			r->state = &list->states[i];
			r->dev = r->state->dev;
		}
		if (code == EX_OK_)
			code = run_one(r);
		if (code == EX_OK_)
			done++;
		else if (first_failure == EX_OK_)
			first_failure = code;
	}
	if (caught_signal && first_failure == EX_OK_ && done < all)
		first_failure = EX_FAIL;
	return first_failure != EX_OK_ && done ? EX_PARTIAL : first_failure;
}

int detach_main(int argc, char **argv)
{
	static struct state_list list;
	struct detach_request r = { .state_dir = STATE_DIR, .bar = true };
	bool all = false;
	struct options o;
	struct errbuf e = { 0 };
	int id, operands;

	options_begin(&o, defs, argc, argv);
	while ((id = options_next(&o, &e)) != 0) {
		switch (id) {
		case OPT_ALL:
			all = true;
			break;
		case OPT_FORCE:
			r.force = true;
			break;
		case OPT_LOST:
			r.lost = true;
			break;
		case OPT_QUIET:
			r.bar = false;
			break;
		case OPT_STATE_DIR:
			r.state_dir = o.value;
			break;
		case 'h':
			help();
			return EX_OK_;
		default:
			say_error(&e);
			return EX_USAGE_;
		}
	}
	operands = argc - options_operands(&o);
	if (all ? operands > 0 : operands == 0) {
		say(all ? "with --all nothing else may be named" : "name a device or an address, or use --all");
		return EX_USAGE_;
	}
	if (geteuid() != 0) {
		say("only root can detach swap; run it with sudo");
		return EX_PRIV;
	}
	if (state_load_all(r.state_dir, &list, &e) < 0) {
		say_error(&e);
		return EX_FAIL;
	}
	watch_refresh(r.state_dir, &list);
	catch_signals();
	return run(&r, all ? NULL : argv + options_operands(&o), (size_t)operands, &list);
}
