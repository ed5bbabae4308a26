/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/command.h"
#include "client/holders.h"
#include "client/procswaps.h"
#include "client/say.h"
#include "client/snapshot.h"
#include "client/swaptab.h"
#include "client/watchtalk.h"
#include "common/exitcodes.h"
#include "common/options.h"
#include "common/size.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define HOLDERS_SHOWN 5
#define HOLDERS_MS 2000 /* for each device */

enum { OPT_WATCH = 'w', OPT_PROCESSES = 'p', OPT_JSON = 1, OPT_STATE_DIR };

static const struct option_def defs[] = {
	{ OPT_JSON, "json", NULL, "print JSON (with --watch one line each time)" },
	{ OPT_PROCESSES, "processes", "N", "show the N processes with most pages on each device, or all (default: 5)" },
	{ OPT_WATCH, "watch", "[SECONDS]", "show it again and again with rates (default: every 2 s)" },
	{ OPT_STATE_DIR, "state-dir", "DIR", "directory of what is attached (default: " STATE_DIR ")" },
	OPTION_HELP,
	{ 0 },
};

static void help(void)
{
	puts("Usage: nbdswap status [OPTION...]\n\n"
	     "Shows what nbdswap has attached.  Without --watch reads and writes are totals since the device "
	     "was made.\nExit code 0: all is well; 1: a device is gone, its link is dead, or swap on it is off.\n");
	options_help(stdout, defs);
}

/* Who holds pages on a device; all of them at once, so that no figure is of another moment than need be. */
static void find_holders(const struct state_list *states, const struct snapshot *shots, struct holders *out)
{
	struct swap_list swaps;
	struct errbuf e;

	if (procswaps_read(&swaps, &e) < 0)
		swaps.count = 0;
	for (size_t i = 0; i < states->count; i++) {
		const struct attach_state *s = &states->states[i];

		memset(&out[i], 0, sizeof(out[i]));
		if (shots[i].used > 0 && holders_find(&swaps, s->dev.path, s->swap_type, HOLDERS_MS, &out[i], &e) < 0)
			holders_free(&out[i]);
	}
}

static void print_holders(const struct snapshot *list, const struct holders *h, size_t count, size_t most)
{
	char text[SIZE_TEXT];

	for (size_t i = 0; i < count && most > 0; i++) {
		if (!h[i].count)
			continue;
		printf("\n%s holds pages of %zu process%s%s:\n", list[i].state->dev.name, h[i].count, h[i].count == 1 ? "" : "es",
		       h[i].at_most ? " (at most: it cannot be told from other swap)" : "");
		holders_print(stdout, &h[i], most, "  ");
		if (!h[i].at_most && h[i].bytes < list[i].used)
			printf("  the rest, %s, is of shared memory and tmpfs, or in memory as well\n",
			       size_format(list[i].used - h[i].bytes, text));
	}
}

static json_t *holders_json(const struct holders *h, size_t most)
{
	json_t *list = json_array();

	for (size_t i = 0; i < h->count && i < most; i++)
		json_array_append_new(list, json_pack("{s:i, s:s%, s:I, s:b}", "pid", (int)h->list[i].pid, "name", h->list[i].name,
						      strlen(h->list[i].name), "bytes", (json_int_t)h->list[i].bytes, "at_most",
						      h->list[i].at_most));
	return list;
}

/* "all", or how many. */
static int parse_most(const char *text, size_t *most, struct errbuf *e)
{
	char *end;
	unsigned long n = strtoul(text, &end, 10);

	if (strcmp(text, "all") == 0)
		n = SIZE_MAX;
	else if (text[0] < '0' || text[0] > '9' || *end || n > 1000000)
		return err_set(e, EINVAL, "--processes %.32s: give a number, or all", text);
	*most = n;
	return 0;
}

struct rates {
	bool known;
	uint64_t read_bytes, write_bytes; /* a second */
};

static struct rates rates_of(const struct snapshot *before, const struct snapshot *now)
{
	struct rates r = { 0 };
	uint64_t ms = before ? now->taken_ms - before->taken_ms : 0;

	if (ms && now->stat.read_bytes >= before->stat.read_bytes &&
	    now->stat.write_bytes >= before->stat.write_bytes) {
		r.known = true;
		r.read_bytes = (now->stat.read_bytes - before->stat.read_bytes) * 1000 / ms;
		r.write_bytes = (now->stat.write_bytes - before->stat.write_bytes) * 1000 / ms;
	}
	return r;
}

