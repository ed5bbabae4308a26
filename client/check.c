/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/bootid.h"
#include "client/command.h"
#include "client/exportprobe.h"
#include "client/roundtrip.h"
#include "client/say.h"
#include "client/session.h"
#include "client/state.h"
#include "common/exitcodes.h"
#include "common/options.h"
#include "common/size.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PAGE 4096u
#define PAGES_DEFAULT 1000

enum { OPT_FORCE = 'f', OPT_PAGES = 'n', OPT_JSON = 1, OPT_SEED, OPT_STATE_DIR };

static const struct option_def defs[] = {
	{ OPT_FORCE, "force", NULL, "also when the export holds something that may be in use" },
	{ OPT_JSON, "json", NULL, "print the result as JSON" },
	{ OPT_PAGES, "pages", "N", "how many pages, spread over the export (default: 1000)" },
	{ OPT_SEED, "seed", "N", "seed of pattern and places (default: from the clock)" },
	{ OPT_STATE_DIR, "state-dir", "DIR", "directory of what is attached (default: " STATE_DIR ")" },
	OPTION_HELP,
	{ 0 },
};

struct check_request {
	struct nbd_uri uri;
	const char *state_dir;
	uint64_t pages, seed;
	bool force, json;
};

static void help(void)
{
	puts("Usage: nbdswap check [OPTION...] nbd://HOST[:PORT]/EXPORT\n"
	     "       nbdswap check [OPTION...] nbd+unix:///EXPORT?socket=PATH\n\n"
	     "Writes pages to an export that is not in use, reads them back, compares them, and puts back what "
	     "they\nheld.  Shows how long a page takes.\n");
	options_help(stdout, defs);
}

static int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *out, struct errbuf *e)
{
	char *end = NULL;
	unsigned long long value;

	errno = 0;
	value = strtoull(text, &end, 10);
	if (text[0] < '0' || text[0] > '9' || *end || errno || value < min || value > max)
		return err_set(e, EINVAL, "\"%.32s\" is not a number from %" PRIu64 " to %" PRIu64, text, min,
			       max);
	*out = value;
	return 0;
}

/* Is this machine itself using the export?  EX_OK_ when it is not. */
static enum exit_code look_at_own_use(const struct check_request *c)
{
	static struct state_list attached;
	const struct attach_state *s;
	struct errbuf e = { 0 };

	/* Another user's view of the directory is none: only root attaches, and only root can look. */
	if (state_load_all(c->state_dir, &attached, &e) < 0 && e.code != EACCES) {
		say_error(&e);
		return EX_FAIL;
	}
	s = state_by_uri(&attached, c->uri.text);
	if (!s)
		return EX_OK_;
	say("%s is in use by this machine, as %s; detach it first", c->uri.text, s->dev.name);
	return EX_BUSY;
}

/* Writing to what another machine uses would corrupt its memory, if only for a moment. */
static enum exit_code look_at_content(const struct check_request *c, struct session *s, uint64_t size)
{
	struct signature sig;
	struct errbuf e = { 0 };
	unsigned unreadable;
	int rc = export_probe(s, size, &sig, &unreadable, &e);

	if (rc < 0) {
		say("%s: %s", c->uri.text, e.text);
		return e.code == ENOTCONN || e.code == ETIMEDOUT ? EX_UNREACHABLE : EX_FAIL;
	}
	if (rc == 0 || c->force)
		return EX_OK_;
	/* A server of ours lets nobody else in while somebody uses it, so a swap header there is of
	 * the past.
	 */
	if (signature_is_swap(&sig) && session_server_knows_clients(&c->uri))
		return EX_OK_;
	say("%s holds content of a kind that may be in use elsewhere: %s (%s)%s%s; the check would change it "
	    "for a moment; make sure that nothing uses it, then use --force",
	    c->uri.text, sig.type, sig.usage, sig.label[0] ? ", label " : "", sig.label);
	return EX_REFUSED;
}

static json_t *latency_json(const struct latency *l)
{
	return json_pack("{s:I, s:f, s:f, s:f, s:f, s:f}", "count", (json_int_t)l->count, "p50_us",
			 (double)l->p50 / 1e3, "p90_us", (double)l->p90 / 1e3, "p99_us", (double)l->p99 / 1e3,
			 "p99.9_us", (double)l->p999 / 1e3, "max_us", (double)l->max / 1e3);
}

static void print_json(const struct check_request *c, const struct export_facts *facts,
		       const struct roundtrip_result *r, bool passed)
{
	json_t *j = json_pack("{s:s, s:I, s:b, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:b}", "uri", c->uri.text,
			      "size", (json_int_t)facts->size, "identified", facts->identified, "passed",
			      passed, "pages", (json_int_t)r->pages, "mismatches", (json_int_t)r->mismatches,
			      "write_errors", (json_int_t)r->write_errors, "read_errors",
			      (json_int_t)r->read_errors, "unreadable", (json_int_t)r->unreadable,
			      "not_restored", (json_int_t)r->not_restored, "interrupted", r->interrupted);

	json_object_set_new(j, "write", latency_json(&r->write));
	json_object_set_new(j, "read", latency_json(&r->read));
	if (r->first_error[0])
		json_object_set_new(j, "first_error", json_string(r->first_error));
	json_dumpf(j, stdout, JSON_INDENT(1));
	putchar('\n');
	json_decref(j);
}

static void print_latency(const char *name, const struct latency *l)
{
	if (l->count)
		printf("%-6s %9.1f %9.1f %9.1f %9.1f %9.1f\n", name, (double)l->p50 / 1e3, (double)l->p90 / 1e3,
		       (double)l->p99 / 1e3, (double)l->p999 / 1e3, (double)l->max / 1e3);
}

