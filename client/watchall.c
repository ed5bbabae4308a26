/* SPDX-License-Identifier: BSD-3-Clause */
/* nbdswap watch: a watch for what is attached, also after one was lost with both its processes. */
#include "config.h"

#include "client/command.h"
#include "client/direct.h"
#include "client/lookup.h"
#include "client/say.h"
#include "client/watchtalk.h"
#include "common/allow.h"
#include "common/cleanup.h"
#include "common/exitcodes.h"
#include "common/options.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#define LOCK_SECONDS 60

enum { OPT_ALLOW = 1, OPT_STATE_DIR };

static const struct option_def defs[] = {
	{ OPT_ALLOW, "allow", "WORDS", "start it although something is missing: memlock, oom, io-flusher" },
	{ OPT_STATE_DIR, "state-dir", "DIR", "directory of what is attached (default: " STATE_DIR ")" },
	OPTION_HELP,
	{ 0 },
};

static void help(void)
{
	puts("Usage: nbdswap watch [OPTION...]\n\n"
	     "Starts the watch if there is none, and gives it the attached devices that it does not know.\n");
	options_help(stdout, defs);
}

/* 1: it has it already. */
static int give(const char *dir, const struct attach_state *s, struct errbuf *e)
{
	const struct watch_message m = { .magic = WATCH_MAGIC, .word = WATCH_TELL, .order = { .index = s->dev.index } };
	union reach_address address[REACH_ADDRESSES_MAX];
	struct watch_answer answer;
	size_t addresses;
	int count;

	if (watch_say(dir, &m, -1, &answer, e) < 0)
		return -1;
	if (answer.state != WATCH_FREE)
		return 1;
	if (!nbddev_connected(&s->dev))
		return err_set(e, ENOTCONN, "%s is not connected any more; see `nbdswap status`", s->dev.name);
	if (nbddev_size(&s->dev) != s->size)
		return err_set(e, ESTALE, "%s is not what was attached: it has %" PRIu64 " bytes, and had %" PRIu64 "; see `nbdswap status`", s->dev.name,
			       nbddev_size(&s->dev), s->size);
	if (!s->client[0] || !s->flags || !s->generation.activation)
		return err_set(e, ENOTSUP, "its server does not know identities or generations, so a connection of the watch's own cannot take the place of the one that %s has"
			       "; detach and attach it anew", s->dev.name);
	count = direct_addresses(s->host, s->port, address, e);
	if (count < 0)
		return -1;
	addresses = (size_t)count;
	return lookup_add(s->servers, address, &addresses, e) < 0 ? -1 : watch_adopt(dir, s, address, addresses, -1, e);
}

static enum exit_code run(const char *dir, const char *allow)
{
	static struct state_list list;
	enum exit_code code = EX_OK_;
	struct errbuf e = { 0 };

	CLEANUP_CLOSE int lock = -1;

	/* No device is attached or detached meanwhile, so that it is not one of before that is watched. */
	if (state_dir_prepare(dir, &e) < 0 || (lock = state_lock(dir, LOCK_SECONDS, &e)) < 0) {
		say_error(&e);
		return e.code == EBUSY ? EX_BUSY : EX_FAIL;
	}
	if (state_load_all(dir, &list, &e) < 0 || watch_start(dir, allow, &e) < 0) {
		say_error(&e);
		return EX_FAIL;
	}
	for (size_t i = 0; i < list.count; i++) {
		const struct attach_state *s = &list.states[i];
		int rc = give(dir, s, &e);

		if (rc >= 0) {
			printf("%s is watched%s\n", s->dev.name, rc ? "" : " now");
			continue;
		}
		say("%s: %s", s->dev.name, e.text);
		code = EX_FAIL;
	}
	return code;
}

int watch_main(int argc, char **argv)
{
	const char *dir = STATE_DIR, *allow = NULL;
	struct options o;
	struct errbuf e = { 0 };
	int id;

	options_begin(&o, defs, argc, argv);
	while ((id = options_next(&o, &e)) != 0) {
		switch (id) {
		case OPT_ALLOW:
			allow = o.value;
			if (allow_list(allow))
				break;
			say("--allow %.32s: there are memlock, oom and io-flusher, with commas between", allow);
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
	if (options_operands(&o) < argc) {
		say("watch takes no operands");
		return EX_USAGE_;
	}
	if (geteuid() != 0) {
		say("only root can watch swap; run it with sudo");
		return EX_PRIV;
	}
	return run(dir, allow);
}
