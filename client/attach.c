/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/attach_one.h"
#include "client/command.h"
#include "client/procswaps.h"
#include "client/say.h"
#include "client/swapheader.h"
#include "client/swaptab.h"
#include "common/allow.h"
#include "common/options.h"
#include "common/size.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

enum {
	OPT_ALL = 'a',
	OPT_DEVICE = 'd',
	OPT_FORCE = 'f',
	OPT_LABEL = 'L',
	OPT_DRY_RUN = 'n',
	OPT_PRIORITY = 'p',
	OPT_JSON = 1,
	OPT_DISCARD,
	OPT_LOOPBACK,
	OPT_DEAD_LINK,
	OPT_NBD_CLIENT,
	OPT_SWAPTAB,
	OPT_STATE_DIR,
	OPT_VIA,
	OPT_NO_WATCH,
	OPT_ALLOW,
	OPT_SERVER,
};

static const struct option_def defs[] = {
	{ OPT_ALL, "all", NULL, "attach every line of the swaptab" },
	{ OPT_ALLOW, "allow", "WORDS", "start the watch although something is missing: memlock, oom, io-flusher" },
	{ OPT_DEVICE, "device", "NBDN", "use this device (default: the first that is free)" },
	{ OPT_DISCARD, "discard", "MODE", "none, once, pages or auto (default: auto)" },
	{ OPT_DEAD_LINK, "dead-link-timeout", "SECONDS",
	  "hold requests this long without a link (default: 604800)" },
	{ OPT_DRY_RUN, "dry-run", NULL, "only look whether it could be attached" },
	{ OPT_FORCE, "force", NULL, "overwrite whatever the export holds" },
	{ OPT_JSON, "json", NULL, "print the result as JSON" },
	{ OPT_LABEL, "label", "LABEL", "label of the swap area (default: kept, or the export's name)" },
	{ OPT_LOOPBACK, "loopback-i-know", NULL, "allow a server on this very machine (it deadlocks)" },
	{ OPT_NBD_CLIENT, "nbd-client", "PROGRAM", "the nbd-client for --via nbd-client (default: nbd-client)" },
	{ OPT_PRIORITY, "priority", "N", "swap priority, 0 to 32767 (default: the kernel's choice)" },
	{ OPT_SERVER, "server", "HOST[:PORT]", "where the export may be found as well, when it is lost (may be repeated)" },
	{ OPT_STATE_DIR, "state-dir", "DIR", "directory of what is attached (default: " STATE_DIR ")" },
	{ OPT_NO_WATCH, "no-watch", NULL, "let nothing make a lost connection anew" },
	{ OPT_VIA, "via", "WHAT", "netlink, or nbd-client (default: netlink)" },
	{ OPT_SWAPTAB, "swaptab", "FILE", "the file for --all (default: " SWAPTAB ")" },
	OPTION_HELP,
	{ 0 },
};

struct attach_command {
	struct attach_request request;
	const char *swaptab;
	bool all, json;
};

static void help(void)
{
	puts("Usage: nbdswap attach [OPTION...] nbd://HOST[:PORT]/EXPORT\n"
	     "       nbdswap attach [OPTION...] --all\n\n"
	     "Looks whether the export and this machine are fit for it, then attaches the export as swap.\n"
	     "If anything fails, all that was done is undone.\n");
	options_help(stdout, defs);
}

static int take_server(struct attach_request *r, const char *value, struct errbuf *e)
{
	if (r->nservers == ATTACH_SERVERS_MAX)
		return err_set(e, E2BIG, "--server: at most %d can be given", ATTACH_SERVERS_MAX);
	if (uri_parse_server(value, &r->servers[r->nservers], e) < 0)
		return -1;
	r->nservers++;
	return 0;
}

