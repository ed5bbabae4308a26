/* SPDX-License-Identifier: BSD-3-Clause */
#include "config.h"

#include "client/say.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>

volatile int caught_signal;

void say(const char *fmt, ...)
{
	va_list ap;

	fputs("nbdswap: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

void say_error(const struct errbuf *e)
{
	say("%s", e->text);
}

void say_findings(const struct findings *f, bool all)
{
	for (size_t i = 0; i < f->count; i++) {
		const struct finding *x = &f->list[i];

		if (x->kind == FINDING_OK && all)
			printf("ok      %-10s %s\n", x->item, x->text);
		if (x->kind == FINDING_WARN)
			all ? printf("warning %-10s %s\n", x->item, x->text) : say("warning: %s", x->text);
		if (x->kind == FINDING_REFUSE)
			say("%s", x->text);
	}
}

static void on_signal(int number)
{
	caught_signal = number;
}

void catch_signals(void)
{
	/* Without SA_RESTART: a wait that a signal ends is looked at again. */
	struct sigaction sa = { .sa_handler = on_signal };

	sigemptyset(&sa.sa_mask);
	sigaction(SIGINT, &sa, NULL);
	sigaction(SIGTERM, &sa, NULL);
	sigaction(SIGHUP, &sa, NULL);
	signal(SIGPIPE, SIG_IGN);
}