static const char *amount(uint64_t bytes, bool rate, char out[SIZE_TEXT + 4])
{
	char text[SIZE_TEXT];

	snprintf(out, SIZE_TEXT + 4, "%s%s", size_format(bytes, text), rate ? "/s" : "");
	return out;
}

static void print_table(const struct snapshot *list, const struct snapshot *before, size_t count)
{
	printf("%-7s %-28s %-12s %10s %10s %5s %12s %12s %9s  %s\n", "DEVICE", "SERVER", "EXPORT", "SIZE",
	       "USED", "PRIO", "READ", "WRITTEN", "IN FLIGHT", "LINK");
	for (size_t i = 0; i < count; i++) {
		const struct snapshot *s = &list[i];
		const struct attach_state *st = s->state;
		struct rates r = rates_of(before ? &before[i] : NULL, s);
		char server[300], size[SIZE_TEXT], used[SIZE_TEXT], read[SIZE_TEXT + 4], written[SIZE_TEXT + 4];

		snprintf(server, sizeof(server), strchr(st->host, ':') ? "[%s]:%s" : "%s:%s", st->host,
			 st->port);
		printf("%-7s %-28s %-12s %10s %10s %5d %12s %12s %9" PRIu64 "  %s%s%s\n", st->dev.name, server,
		       st->export, size_format(s->size ? s->size : st->size, size), size_format(s->used, used),
		       s->priority, amount(r.known ? r.read_bytes : s->stat.read_bytes, r.known, read),
		       amount(r.known ? r.write_bytes : s->stat.write_bytes, r.known, written),
		       s->stat.in_flight, health_name(s->health),
		       s->link_known ? "" : " (connection not known)", st->watched == WATCHED_NOT ? " (not watched)" : "");
		if (s->health == HEALTH_OVER)
			printf("        %s\n", st->watch_words);
	}
	if (!count)
		puts("nothing is attached");
}

static json_t *snapshot_json(const struct snapshot *s, const struct snapshot *before, const struct holders *h, size_t most)
{
	const struct attach_state *st = s->state;
	struct rates r = rates_of(before, s);
	json_t *j = json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:b, s:i}", "device", st->dev.name, "uri",
			      st->uri, "server", st->host, "port", st->port, "export", st->export, "size",
			      (json_int_t)st->size, "used", (json_int_t)s->used, "swap_on", s->size != 0,
			      "priority", s->priority);

	json_object_set_new(j, "link", json_string(health_name(s->health)));
	if (st->watched != WATCHED_UNKNOWN)
		json_object_set_new(j, "watched", json_boolean(st->watched != WATCHED_NOT));
	if (st->watch_words[0])
		json_object_set_new(j, "watch_says", json_string(st->watch_words));
	json_object_set_new(j, "link_known", json_boolean(s->link_known));
	json_object_set_new(j, "reads", json_integer((json_int_t)s->stat.reads));
	json_object_set_new(j, "read_bytes", json_integer((json_int_t)s->stat.read_bytes));
	json_object_set_new(j, "writes", json_integer((json_int_t)s->stat.writes));
	json_object_set_new(j, "write_bytes", json_integer((json_int_t)s->stat.write_bytes));
	json_object_set_new(j, "discards", json_integer((json_int_t)s->stat.discards));
	json_object_set_new(j, "discard_bytes", json_integer((json_int_t)s->stat.discard_bytes));
	json_object_set_new(j, "in_flight", json_integer((json_int_t)s->stat.in_flight));
	if (r.known) {
		json_object_set_new(j, "read_bytes_per_second", json_integer((json_int_t)r.read_bytes));
		json_object_set_new(j, "write_bytes_per_second", json_integer((json_int_t)r.write_bytes));
	}
	json_object_set_new(j, "processes", holders_json(h, most));
	json_object_set_new(j, "processes_count", json_integer((json_int_t)h->count));
	json_object_set_new(j, "processes_bytes", json_integer((json_int_t)h->bytes));
	json_object_set_new(j, "label", json_string(st->label));
	json_object_set_new(j, "uuid", json_string(st->uuid));
	json_object_set_new(j, "discard", json_string(st->discard));
	json_object_set_new(j, "client", json_string(st->client));
	json_object_set_new(j, "dead_link_timeout", json_integer((json_int_t)st->dead_link_timeout));
	json_object_set_new(j, "attached_at", json_integer(st->attached_at));
	return j;
}