/* 1: help was asked for. */
static int take_option(struct attach_command *c, int id, const char *value, struct errbuf *e)
{
	struct attach_request *r = &c->request;

	switch (id) {
	case OPT_ALL:
		c->all = true;
		return 0;
	case OPT_DEVICE:
		r->device = value;
		return 0;
	case OPT_DISCARD:
		return discard_mode_parse(value, &r->discard, e);
	case OPT_DEAD_LINK:
		return seconds_parse(value, &r->dead_link_timeout, e);
	case OPT_DRY_RUN:
		r->dry_run = true;
		return 0;
	case OPT_FORCE:
		r->force = true;
		return 0;
	case OPT_JSON:
		c->json = true;
		return 0;
	case OPT_LABEL:
		if (strlen(value) > SWAP_LABEL_MAX)
			return err_set(e, EINVAL, "label \"%.32s\" has more than %d bytes", value,
				       SWAP_LABEL_MAX);
		r->label = value;
		return 0;
	case OPT_LOOPBACK:
		r->own_address_ok = true;
		return 0;
	case OPT_NBD_CLIENT:
		r->nbd_client = value;
		return 0;
	case OPT_PRIORITY:
		return priority_parse(value, &r->priority, e);
	case OPT_SERVER:
		return take_server(r, value, e);
	case OPT_STATE_DIR:
		r->state_dir = value;
		return 0;
	case OPT_ALLOW:
		r->watch_allow = value;
		return allow_list(value) ? 0 : err_set(e, EINVAL, "--allow %.32s: there are memlock, oom and io-flusher, with commas between", value);
	case OPT_NO_WATCH:
		r->no_watch = true;
		return 0;
	case OPT_VIA:
		r->via_nbd_client = strcmp(value, "nbd-client") == 0;
		if (!r->via_nbd_client && strcmp(value, "netlink") != 0)
			return err_set(e, EINVAL, "--via %.32s: there are netlink and nbd-client", value);
		return 0;
	case OPT_SWAPTAB:
		c->swaptab = value;
		return 0;
	default:
		return 1;
	}
}

static json_t *result_json(const struct attach_request *r, enum exit_code code, const struct attach_result *out,
			   const struct errbuf *e)
{
	const struct attach_state *s = &out->state;
	json_t *j = json_pack("{s:s, s:i, s:o}", "uri", r->uri.text, "exit_code", (int)code, "preflight",
			      findings_json(&out->findings));

	if (e->code)
		json_object_set_new(j, "error", json_string(e->text));
	if (code == EX_OK_ && !r->dry_run) {
		json_object_set_new(j, "device", json_string(s->dev.name));
		json_object_set_new(j, "size", json_integer((json_int_t)s->size));
		json_object_set_new(j, "label", json_string(s->label));
		json_object_set_new(j, "uuid", json_string(s->uuid));
		json_object_set_new(j, "discard", json_string(s->discard));
		json_object_set_new(j, "client", json_string(s->client));
		json_object_set_new(j, "notes", json_string(out->notes));
	}
	return j;
}

static void tell(const struct attach_request *r, enum exit_code code, const struct attach_result *out,
		 const struct errbuf *e)
{
	char text[SIZE_TEXT];

	say_findings(&out->findings, r->dry_run);
	if (e->code)
		say_error(e);
	if (code != EX_OK_)
		return;
	if (r->dry_run) {
		printf("%s can be attached\n", r->uri.text);
		return;
	}
	if (out->notes[0])
		say("note: %s", out->notes);
	printf("%s: %s, %s of swap, label %s, UUID %s\n", out->state.dev.name, r->uri.text,
	       size_format(out->state.size, text), out->state.label, out->state.uuid);
}

static enum exit_code run_one(const struct attach_request *r, json_t *list)
{
	struct attach_result result;
	struct errbuf e = { 0 };
	enum exit_code code = attach_one(r, &result, &caught_signal, &e);

	if (list)
		json_array_append_new(list, result_json(r, code, &result, &e));
	else
		tell(r, code, &result, &e);
	return code;
}

/* What is attached already is what --all is to achieve: as swapon -a does, it is passed over.  Not so what a detach that was
 * interrupted left, on which swap is off.
 */