static void print_text(const struct check_request *c, const struct export_facts *facts,
		       const struct roundtrip_result *r, bool passed)
{
	char size[SIZE_TEXT];

	printf("%s: %s, %" PRIu64 " pages tried\n", c->uri.text, size_format(facts->size, size), r->pages);
	printf("%-6s %9s %9s %9s %9s %9s  (microseconds)\n", "", "p50", "p90", "p99", "p99.9", "max");
	print_latency("write", &r->write);
	print_latency("read", &r->read);
	if (passed) {
		puts("every page came back as it was written, and the old content is in place again");
		return;
	}
	say("%s: %" PRIu64 " pages came back wrong, %" PRIu64 " writes and %" PRIu64 " reads failed, %" PRIu64
	    " could not be read before, %" PRIu64 " do not hold their old content%s%s%s",
	    c->uri.text, r->mismatches, r->write_errors, r->read_errors, r->unreadable, r->not_restored,
	    r->interrupted ? "; it was interrupted" : "", r->first_error[0] ? "; first: " : "", r->first_error);
}

static enum exit_code run_on(const struct check_request *c, struct session *s, const struct export_facts *facts)
{
	const struct roundtrip_options o = { .pages = c->pages,
					     .size = facts->size,
					     .seed = c->seed,
					     .can_trim = facts->trim,
					     .bar = c->json ? NULL : stderr,
					     .stop = &caught_signal };
	struct roundtrip_result r;
	struct errbuf e = { 0 };
	enum exit_code code;
	bool passed;
	int rc;

	if (facts->read_only) {
		say("%s: the export is read-only; make it writable on the server", c->uri.text);
		return EX_REFUSED;
	}
	if (facts->size < PAGE || facts->block_min > PAGE) {
		say("%s: it takes no pages of %u bytes (size %" PRIu64 ", smallest request %" PRIu64 ")",
		    c->uri.text, PAGE, facts->size, facts->block_min);
		return EX_REFUSED;
	}
	code = look_at_content(c, s, facts->size);
	if (code != EX_OK_)
		return code;
	rc = roundtrip_run(s, &o, &r, &e);
	passed = rc == 0 && !r.interrupted && !r.mismatches && !r.write_errors && !r.read_errors &&
		 !r.unreadable && !r.not_restored;
	if (rc < 0 && !r.pages) {
		say_error(&e);
		return EX_FAIL;
	}
	if (c->json)
		print_json(c, facts, &r, passed);
	else
		print_text(c, facts, &r, passed);
	if (rc < 0)
		return EX_UNREACHABLE;
	return passed ? EX_OK_ : EX_FAIL;
}

static enum exit_code run(const struct check_request *c)
{
	static const enum exit_code codes[] = { [OPEN_OK] = EX_OK_,
						[OPEN_UNREACHABLE] = EX_UNREACHABLE,
						[OPEN_NO_EXPORT] = EX_REFUSED,
						[OPEN_REFUSED] = EX_BUSY,
						[OPEN_FAILED] = EX_FAIL };
	enum exit_code code = look_at_own_use(c);
	char boot_id[CLIENT_ID_MAX + 1], client_id[CLIENT_ID_MAX + 1];
	struct export_facts facts;
	enum open_result opened;
	struct session *s;
	struct errbuf e = { 0 };

	if (code != EX_OK_)
		return code;
	if (bootid_read(boot_id, &e) < 0) {
		say_error(&e);
		return EX_FAIL;
	}
	/* Another client than an attach from here: what this machine has attached, perhaps by another address, or where only root
	 * may see that, is in use for a check as well.
	 */
	snprintf(client_id, sizeof(client_id), "check-%.*s", CLIENT_ID_MAX - 6, boot_id);
	opened = session_open(&c->uri, client_id, &s, &facts, &e);
	if (opened != OPEN_OK) {
		say_error(&e);
		return codes[opened];
	}
	code = run_on(c, s, &facts);
	session_close(s);
	return code;
}

int check_main(int argc, char **argv)
{
	struct check_request c = { .state_dir = STATE_DIR,
				   .pages = PAGES_DEFAULT,
				   .seed = (uint64_t)time(NULL) };
	struct options o;
	struct errbuf e = { 0 };
	int id, rc = 0;

	options_begin(&o, defs, argc, argv);
	while ((id = options_next(&o, &e)) != 0) {
		switch (id) {
		case OPT_FORCE:
			c.force = true;
			break;
		case OPT_JSON:
			c.json = true;
			break;
		case OPT_PAGES:
			rc = parse_number(o.value, 1, ROUNDTRIP_PAGES_MAX, &c.pages, &e);
			break;
		case OPT_SEED:
			rc = parse_number(o.value, 0, UINT64_MAX, &c.seed, &e);
			break;
		case OPT_STATE_DIR:
			c.state_dir = o.value;
			break;
		case 'h':
			help();
			return EX_OK_;
		default:
			rc = -1;
		}
		if (rc < 0) {
			say_error(&e);
			return EX_USAGE_;
		}
	}
	if (argc - options_operands(&o) != 1) {
		say("give one address, nbd://HOST[:PORT]/EXPORT");
		return EX_USAGE_;
	}
	if (uri_parse(argv[options_operands(&o)], URI_TCP_OR_UNIX, &c.uri, &e) < 0) {
		say_error(&e);
		return EX_USAGE_;
	}
	catch_signals();
	return run(&c);
}