static void print_json(const struct snapshot *list, const struct snapshot *before, const struct holders *h, size_t count, size_t most,
		       bool one_line)
{
	json_t *array = json_array();

	for (size_t i = 0; i < count; i++)
		json_array_append_new(array, snapshot_json(&list[i], before ? &before[i] : NULL, &h[i], most));
	json_dumpf(array, stdout, one_line ? JSON_COMPACT : JSON_INDENT(1));
	putchar('\n');
	json_decref(array);
}

/* The snapshots belong to the same devices, so that differences mean something. */
static bool same_devices(const struct state_list *a, const struct state_list *b)
{
	if (a->count != b->count)
		return false;
	for (size_t i = 0; i < a->count; i++)
		if (a->states[i].dev.index != b->states[i].dev.index ||
		    a->states[i].attached_at != b->states[i].attached_at)
			return false;
	return true;
}

static enum exit_code show(const char *dir, bool json, uint64_t every_s, size_t most)
{
	static struct holders holders[SNAPSHOTS_MAX];
	static struct state_list states[2];
	static struct snapshot shots[2][SNAPSHOTS_MAX];
	bool tty = isatty(STDOUT_FILENO), have_before = false;
	enum exit_code code;
	struct errbuf e;

	for (unsigned turn = 0;; turn ^= 1) {
		const struct timespec pause = { .tv_sec = (time_t)every_s };
		struct snapshot *before = NULL;

		if (state_load_all(dir, &states[turn], &e) < 0) {
			say_error(&e);
			return e.code == EACCES ? EX_PRIV : EX_FAIL;
		}
		watch_refresh(dir, &states[turn]);
		if (snapshot_take(&states[turn], shots[turn], &e) < 0) {
			say_error(&e);
			return EX_FAIL;
		}
		find_holders(&states[turn], shots[turn], holders);
		if (have_before && same_devices(&states[turn], &states[turn ^ 1]))
			before = shots[turn ^ 1];
		if (every_s && tty && !json)
			fputs("\033[H\033[J", stdout);
		if (json)
			print_json(shots[turn], before, holders, states[turn].count, most, every_s != 0);
		else
			print_table(shots[turn], before, states[turn].count);
		if (!json)
			print_holders(shots[turn], holders, states[turn].count, most);
		for (size_t i = 0; i < states[turn].count; i++)
			holders_free(&holders[i]);
		fflush(stdout);
		code = EX_OK_;
		for (size_t i = 0; i < states[turn].count; i++)
			if (health_is_bad(shots[turn][i].health))
				code = EX_FAIL;
		if (!every_s || ferror(stdout))
			return code;
		have_before = true;
		nanosleep(&pause, NULL);
		if (caught_signal)
			return code;
	}
}

int status_main(int argc, char **argv)
{
	const char *dir = STATE_DIR;
	uint64_t every_s = 0;
	size_t most = HOLDERS_SHOWN;
	bool json = false;
	struct options o;
	struct errbuf e = { 0 };
	int id, operands;

	options_begin(&o, defs, argc, argv);
	while ((id = options_next(&o, &e)) != 0) {
		switch (id) {
		case OPT_JSON:
			json = true;
			break;
		case OPT_WATCH:
			every_s = 2;
			if (!o.value || seconds_parse(o.value, &every_s, &e) == 0)
				break;
			say_error(&e);
			return EX_USAGE_;
		case OPT_PROCESSES:
			if (parse_most(o.value, &most, &e) == 0)
				break;
			say_error(&e);
			return EX_USAGE_;
		case OPT_STATE_DIR:
			dir = o.value;
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
	/* "--watch 5" is what people write, although an optional argument needs '='. */
	if (operands == 1 && every_s && seconds_parse(argv[options_operands(&o)], &every_s, NULL) == 0)
		operands = 0;
	if (operands) {
		say("status takes no operands (--watch=SECONDS sets the interval)");
		return EX_USAGE_;
	}
	catch_signals();
	return show(dir, json, every_s, most);
}