static bool already(const struct attach_state *s, const struct attach_request *r, json_t *list)
{
	struct swap_list swaps;

	if (!s || procswaps_read(&swaps, NULL) < 0 || !procswaps_find(&swaps, s->dev.path))
		return false;
	if (list)
		json_array_append_new(list, json_pack("{s:s, s:i, s:s, s:b}", "uri", r->uri.text, "exit_code",
						      EX_OK_, "device", s->dev.name, "already", 1));
	else
		printf("%s: %s is attached already\n", s->dev.name, r->uri.text);
	return true;
}

static enum exit_code run_all(const struct attach_command *c, json_t *list)
{
	static struct swaptab tab;
	static struct state_list attached;
	enum exit_code first_failure = EX_OK_;
	struct errbuf e = { 0 };
	size_t done = 0;

	if (swaptab_load(c->swaptab, &tab, &e) < 0) {
		say_error(&e);
		return EX_CONFIG_;
	}
	if (geteuid() == 0 && state_load_all(c->request.state_dir, &attached, &e) < 0) {
		say_error(&e);
		return EX_FAIL;
	}
	for (size_t i = 0; i < tab.count && !caught_signal; i++) {
		const struct swaptab_entry *t = &tab.entries[i];
		struct attach_request r = c->request;
		enum exit_code code;

		/* What the line says goes before what the command line says. */
		r.uri = t->uri;
		if (t->label[0])
			r.label = t->label;
		if (t->device[0])
			r.device = t->device;
		if (t->priority != PRIORITY_KERNEL)
			r.priority = t->priority;
		if (t->discard != DISCARD_AUTO)
			r.discard = t->discard;
		memcpy(r.servers, t->servers, sizeof(t->servers));
		r.nservers = t->nservers;
		if (t->dead_link_timeout)
			r.dead_link_timeout = t->dead_link_timeout;
		code = already(state_by_uri(&attached, r.uri.text), &r, list) ? EX_OK_ : run_one(&r, list);
		if (code == EX_OK_)
			done++;
		else if (first_failure == EX_OK_)
			first_failure = code;
	}
	if (caught_signal && first_failure == EX_OK_)
		first_failure = EX_FAIL;
	return first_failure != EX_OK_ && done ? EX_PARTIAL : first_failure;
}

int attach_main(int argc, char **argv)
{
	struct attach_command c = { .swaptab = SWAPTAB };
	struct options o;
	struct errbuf e = { 0 };
	json_t *list = NULL;
	enum exit_code code;
	int id, operands;

	attach_request_init(&c.request);
	options_begin(&o, defs, argc, argv);
	while ((id = options_next(&o, &e)) != 0) {
		int rc = id < 0 ? -1 : take_option(&c, id, o.value, &e);

		if (rc > 0) {
			help();
			return EX_OK_;
		}
		if (rc < 0) {
			say_error(&e);
			return EX_USAGE_;
		}
	}
	operands = argc - options_operands(&o);
	if (operands != (c.all ? 0 : 1)) {
		say(c.all ? "with --all no address may be given"
			  : "give one address, nbd://HOST[:PORT]/EXPORT, or --all");
		return EX_USAGE_;
	}
	if (c.all && c.request.nservers) {
		say("--server cannot be the same for all; write server=HOST into the swaptab");
		return EX_USAGE_;
	}
	if (c.request.nservers && (c.request.no_watch || c.request.via_nbd_client)) {
		say("--server is where the watch looks, and with --no-watch or --via nbd-client there is none");
		return EX_USAGE_;
	}
	if (c.all && c.request.device) {
		say("--device cannot be one for all; write device=NBDN into the swaptab");
		return EX_USAGE_;
	}
	if (!c.all && uri_parse(argv[options_operands(&o)], URI_TCP_ONLY, &c.request.uri, &e) < 0) {
		say_error(&e);
		return EX_USAGE_;
	}
	catch_signals();
	if (c.json)
		list = json_array();
	code = c.all ? run_all(&c, list) : run_one(&c.request, list);
	if (list) {
		json_dumpf(c.all ? list : json_array_get(list, 0), stdout, JSON_INDENT(1));
		putchar('\n');
		json_decref(list);
	}
	return code;
}
